#include "app/credit_sources.h"

#include "model/hf.h"
#include "model/same_tokenizer.h"

#include <algorithm>

// The completion's tokens as targets; a prompt goes through the network once for all completions of
// its group.
static std::vector<TrainSequence> sequences_of(const std::vector<ScoredText>& texts) {
    std::vector<TrainSequence> sequences;
    for (const ScoredText& text : texts) {
        TrainSequence& sequence = sequences.emplace_back();
        sequence.ids = text.ids;
        for (int t = text.first; t < (int)text.ids.size(); ++t) sequence.target.push_back(t);
        sequence.prompt = text.group;
        sequence.shared = text.first - 1;
    }
    return sequences;
}

// What a source needs, before anything is loaded for it.
static void check_source(const SourceConfig& source, const Task& task) {
    const Source& row = source.row();
    const std::string who = source.where();
    const bool judge = row.asks == Source::Asks::judge;
    CHECK(row.ask, "%s: rl has no judge of the kind %s; rlhf loss and diff read its stored scores",
          who.c_str(), row.name);
    CHECK(!judge || source.model == "oracle",
          "%s: model is \"%s\"; rl asks the judge of %s as an exact program, model=oracle, with "
          "precision and recall",
          who.c_str(), source.model.c_str(), row.name);
    CHECK((!judge && !row.checks_steps) || task.verify_steps,
          "%s needs a task that can check its steps; %s cannot", who.c_str(), task.name.c_str());
    CHECK(row.asks != Source::Asks::model || !source.model.empty(),
          "%s: source \"%s\" needs \"model\", the directory of the reward model", who.c_str(),
          row.name);
}

static std::shared_ptr<RewardModel> load_source(const SourceConfig& source, const std::string& path,
                                                const std::string& reference,
                                                const std::string& policy,
                                                const ComputeConfig& compute, int budget) {
    check_same_tokenizer(policy, path);
    std::shared_ptr<RewardModel> model = load_reward_model(path, reference, compute, budget);
    const std::string& name = source.source;
    if (source.row().asks == Source::Asks::policy) return model;
    CHECK(model->head != ScoreHead::log_prob,
          "credit source \"%s\": %s is a plain language model without a reward head; train one "
          "with rlhf reward, or use source \"self\" for its log-probabilities",
          name.c_str(), path.c_str());
    CHECK(model->kind.empty() || model->kind == name || model->kind == name + "_pointwise",
          "credit source \"%s\": %s was trained as \"%s\"; name it so", name.c_str(), path.c_str(),
          model->kind.c_str());
    return model;
}

CreditSources::CreditSources(const Json& credit, const Task& task_, const Inputs& inputs_,
                             const std::string& policy, const std::string& start,
                             const ComputeConfig& compute, int tokens_per_micro_batch)
    : config(read_sources(credit)), task(task_), inputs(inputs_) {
    std::map<std::pair<std::string, std::string>, std::shared_ptr<const Scorer>> known;
    for (const SourceConfig& source : config) {
        const Source& row = source.row();
        check_source(source, task);
        if (row.asks == Source::Asks::nobody || row.asks == Source::Asks::judge) {
            scorers.push_back(nullptr);
            continue;
        }
        const std::string path = model_directory(source.model.empty() ? start : source.model);
        std::string reference;
        if (row.log_ratio)
            reference = source.reference.empty() ? start : model_directory(source.reference);
        std::shared_ptr<const Scorer>& scorer = known[{path, reference}];
        if (!scorer) {
            auto model =
                load_source(source, path, reference, policy, compute, tokens_per_micro_batch);
            scorer = std::make_shared<Scorer>([model](const std::vector<ScoredText>& texts) {
                return token_scores(*model, sequences_of(texts));
            });
        }
        scorers.push_back(scorer);
    }
}

bool CreditSources::to_tokens() const {
    return std::any_of(config.begin(), config.end(), [](const SourceConfig& source) {
        return source.counts() && source.to == To::tokens;
    });
}

bool CreditSources::to_reward() const {
    return std::any_of(config.begin(), config.end(), [](const SourceConfig& source) {
        return source.counts() && source.to == To::reward;
    });
}

// Where a completion's steps end, by the task, or a step per line of its text. A token belongs to
// the step of its first character, so a line end belongs to the step before it.
static std::vector<StepSpan> steps_of(const CreditSources& sources, const Problem& problem,
                                      const std::vector<int32_t>& completion) {
    std::vector<StepSpan> steps;
    if (sources.task.verify_steps) {
        for (const StepVerdict& step : sources.task.verify_steps(problem, completion))
            steps.push_back({step.begin, step.end, step.right});
        return steps;
    }
    const int length = (int)completion.size();
    int begin = 0;
    for (int t = 0; t < length; ++t) {
        const bool line_end = sources.inputs.text({completion[t]}).find('\n') != std::string::npos;
        if (!line_end && t + 1 < length) continue;
        steps.push_back({begin, t + 1, false});
        begin = t + 1;
    }
    return steps;
}

std::vector<Channel> CreditSources::ask(const Judged& batch) {
    Completions completions;
    completions.checked.assign(batch.checker.begin(), batch.checker.end());
    for (size_t i = 0; i < batch.completion.size(); ++i) {
        const std::vector<int32_t>& ids = batch.sequence[i].ids;
        const int first = (int)(ids.size() - batch.completion[i].size());
        completions.texts.push_back({ids, first, batch.group[i]});
    }
    completions.steps = [&](int i) {
        return steps_of(*this, batch.problem[batch.group[i]], batch.completion[i]);
    };
    return ask_sources(config, scorers, completions);
}
