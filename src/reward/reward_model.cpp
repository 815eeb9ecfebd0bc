#include "reward/reward_model.h"

#include "model/hf.h"
#include "model/same_tokenizer.h"
#include "reward/reward_loss.h"

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

static Pool pool_of(const ModelConfig& config, ScoreHead head) {
    if (config.head == Head::sequence_classification) return Pool::last;
    return head == ScoreHead::log_ratio ? Pool::sum
                                        : Pool::mean; // beta times the sum is DPO's reward
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
    const RewardKind* kind = find_reward_kind(reward->kind);
    CHECK(!kind || !kind->ratio || reward->reference,
          "%s was trained as %s: its score is the log-ratio to a reference; name the model that it "
          "was trained from as its reference",
          directory.c_str(), reward->kind.c_str());
    reward->pool = pool_of(config, reward->head);
    reward->pass = std::make_unique<Pass>(*reward->model, budget, budget, false);
    return reward;
}

void want_head(Objective& objective, ScoreHead head) {
    objective.wants.value = objective.wants.value_at_own_token = head == ScoreHead::scalar;
    objective.wants.logit = head == ScoreHead::logit;
    objective.wants.logp = !objective.wants.value && !objective.wants.logit;
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
    std::vector<std::vector<double>> scores;
    for (SequenceOutputs& row :
         evaluate_sequences(pass, sequences, tokens_per_micro_batch, wanted.wants))
        scores.push_back(std::move(wanted.wants.value   ? row.value
                                   : wanted.wants.logit ? row.logit
                                                        : row.logp));
    return scores;
}

// transformers reads a sequence classifier at the last token that is not its padding id, and some models
// pad with the very token that ends a text. So the score of a text up to t is read at the last such token
// up to t.
static std::vector<std::vector<double>>
classifier_scores(RewardModel& reward, const std::vector<TrainSequence>& sequences) {
    const int pad = reward.model->config.pad;
    std::vector<TrainSequence> asked = sequences;
    std::vector<std::vector<size_t>> place; // of each target among those that are asked for
    for (TrainSequence& sequence : asked) {
        std::vector<int32_t> read;
        std::vector<size_t>& places = place.emplace_back();
        for (int32_t t : sequence.target) {
            while (t > 0 && sequence.ids[t] == pad) --t;
            CHECK(t > 0,
                  "%s: a text of nothing but the padding id %d has no score (\"pad_token_id\" in "
                  "config.json)",
                  reward.model->source.c_str(), pad);
            if (t <= sequence.shared)
                sequence.prompt = -1, sequence.shared = 0; // read in the prompt
            if (read.empty() || read.back() != t) read.push_back(t);
            places.push_back(read.size() - 1);
        }
        sequence.target = read;
    }
    auto scores = head_scores(*reward.pass, reward.head, asked, reward.tokens_per_micro_batch);
    for (size_t s = 0; s < scores.size(); ++s) {
        std::vector<double> all;
        for (size_t at : place[s]) all.push_back(scores[s][at]);
        scores[s] = all;
    }
    return scores;
}

std::vector<std::vector<double>> token_scores(RewardModel& reward,
                                              const std::vector<TrainSequence>& sequences) {
    if (reward.model->config.head == Head::sequence_classification && reward.model->config.pad >= 0)
        return classifier_scores(reward, sequences);
    const int budget = reward.tokens_per_micro_batch;
    auto scores = head_scores(*reward.pass, reward.head, sequences, budget);
    if (reward.head != ScoreHead::log_ratio) return scores;
    auto reference = head_scores(*reward.reference_pass, ScoreHead::log_prob, sequences, budget);
    for (size_t s = 0; s < scores.size(); ++s)
        for (size_t t = 0; t < scores[s].size(); ++t) scores[s][t] -= reference[s][t];
    return scores;
}
