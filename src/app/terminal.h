#pragma once
// A person at a terminal, or lines of a pipe: whole lines in, text out as it comes, and ctrl-C, which ends
// what is being written and not the program.

#include <optional>
#include <string>

struct Terminal {
    Terminal(); // from here on ctrl-C only asks for a pause
    ~Terminal();
    Terminal(const Terminal&) = delete;

    bool person; // standard input is a terminal
    int line = 0;

    // The next line of standard input, without its end; none: there is no more. A line that is not UTF-8 is
    // an error that names it. Ctrl-C in front of an empty prompt says how to leave.
    std::optional<std::string> read_line(const char* prompt);
    // Whether ctrl-C was pressed since the last call.
    static bool interrupted();
};
