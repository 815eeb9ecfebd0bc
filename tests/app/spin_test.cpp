// The runtime itself says how long its threads spin: OMP_DISPLAY_ENV makes it print what it has read.

#include "command.h"

#include <optional>

namespace {

// What the runtime of `rlhf help` prints, with these variables and no others that concern waiting. A
// program that started itself anew prints twice: the last one counts.
std::string runtime_settings(const std::vector<std::pair<const char*, const char*>>& given) {
    static const char* const names[] = {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME",
                                        "KMP_LIBRARY", "OMP_DISPLAY_ENV"};
    std::vector<std::optional<std::string>> before;
    for (const char* name : names) {
        const char* value = std::getenv(name);
        before.push_back(value ? std::optional<std::string>(value) : std::nullopt);
        ::unsetenv(name);
    }
    ::setenv("OMP_DISPLAY_ENV", "verbose", 1);
    for (auto& [name, value] : given) ::setenv(name, value, 1);
    Outcome outcome = rlhf({"help"});
    for (size_t i = 0; i < before.size(); ++i)
        before[i] ? ::setenv(names[i], before[i]->c_str(), 1) : ::unsetenv(names[i]);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    size_t last = outcome.err.rfind("ENVIRONMENT BEGIN");
    return last == std::string::npos ? outcome.err : outcome.err.substr(last);
}

bool has(const std::string& settings, const char* text) {
    return settings.find(text) != std::string::npos;
}

bool is_libgomp(const std::string& settings) { return has(settings, "GOMP_SPINCOUNT"); }

} // namespace

TEST(Spin, IsBoundedWhenTheUserSaysNothing) {
    std::string settings = runtime_settings({});
    EXPECT_TRUE(
        has(settings, is_libgomp(settings) ? "GOMP_SPINCOUNT = '1000'" : "KMP_BLOCKTIME='0'"))
        << settings;
}

TEST(Spin, StaysAsTheUserSetsIt) {
    std::string active = runtime_settings({{"OMP_WAIT_POLICY", "active"}});
    if (is_libgomp(active)) {
        EXPECT_TRUE(has(active, "GOMP_SPINCOUNT = '30000000000'")) << active;
        std::string counted = runtime_settings({{"GOMP_SPINCOUNT", "77"}});
        EXPECT_TRUE(has(counted, "GOMP_SPINCOUNT = '77'")) << counted;
    } else {
        EXPECT_FALSE(has(active, "KMP_BLOCKTIME='0'")) << active;
        std::string timed = runtime_settings({{"KMP_BLOCKTIME", "77"}});
        EXPECT_TRUE(has(timed, "KMP_BLOCKTIME='77'")) << timed;
    }
}
