#include "model/same_tokenizer.h"

#include "base/file.h"
#include "base/json.h"
#include "model/hf.h"

#include <map>

// Text of every token of tokenizer.json, with its id.
static std::map<std::string, int64_t> tokens_in(const std::string& path) {
    nlohmann::json json = parse_large_json(read_file(path), path);
    std::map<std::string, int64_t> tokens;
    if (json.is_object() && json.contains("model") && json["model"].contains("vocab") &&
        json["model"]["vocab"].is_object())
        for (auto& [token, id] : json["model"]["vocab"].items())
            if (id.is_number_integer()) tokens[token] = id.get<int64_t>();
    if (json.is_object() && json.contains("added_tokens") && json["added_tokens"].is_array())
        for (auto& added : json["added_tokens"])
            if (added.is_object() && added.contains("content") && added.contains("id") &&
                added["content"].is_string() && added["id"].is_number_integer())
                tokens[added["content"].get<std::string>()] = added["id"].get<int64_t>();
    return tokens;
}

static std::string id_text(const std::map<std::string, int64_t>& tokens, const std::string& token) {
    auto found = tokens.find(token);
    return found == tokens.end() ? "no id" : format("id %lld", (long long)found->second);
}

void check_same_tokenizer(const std::string& policy, const std::string& reward) {
    const std::string of_policy = model_directory(policy), of_reward = model_directory(reward);
    const char *policy_name = of_policy.c_str(), *reward_name = of_reward.c_str();
    const std::string policy_file = join_path(of_policy, "tokenizer.json"),
                      reward_file = join_path(of_reward, "tokenizer.json");
    const int policy_V = read_model_config(of_policy).V, reward_V = read_model_config(of_reward).V;
    const bool both = file_exists(policy_file) && file_exists(reward_file);
    CHECK(
        both ? reward_V >= policy_V : reward_V == policy_V,
        "%s has a vocabulary of %d tokens, %s one of %d: a reward model scores tokens, so it needs "
        "the policy's tokenizer",
        reward_name, reward_V, policy_name, policy_V);
    if (!both || read_file(policy_file) == read_file(reward_file)) return;
    auto a = tokens_in(policy_file), b = tokens_in(reward_file);
    for (const auto* list : {&a, &b})
        for (auto& [token, id] : *list)
            CHECK(a.count(token) && b.count(token) && a[token] == b[token],
                  "the token \"%.40s\" has %s in %s and %s in %s: a reward model scores tokens, so "
                  "it "
                  "needs the policy's tokenizer",
                  token.c_str(), id_text(a, token).c_str(), policy_name, id_text(b, token).c_str(),
                  reward_name);
}
