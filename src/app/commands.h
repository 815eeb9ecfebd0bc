#pragma once
// The command table: one row per command, one file cmd_NAME.cpp per row.

#include "base/config.h"

struct Command {
    const char* name;
    const char* summary;
    int (*run)(const Args& args);     // exit status
    void (*fields)(Fields& fields);   // for `help NAME`; static storage behind it
    bool two_configs = false;         // takes CONFIG_A CONFIG_B
    std::string (*notes)() = nullptr; // `help NAME` ends with them
};

// Makes a row from a function that takes the command's filled configuration.
template <class Config, int (*body)(Config&, const Args&)>
constexpr Command command(const char* name, const char* summary, std::string (*notes)() = nullptr) {
    return {name,
            summary,
            [](const Args& args) {
                Config config;
                load_config(config, args);
                return body(config, args);
            },
            [](Fields& fields) {
                static Config config;
                config.visit(fields);
            },
            false,
            notes};
}
