#pragma once
// Files. A file that the program writes appears whole or not at all: temporary name in the same
// directory, fsync, rename, fsync of the directory.

#include "base/check.h"

#include <cstdint>
#include <cstdio>
#include <string>
#include <vector>

std::string read_file(const std::string& path);
bool file_exists(const std::string& path);
bool is_directory(const std::string& path);
void make_directories(const std::string& path);
std::vector<std::string> list_directory(const std::string& path); // sorted names, no "." and ".."
std::string join_path(const std::string& directory, const std::string& name);

// A whole file read by mmap. Closed by its destructor.
struct MappedFile {
    explicit MappedFile(const std::string& path);
    MappedFile(MappedFile&& other);
    MappedFile(const MappedFile&) = delete;
    ~MappedFile();
    const uint8_t* data = nullptr;
    size_t size = 0; // bytes
    std::string path;
};

// A file being written: commit() makes it appear, else nothing is left behind. Links are followed, and the
// mode and owner of what is replaced are kept; FIFOs, devices and "-" (standard output) are written at once.
// Every write is checked (a full disk is an error that names the file).
struct AtomicFile {
    explicit AtomicFile(const std::string& path);
    AtomicFile(const AtomicFile&) = delete;
    ~AtomicFile();
    void write(const void* bytes, size_t count);
    void write(const std::string& text) { write(text.data(), text.size()); }
    void commit();

private:
    std::string path, temporary;
    FILE* file = nullptr;
};

void write_file(const std::string& path, const std::string& text);

// A directory being written, under a temporary name beside `path`. commit() fsyncs what is in it and
// renames it to `path`, so a directory that has its name is complete; an older directory of that name
// is moved away first and removed last. Without commit() nothing is left behind.
struct AtomicDirectory {
    explicit AtomicDirectory(const std::string& path);
    AtomicDirectory(const AtomicDirectory&) = delete;
    ~AtomicDirectory();
    void commit();
    std::string temporary; // write the files here

private:
    std::string path;
    bool done = false;
};

void remove_tree(const std::string& path);
