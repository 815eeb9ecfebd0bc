#include "app/credit_sources.h"

#include "model/hf.h"

#include <algorithm>
#include <cmath>

CreditSources::CreditSources(const Json& credit, const Task& task_, const Inputs& inputs_,
                             const std::string& policy, const std::string& start,
                             const ComputeConfig& compute, int tokens_per_micro_batch)
    : config(read_sources(credit)), task(task_), inputs(inputs_) {
    std::map<std::pair<std::string, std::string>, std::shared_ptr<RewardModel>> loaded;
    for (SourceConfig& source : config) {
        CHECK(source.source != "oracle" || task.verify_steps,
              "credit source \"oracle\" needs a task that can check its steps; %s cannot",
              task.name.c_str());
        if (!source.uses_model()) {
            model.push_back(nullptr);
            continue;
        }
        const bool log_ratio = source.source == "dpo_rm" || source.source == "implicit_prm";
        const std::string path = model_directory(
            source.model.empty() ? start : source.model); // self: no model of its own
        std::string reference;
        if (log_ratio)
            reference = source.reference.empty() ? start : model_directory(source.reference);
        std::shared_ptr<RewardModel>& known = loaded[{path, reference}];
        if (!known) {
            check_same_tokenizer(policy, path);
            known = load_reward_model(path, reference, compute, tokens_per_micro_batch);
        }
        const bool vocabulary = known->head == ScoreHead::log_prob;
        CHECK(!vocabulary || source.source == "self",
              "credit source \"%s\": %s is a plain language model without a reward head; train one "
              "with rlhf "
              "reward, or use source \"self\" for its log-probabilities",
              source.source.c_str(), path.c_str());
        CHECK(known->kind.empty() || source.source == "self" || known->kind == source.source ||
                  known->kind == source.source + "_pointwise",
              "credit source \"%s\": %s was trained as \"%s\"; name it so", source.source.c_str(),
              path.c_str(), known->kind.c_str());
        model.push_back(known);
    }
}

bool CreditSources::to_tokens() const {
    return std::any_of(config.begin(), config.end(),
                       [](const SourceConfig& source) { return source.to == "tokens"; });
}

bool CreditSources::to_reward() const {
    return std::any_of(config.begin(), config.end(),
                       [](const SourceConfig& source) { return source.to == "reward"; });
}

// Where a completion's steps end, by the task, or a step per line of its text. A token belongs to the step of
// its first character, so a line end belongs to the step before it.
static std::vector<int> step_ends(const CreditSources& sources, const Problem& problem,
                                  const std::vector<int32_t>& completion) {
    std::vector<int> ends;
    if (sources.task.verify_steps) {
        for (const StepVerdict& step : sources.task.verify_steps(problem, completion))
            ends.push_back(step.end);
        return ends;
    }
    for (int t = 0; t < (int)completion.size(); ++t)
        if (sources.inputs.text({completion[t]}).find('\n') != std::string::npos)
            ends.push_back(t + 1);
    if (ends.empty() || ends.back() != (int)completion.size())
        ends.push_back((int)completion.size());
    return ends;
}

// A step's score stands on each of its tokens.
static std::vector<double> spread_steps(const std::vector<double>& score,
                                        const std::vector<int>& ends) {
    std::vector<double> x(score.size());
    int begin = 0;
    for (int end : ends) {
        std::fill(x.begin() + begin, x.begin() + end, std::tanh(score[end - 1]));
        begin = end;
    }
    return x;
}

// +1 on the tokens of a right step, -1 on those of a wrong one.
static std::vector<double> step_labels(const std::vector<StepVerdict>& steps, size_t length) {
    std::vector<double> x(length);
    for (const StepVerdict& step : steps)
        std::fill(x.begin() + step.begin, x.begin() + step.end, step.right ? 1.0 : -1.0);
    return x;
}

std::vector<Channel> CreditSources::ask(const Judged& batch) {
    std::map<RewardModel*, std::vector<std::vector<double>>> answers; // a model is asked once
    std::vector<Channel> channels;
    for (size_t k = 0; k < config.size(); ++k) {
        Channel channel{config[k].source, config[k].source != "rule", {}, {}};
        if (!channel.per_token) {
            channel.values.assign(batch.checker.begin(), batch.checker.end());
            channels.push_back(std::move(channel));
            continue;
        }
        if (model[k] && !answers.count(model[k].get()))
            answers[model[k].get()] = token_scores(*model[k], batch.sequence);
        for (size_t i = 0; i < batch.completion.size(); ++i) {
            const Problem& problem = batch.problem[batch.group[i]];
            const std::vector<int32_t>& completion = batch.completion[i];
            std::vector<double> x;
            if (config[k].source == "oracle")
                x = step_labels(task.verify_steps(problem, completion), completion.size());
            else
                x = answers[model[k].get()][i];
            if (config[k].source == "prm")
                x = spread_steps(x, step_ends(*this, problem, completion));
            channel.values.insert(channel.values.end(), x.begin(), x.end());
        }
        channels.push_back(std::move(channel));
    }
    return channels;
}
