#pragma once
// The message of the error that an act ends in, for tests of what a user is told.

#include "base/check.h"

#include <functional>
#include <gtest/gtest.h>
#include <string>

inline std::string message_of(const std::function<void()>& act) {
    try {
        act();
    } catch (const Error& error) {
        return error.what();
    }
    return "no error";
}

#define EXPECT_MESSAGE(act, part)                                                                  \
    do {                                                                                           \
        std::string message_ = message_of([&] { act; });                                           \
        EXPECT_NE(message_.find(part), std::string::npos) << message_;                             \
    } while (0)
