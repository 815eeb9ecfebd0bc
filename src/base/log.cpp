#include "base/log.h"

#include "base/file.h"
#include "base/json.h"

#include <cerrno>
#include <cmath>
#include <cstring>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utility>

// ---- metrics ------------------------------------------------------------------------------------

// The step of a complete line, -1 of a line that is none.
static int64_t step_of(const std::string& line) {
    Json row = Json::parse(line, nullptr, false);
    if (!row.is_object() || !row.contains("step") || !row["step"].is_number_integer()) return -1;
    return row["step"].get<int64_t>();
}

void MetricsLog::open(const std::string& path_, int64_t last_step) {
    path = path_;
    if (file_exists(path)) {
        std::string text = read_file(path), kept;
        for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos;
             begin = end + 1) {
            std::string line = text.substr(begin, end - begin);
            int64_t step = step_of(line);
            if (step >= 0 && step <= last_step) kept += line + "\n";
        }
        if (kept != text) write_file(path, kept);
    }
    file = std::fopen(path.c_str(), "ab");
    CHECK(file, "cannot write %s: %s", path.c_str(), std::strerror(errno));
}

MetricsLog::~MetricsLog() {
    if (file) std::fclose(file);
}

void MetricsLog::write(const std::string& line) {
    bool written = std::fwrite(line.data(), 1, line.size(), file) == line.size() &&
                   std::fputc('\n', file) != EOF && std::fflush(file) == 0;
    CHECK(written, "cannot write %s: %s", path.c_str(), std::strerror(errno));
}

void MetricsLog::sync() {
    // EINVAL: what is behind the name cannot be synced, a pipe for one.
    CHECK(::fsync(::fileno(file)) == 0 || errno == EINVAL, "cannot write %s: %s", path.c_str(),
          std::strerror(errno));
}

// ---- progress -----------------------------------------------------------------------------------

std::string duration_text(double seconds) {
    int64_t whole = std::llround(seconds), minutes = whole / 60, hours = minutes / 60;
    if (hours)
        return format("%lld:%02d:%02d", (long long)hours, (int)(minutes % 60), (int)(whole % 60));
    return format("%lld:%02d", (long long)minutes, (int)(whole % 60));
}

std::string progress_line(const std::string& name, const std::string& unit, int64_t first,
                          int64_t done, int64_t total, double seconds, const std::string& note) {
    int filled = total > 0 ? (int)(20 * done / total) : 0;
    std::string line = format(
        "%s [%s%s] %lld/%lld %s", name.c_str(), std::string(filled, '#').c_str(),
        std::string(20 - filled, '.').c_str(), (long long)done, (long long)total, unit.c_str());
    if (done > first && seconds > 0) {
        double rate = (double)(done - first) / seconds;
        line += rate >= 1 ? format("  %.3g %s/s", rate, unit.c_str())
                          : format("  %.3g s each", 1 / rate);
        line += done < total ? "  " + duration_text((double)(total - done) / rate) + " left"
                             : "  in " + duration_text(seconds);
    }
    return note.empty() ? line : line + "  " + note;
}

Progress::Progress(std::string name_, std::string unit_, int64_t total_, int64_t done)
    : terminal(::isatty(STDERR_FILENO)), name(std::move(name_)), unit(std::move(unit_)),
      total(total_), first(done), start(std::chrono::steady_clock::now()), last(start) {}

Progress::~Progress() {
    if (line_open) std::fputc('\n', stderr);
}

void Progress::update(int64_t done, const std::string& note) {
    auto now = std::chrono::steady_clock::now();
    double quiet = std::chrono::duration<double>(now - last).count();
    bool due = !shown || done >= total || quiet >= (terminal ? 0.1 : 10.0);
    if (!due) return;
    double seconds = std::chrono::duration<double>(now - start).count();
    std::string line = progress_line(name, unit, first, done, total, seconds, note);
    if (terminal) {
        winsize size{};
        if (::ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1)
            line = line.substr(0, size.ws_col - 1); // a line that wraps cannot be rewritten
        std::fprintf(stderr, "\r%s\x1b[K", line.c_str());
    } else {
        std::fprintf(stderr, "%s\n", line.c_str());
    }
    line_open = terminal;
    shown = true;
    last = now;
}

void Progress::message(const std::string& text) {
    std::fprintf(stderr, "%s%s\n", line_open ? "\r\x1b[K" : "", text.c_str());
    line_open = false;
}
