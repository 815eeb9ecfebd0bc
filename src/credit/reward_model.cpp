#include "credit/reward_model.h"

#include "base/file.h"
#include "base/json.h"
#include "model/hf.h"

#include <algorithm>
#include <map>

const char* score_head_name(ScoreHead head) {
    switch (head) {
    case ScoreHead::scalar:
        return "scalar";
    case ScoreHead::logit:
        return "logit";
    case ScoreHead::log_softmax:
        return "log_softmax";
    case ScoreHead::log_prob:
        return "log_prob";
    case ScoreHead::log_ratio:
        return "log_ratio";
    }
    fail("an unknown head of a reward model");
}

static ScoreHead head_in(const ModelConfig& config) {
    if (config.head != Head::lm) return ScoreHead::scalar;
    if (config.reward_head == "logit") return ScoreHead::logit;
    if (config.reward_head == "log_softmax") return ScoreHead::log_softmax;
    return ScoreHead::log_prob;
}

static std::string pool_of(const ModelConfig& config, ScoreHead head) {
    if (config.head == Head::sequence_classification) return "last";
    return head == ScoreHead::log_ratio ? "sum" : "mean"; // beta times the sum is DPO's reward
}

std::unique_ptr<RewardModel> load_reward_model(const std::string& path,
                                               const std::string& reference,
                                               const ComputeConfig& compute,
                                               int tokens_per_micro_batch) {
    auto reward = std::make_unique<RewardModel>();
    const int budget = reward->tokens_per_micro_batch = tokens_per_micro_batch;
    reward->model = load_model(path, compute, false);
    const ModelConfig& config = reward->model->config;
    const std::string& directory = reward->model->source;
    reward->kind = config.reward_kind;
    reward->head = head_in(config);
    if (!reference.empty()) {
        CHECK(reward->head == ScoreHead::log_prob,
              "%s has a %s head, whose scores need no reference; leave out the reference %s",
              directory.c_str(), score_head_name(reward->head), reference.c_str());
        reward->head = ScoreHead::log_ratio;
        reward->reference = load_model(reference, compute, false);
        const ModelConfig& other = reward->reference->config;
        CHECK(other.head == Head::lm,
              "the reference %s is a reward model; it must be a language model",
              reward->reference->source.c_str());
        check_same_tokenizer(reward->reference->source, directory);
        reward->reference_pass = std::make_unique<Pass>(*reward->reference, budget, budget, false);
    }
    const bool ratio = reward->kind == "dpo_rm" || reward->kind == "implicit_prm";
    CHECK(!ratio || reward->reference,
          "%s was trained as %s: its score is the log-ratio to a reference; name the model that it "
          "was trained from as its reference",
          directory.c_str(), reward->kind.c_str());
    reward->pool = pool_of(config, reward->head);
    reward->pass = std::make_unique<Pass>(*reward->model, budget, budget, false);
    return reward;
}

void want_head(Objective& objective, ScoreHead head) {
    objective.wants_value = objective.value_at_own_token = head == ScoreHead::scalar;
    objective.wants_logit = head == ScoreHead::logit;
    objective.wants_logp = !objective.wants_value && !objective.wants_logit;
}

std::span<const double> head_of(const TokenOutputs& outputs, ScoreHead head) {
    if (head == ScoreHead::scalar) return outputs.value;
    return head == ScoreHead::logit ? outputs.logit : outputs.logp;
}

std::span<double> head_of(const TokenGrads& grads, ScoreHead head) {
    if (head == ScoreHead::scalar) return grads.dvalue;
    return head == ScoreHead::logit ? grads.dlogit : grads.dlogp;
}

std::vector<std::vector<double>> head_scores(Pass& pass, ScoreHead head,
                                             const std::vector<TrainSequence>& sequences,
                                             int tokens_per_micro_batch) {
    Objective wanted;
    want_head(wanted, head);
    OutputOptions options;
    options.logp = wanted.wants_logp, options.value = wanted.wants_value;
    options.logit = wanted.wants_logit;
    options.value_at_own_token = wanted.value_at_own_token;
    std::vector<std::vector<double>> scores;
    for (SequenceOutputs& row :
         evaluate_sequences(pass, sequences, tokens_per_micro_batch, options))
        scores.push_back(std::move(wanted.wants_value   ? row.value
                                   : wanted.wants_logit ? row.logit
                                                        : row.logp));
    return scores;
}

std::vector<std::vector<double>> token_scores(RewardModel& reward,
                                              const std::vector<TrainSequence>& sequences) {
    const int budget = reward.tokens_per_micro_batch;
    auto scores = head_scores(*reward.pass, reward.head, sequences, budget);
    if (reward.head != ScoreHead::log_ratio) return scores;
    auto reference = head_scores(*reward.reference_pass, ScoreHead::log_prob, sequences, budget);
    for (size_t s = 0; s < scores.size(); ++s)
        for (size_t t = 0; t < scores[s].size(); ++t) scores[s][t] -= reference[s][t];
    return scores;
}

double pooled(std::span<const double> scores, const std::string& pool) {
    CHECK(!scores.empty(), "a completion without tokens has no score");
    if (pool == "last") return scores.back();
    if (pool == "min") return *std::min_element(scores.begin(), scores.end());
    double sum = 0;
    for (double score : scores) sum += score;
    if (pool == "sum") return sum;
    CHECK(pool == "mean", "unknown pool \"%s\"; it must be mean, last, sum or min", pool.c_str());
    return sum / (double)scores.size();
}

// ---- tokenizers ----

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
