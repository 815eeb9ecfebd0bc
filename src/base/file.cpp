#include "base/file.h"

#include "base/beat.h"
#include "base/foreign.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace fs = std::filesystem;

std::string read_file(const std::string& path) {
    CHECK(!is_directory(path), "%s is a directory; a file was expected", path.c_str());
    FILE* file = std::fopen(path.c_str(), "rb");
    CHECK(file, "cannot read %s: %s", path.c_str(), std::strerror(errno));
    std::string text;
    char part[1 << 16];
    for (size_t count; (count = std::fread(part, 1, sizeof part, file)) > 0;)
        text.append(part, count);
    bool bad = std::ferror(file);
    std::fclose(file);
    CHECK(!bad, "cannot read %s: %s", path.c_str(), std::strerror(errno));
    // A pointer is valid text for many a reader: a template would speak it.
    CHECK(text.rfind("version https://git-lfs", 0) != 0, "%s %s", path.c_str(),
          foreign_content(text).c_str());
    return text;
}

bool file_exists(const std::string& path) {
    std::error_code error;
    return fs::exists(path, error);
}

bool is_directory(const std::string& path) {
    std::error_code error;
    return fs::is_directory(path, error);
}

void make_directories(const std::string& path) {
    std::error_code error;
    fs::create_directories(path, error);
    CHECK(!error && is_directory(path), "cannot make the directory %s: %s", path.c_str(),
          error ? error.message().c_str() : "a file of that name is in the way");
}

std::vector<std::string> list_directory(const std::string& path) {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(path, error))
        names.push_back(entry.path().filename().string());
    CHECK(!error, "cannot list the directory %s: %s", path.c_str(), error.message().c_str());
    std::sort(names.begin(), names.end());
    return names;
}

std::string join_path(const std::string& directory, const std::string& name) {
    return (fs::path(directory) / name).string();
}

MappedFile::MappedFile(const std::string& path_) : path(path_) {
    CHECK(!is_directory(path), "%s is a directory; a file was expected", path.c_str());
    int file = ::open(path.c_str(), O_RDONLY);
    CHECK(file >= 0, "cannot read %s: %s", path.c_str(), std::strerror(errno));
    struct stat info;
    void* memory = MAP_FAILED;
    if (::fstat(file, &info) == 0) {
        size = (size_t)info.st_size;
        memory = size ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file, 0) : nullptr;
    }
    int error = errno;
    ::close(file);
    CHECK(memory != MAP_FAILED, "cannot map %s: %s", path.c_str(), std::strerror(error));
    data = static_cast<const uint8_t*>(memory);
}

MappedFile::MappedFile(MappedFile&& other)
    : data(std::exchange(other.data, nullptr)), size(other.size), path(other.path) {}

MappedFile::~MappedFile() {
    if (data) ::munmap(const_cast<uint8_t*>(data), size);
}

static void sync_path(const std::string& path) {
    int file = ::open(path.c_str(), O_RDONLY);
    CHECK(file >= 0, "cannot open %s: %s", path.c_str(), std::strerror(errno));
    bool synced =
        ::fsync(file) == 0 || errno == EINVAL; // some file systems cannot sync directories
    int error = errno;
    ::close(file);
    CHECK(synced, "cannot write %s: %s", path.c_str(), std::strerror(error));
}

static void sync_tree(const std::string& directory) {
    for (const std::string& name : list_directory(directory)) {
        std::string path = join_path(directory, name);
        is_directory(path) ? sync_tree(path) : sync_path(path);
    }
    sync_path(directory);
}

static std::string parent_of(const std::string& path) {
    std::string parent = fs::path(path).parent_path().string();
    return parent.empty() ? "." : parent;
}

// Where `path` leads: the path itself, or what its links name, which need not be there yet.
static std::string behind_links(const std::string& path) {
    fs::path at = path;
    std::error_code error;
    for (int links = 0; fs::is_symlink(fs::symlink_status(at, error)); ++links) {
        CHECK(links < 40, "cannot write %s: its links lead in a circle", path.c_str());
        at = at.parent_path() / fs::read_symlink(at, error);
        CHECK(!error, "cannot write %s: %s", path.c_str(), error.message().c_str());
    }
    return at.string();
}

// The open descriptor that a path like /dev/stdout or /dev/fd/3 names, or -1.
static int named_descriptor(const std::string& path) {
    static const char* const streams[] = {"/dev/stdin", "/dev/stdout", "/dev/stderr"};
    for (int fd = 0; fd < 3; ++fd)
        if (path == streams[fd]) return fd;
    for (const char* prefix : {"/dev/fd/", "/proc/self/fd/"}) {
        if (path.rfind(prefix, 0) != 0) continue;
        std::string number = path.substr(std::strlen(prefix));
        if (!number.empty() && number.size() < 6 &&
            number.find_first_not_of("0123456789") == std::string::npos)
            return std::stoi(number);
    }
    return -1;
}

AtomicFile::AtomicFile(const std::string& path_) : path(path_) {
    if (path == "-") {
        file = stdout;
        return;
    }
    CHECK(!is_directory(path), "cannot write %s: it is a directory", path.c_str());
    struct stat info;
    const bool there = ::stat(path.c_str(), &info) == 0;
    if (int fd = named_descriptor(path); fd >= 0) {
        int copy = ::dup(fd);
        file = copy < 0 ? nullptr : ::fdopen(copy, "wb");
    } else if (there && !S_ISREG(info.st_mode)) {
        file = std::fopen(path.c_str(), "wb");
    } else {
        path = behind_links(path);
        CHECK(!there || ::access(path.c_str(), W_OK) == 0, "cannot write %s: %s", path.c_str(),
              std::strerror(errno));
        temporary = path + ".tmp" + std::to_string(::getpid());
        file = std::fopen(temporary.c_str(), "wb");
        if (file && there) {
            // As the file that it takes the place of; who may not give a file away keeps it.
            bool given = ::fchown(::fileno(file), info.st_uid, info.st_gid) == 0;
            CHECK(::fchmod(::fileno(file), info.st_mode & (given ? 07777 : 0777)) == 0,
                  "cannot write %s: %s", path.c_str(), std::strerror(errno));
        }
    }
    CHECK(file, "cannot write %s: %s", path.c_str(), std::strerror(errno));
}

AtomicFile::~AtomicFile() {
    if (!file || file == stdout) return;
    std::fclose(file);
    if (!temporary.empty()) ::unlink(temporary.c_str());
}

void AtomicFile::write(const void* bytes, size_t count) {
    beat(); // a slow disk is not a hang
    CHECK(std::fwrite(bytes, 1, count, file) == count, "cannot write %s: %s", path.c_str(),
          std::strerror(errno));
}

void AtomicFile::commit() {
    CHECK(std::fflush(file) == 0, "cannot write %s: %s", path.c_str(), std::strerror(errno));
    if (file == stdout) return;
    if (temporary.empty()) {
        CHECK(std::fclose(std::exchange(file, nullptr)) == 0, "cannot write %s: %s", path.c_str(),
              std::strerror(errno));
        return;
    }
    CHECK(::fsync(::fileno(file)) == 0, "cannot write %s: %s", path.c_str(), std::strerror(errno));
    bool closed = std::fclose(std::exchange(file, nullptr)) == 0;
    bool renamed = closed && ::rename(temporary.c_str(), path.c_str()) == 0;
    int error = errno;
    if (!renamed) ::unlink(temporary.c_str());
    CHECK(renamed, "cannot write %s: %s", path.c_str(), std::strerror(error));
    sync_path(parent_of(path));
}

void write_file(const std::string& path, const std::string& text) {
    AtomicFile file(path);
    file.write(text);
    file.commit();
}

AtomicDirectory::AtomicDirectory(const std::string& path_) : path(path_) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    path = behind_links(path);
    temporary = path + ".tmp";
    make_directories(parent_of(path));
    remove_tree(temporary); // left by a run that was killed
    make_directories(temporary);
    struct stat info;
    if (::stat(path.c_str(), &info) == 0)
        CHECK(::chmod(temporary.c_str(), info.st_mode & 07777) == 0, "cannot write %s: %s",
              temporary.c_str(), std::strerror(errno));
}

AtomicDirectory::~AtomicDirectory() {
    std::error_code error;
    if (!done) fs::remove_all(temporary, error);
}

void AtomicDirectory::commit() {
    sync_tree(temporary);
    std::string old = path + ".old";
    if (file_exists(path)) {
        remove_tree(old);
        CHECK(::rename(path.c_str(), old.c_str()) == 0, "cannot replace %s: %s", path.c_str(),
              std::strerror(errno));
    }
    CHECK(::rename(temporary.c_str(), path.c_str()) == 0, "cannot write %s: %s", path.c_str(),
          std::strerror(errno));
    done = true;
    sync_path(parent_of(path));
    remove_tree(old);
}

void remove_tree(const std::string& path) {
    std::error_code error;
    fs::remove_all(path, error);
    CHECK(!error, "cannot remove %s: %s", path.c_str(), error.message().c_str());
}
