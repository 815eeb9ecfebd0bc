#include "command.h"

namespace {

const char* model = "model.path=tests/golden/models/qwen2";

Json plan(const std::vector<std::string>& more) {
    std::vector<std::string> words = {"info", model, "format=json", "compute.device=cuda"};
    words.insert(words.end(), more.begin(), more.end());
    Outcome outcome = rlhf(words);
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return parse_json(outcome.out, "info");
}

} // namespace

// A card that is not there, in a binary that may know nothing of CUDA.
TEST(InfoMemory, SaysWhatFitsAndWhatMakesTheRestFit) {
    Json roomy = plan({"memory_gib=80"});
    EXPECT_TRUE(roomy["plan_sft"]["fits"].get<bool>());
    EXPECT_TRUE(roomy["plan_rl_with_reference"]["fits"].get<bool>());
    EXPECT_GT(roomy["plan_rl_with_reference"]["largest_decode_batch"].get<int64_t>(), 64);
    EXPECT_FALSE(roomy["plan_sft"].contains("fits_with"));

    // Activations of a million tokens: fewer at a time fit, and the advice holds.
    std::vector<std::string> words = {"memory_gib=1.5", "train.tokens_per_micro_batch=1000000"};
    Json tight = plan(words)["plan_sft"];
    EXPECT_FALSE(tight["fits"].get<bool>());
    std::string advice = tight["fits_with"];
    EXPECT_TRUE(contains(advice, "compute.recompute=true") ||
                contains(advice, "train.tokens_per_micro_batch="))
        << advice;
    words.push_back(advice.substr(0, advice.find(' ')));
    EXPECT_TRUE(plan(words)["plan_sft"]["fits"].get<bool>()) << advice;

    Json hopeless = plan({"memory_gib=0.1"})["plan_sft"]; // less than CUDA's own
    EXPECT_TRUE(hopeless["fits_with"].is_null());
}

TEST(InfoMemory, CategoriesFollowTheFormulas) {
    Json json = plan({"memory_gib=80", "ranks=4"});
    const double P = json["parameters"];
    // Padding to 64 elements per tensor comes on top, and the rope table to the weights.
    auto near = [&](const char* name, double bytes) {
        double found = json["memory_mib"][name].get<double>() * 1048576;
        EXPECT_NEAR(found, bytes, 0.06 * 1048576 + 256.0 * 64 * 8) << name;
    };
    near("masters", 4 * P / 4), near("gradients", 4 * P), near("adamw_moments", 8 * P / 4);
    double sum = 0, total = json["plan_sft"]["total_gib"];
    for (auto& [name, gib] : json["plan_sft"]["gib"].items()) sum += gib.get<double>();
    EXPECT_NEAR(sum, total, 0.005);
}
