#include "app/terminal.h"

#include "base/check.h"
#include "text/unicode.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <unistd.h>

static std::atomic<bool> asked_to_stop{false};

static void on_interrupt(int) { asked_to_stop = true; }

Terminal::Terminal() : person(isatty(STDIN_FILENO)) {
    struct sigaction action {};
    action.sa_handler = on_interrupt; // without SA_RESTART: it ends a read, too
    sigaction(SIGINT, &action, nullptr);
}

Terminal::~Terminal() { std::signal(SIGINT, SIG_DFL); }

bool Terminal::interrupted() { return asked_to_stop.exchange(false); }

std::optional<std::string> Terminal::read_line(const char* prompt) {
    char* text = nullptr;
    size_t room = 0;
    ssize_t length;
    for (;;) {
        if (person) std::printf("%s", prompt), std::fflush(stdout);
        errno = 0;
        length = getline(&text, &room, stdin);
        if (length >= 0 || errno != EINTR) break;
        std::clearerr(stdin);
        interrupted();
        if (!person) continue;
        std::printf("\n(ctrl-D or /exit ends the program)\n");
    }
    std::string line_text(text ? text : "", length > 0 ? (size_t)length : 0);
    std::free(text);
    if (length < 0) {
        if (person) std::printf("\n");
        return std::nullopt;
    }
    ++line;
    while (!line_text.empty() && (line_text.back() == '\n' || line_text.back() == '\r'))
        line_text.pop_back();
    CHECK(valid_utf8(line_text) == line_text, "line %d of standard input is not UTF-8", line);
    return line_text;
}
