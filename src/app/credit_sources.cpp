#include "app/credit_sources.h"

#include "app/drm_judges.h"
#include "credit/preference.h"
#include "model/hf.h"
#include "model/same_tokenizer.h"

#include <algorithm>
#include <cmath>

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
    const std::string who = source.where(), name = row.name;
    if (name == "trm_labels") {
        CHECK(task.judged, "%s needs a task that asks for verdicts on sentences; %s does not",
              who.c_str(), task.name.c_str());
        return;
    }
    if (name == "drm") {
        CHECK(task.reasoned, "%s needs a task that tells reasoning from answer; %s does not",
              who.c_str(), task.name.c_str());
        check_dimension_judge(source.relevance.judge, who + ": relevance.judge");
        check_dimension_judge(source.coherence.judge, who + ": coherence.judge");
        return;
    }
    if (name == "fields") {
        CHECK(task.fields,
              "%s needs a task whose answers have fields, as wise and mini_wise; %s has none",
              who.c_str(), task.name.c_str());
        return;
    }
    if (name == "preference") {
        CHECK(!source.model.empty(),
              "%s: model is missing: the directory of a reward model with a scalar head, or "
              "oracle, the task's exact program",
              who.c_str());
        return;
    }
    const bool judge = row.asks == Source::Asks::judge;
    CHECK(row.ask, "%s: rl has no judge of the kind %s; rlhf loss and diff read its stored scores",
          who.c_str(), row.name);
    const bool exact = judge && source.model == "oracle";
    CHECK(!judge || !source.model.empty(),
          "%s: source \"%s\" needs \"model\": the directory of a model that judges, or oracle, an "
          "exact program with precision and recall",
          who.c_str(), row.name);
    CHECK((!exact && !row.checks_steps) || task.verify_steps,
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

// ---- DRM ----------------------------------------------------------------------------------------

std::vector<std::optional<DrmParts>> CreditSources::reasoned(const SourceConfig& source,
                                                             const Judged& batch) const {
    CHECK(source.confidence.weight == 0 || batch.temperature == 1,
          "%s: confidence is of log-probabilities at temperature 1; sample.temperature = %g",
          source.where().c_str(), batch.temperature);
    auto judge_of = [&](const Json& judge, double weight) -> std::shared_ptr<RewardModel> {
        const std::string directory = dimension_judge_directory(judge);
        return directory.empty() || weight == 0 ? nullptr : judges.at(directory);
    };
    std::vector<const Problem*> problem;
    for (int group : batch.group) problem.push_back(&batch.problem[group]);
    return drm_parts(task, problem, batch.completion,
                     judge_of(source.relevance.judge, source.relevance.weight).get(),
                     judge_of(source.coherence.judge, source.coherence.weight).get());
}

// ---- the preference model -----------------------------------------------------------------------

// sigma(score(y) - score(anchor)) of each text; the anchor is a number, or an answer to the same
// prompt.
std::shared_ptr<const Scorer> CreditSources::preference(const SourceConfig& source,
                                                        const std::string& policy,
                                                        const ComputeConfig& compute,
                                                        int budget) const {
    const std::string directory = model_directory(source.model);
    check_same_tokenizer(policy, directory);
    std::shared_ptr<RewardModel> model = load_reward_model(directory, "", compute, budget);
    CHECK(model->head == ScoreHead::scalar,
          "%s: %s has no scalar head; train one with rlhf reward reward.kind=orm",
          source.where().c_str(), directory.c_str());
    std::vector<int32_t> anchor;
    if (source.anchor.is_string()) {
        Row row = parse_row({{"prompt", ""}, {"completion", source.anchor}}, source.where(),
                            inputs.options, RowNeed::completion);
        anchor.assign(row.ids.begin() + row.prompt_length, row.ids.end());
    }
    const double level = source.anchor.is_number() ? source.anchor.get<double>() : 0;
    return std::make_shared<Scorer>([=](const std::vector<ScoredText>& texts) {
        std::vector<std::vector<int32_t>> rows, anchors;
        for (const ScoredText& text : texts) {
            rows.push_back(text.ids);
            std::vector<int32_t>& row = anchors.emplace_back(text.ids);
            row.resize((size_t)text.first);
            row.insert(row.end(), anchor.begin(), anchor.end());
        }
        const std::vector<double> score = end_scores(*model, rows);
        const std::vector<double> other =
            anchor.empty() ? std::vector<double>(rows.size(), level) : end_scores(*model, anchors);
        TokenScores p;
        for (size_t i = 0; i < score.size(); ++i) p.push_back({beats_anchor(score[i], other[i])});
        return p;
    });
}

// ---- judges that write ------------------------------------------------------------------------

static std::unique_ptr<ModelJudge> load_judge(const SourceConfig& source, const Inputs& policy,
                                              const ComputeConfig& compute) {
    CHECK(policy.tokenizer, "%s: a judge reads text, and the policy has no tokenizer.json",
          source.where().c_str());
    return std::make_unique<ModelJudge>(source.model,
                                        JudgeSettings{source.source, "", source.judge}, compute);
}

// ---- all sources --------------------------------------------------------------------------------

CreditSources::CreditSources(const Json& credit, const Task& task_, const Inputs& inputs_,
                             const std::string& policy, const std::string& start,
                             const ComputeConfig& compute, int tokens_per_micro_batch)
    : config(read_sources(credit)), task(task_), inputs(inputs_) {
    std::map<std::pair<std::string, std::string>, std::shared_ptr<const Scorer>> known;
    for (const SourceConfig& source : config) {
        const Source& row = source.row();
        check_source(source, task);
        critics.push_back(nullptr);
        if (row.writes && source.model != "oracle")
            critics.back() = load_judge(source, inputs, compute);
        if (source.source == "preference" && source.model != "oracle") {
            scorers.push_back(preference(source, policy, compute, tokens_per_micro_batch));
            continue;
        }
        for (const Json* judge : {&source.relevance.judge, &source.coherence.judge})
            if (const std::string path = dimension_judge_directory(*judge); !path.empty()) {
                check_same_tokenizer(policy, path);
                if (!judges[path])
                    judges[path] = load_reward_model(path, "", compute, tokens_per_micro_batch);
            }
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
            steps.push_back({step.begin, step.end, step.right, step.kind});
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

// The fields of a completion's text as stretches of its tokens; a token belongs to the field of its first
// byte, one without bytes (EOS) to the field before it.
static std::vector<FieldScore> fields_of(const CreditSources& sources, const Problem& problem,
                                         const std::vector<int32_t>& completion) {
    std::vector<size_t> begins;
    const std::string text = sources.inputs.tokenizer->decode(completion, true, &begins);
    std::vector<FieldScore> fields;
    size_t t = 0;
    const std::vector<FieldVerdict> verdicts = sources.task.fields(problem, text);
    for (size_t f = 0; f < verdicts.size(); ++f) {
        if (f + 1 == verdicts.size()) t = completion.size();
        while (t < completion.size() &&
               (begins[t] == std::string::npos || begins[t] < verdicts[f + 1].begin))
            ++t;
        // A field that is missing, or no token's own: the answer is unreadable as a whole.
        if (verdicts[f].end == verdicts[f].begin ||
            (int)t == (fields.empty() ? 0 : fields.back().end))
            return {};
        fields.push_back({(int)t, verdicts[f].score});
    }
    return fields;
}

Asked CreditSources::ask(const Judged& batch) {
    Completions completions;
    completions.checked.assign(batch.checker.begin(), batch.checker.end());
    for (size_t i = 0; i < batch.completion.size(); ++i) {
        const std::vector<int32_t>& ids = batch.sequence[i].ids;
        const int first = (int)(ids.size() - batch.completion[i].size());
        completions.texts.push_back({ids, first, batch.group[i]});
    }
    completions.logp.assign(batch.logp.begin(), batch.logp.end());
    completions.useful.assign(batch.useful.begin(), batch.useful.end());
    completions.asked.assign(batch.asked.begin(), batch.asked.end());
    completions.steps = [&](int i) {
        return steps_of(*this, batch.problem[batch.group[i]], batch.completion[i]);
    };
    completions.sentences = [&](int i) {
        std::vector<StepSpan> list = completions.steps(i);
        const bool kinds = std::any_of(list.begin(), list.end(),
                                       [](const StepSpan& step) { return step.kind >= 0; });
        // of a task that sorts its steps into kinds, the end has none
        const bool closed = !list.empty() && list.back().kind < 0 && list.back().right;
        if (closed && (kinds || list.size() == 1)) list.pop_back();
        return list;
    };
    completions.verdicts = [&](int i) {
        std::optional<std::vector<LabelledVerdict>> verdicts;
        const auto judged = task.judged(batch.problem[batch.group[i]], batch.completion[i]);
        if (!judged) return verdicts;
        verdicts.emplace();
        for (const JudgedSentence& each : *judged)
            verdicts->push_back({each.end,
                                 {each.faithful == 1, each.correct == 1},
                                 {each.true_faithful == 1, each.true_correct == 1},
                                 each.true_faithful >= 0,
                                 each.true_correct >= 0});
        return verdicts;
    };
    completions.reasoned = [&](const SourceConfig& source) { return reasoned(source, batch); };
    completions.fields = [&](int i) {
        return fields_of(*this, batch.problem[batch.group[i]], batch.completion[i]);
    };
    std::vector<LoopAnswer> answers;
    for (size_t i = 0; i < batch.completion.size(); ++i) {
        const ScoredText& text = completions.texts[i];
        answers.push_back({batch.problem[batch.group[i]],
                           std::span(text.ids).first((size_t)text.first), batch.completion[i],
                           batch.finished[i] != 0});
    }
    Asked asked;
    std::vector<std::vector<Judgement>> judged(config.size());
    for (size_t k = 0; k < config.size(); ++k) {
        if (!critics[k]) continue;
        asked.judges.push_back(judge_batch(*critics[k], config[k].name, answers, *inputs.tokenizer,
                                           task, batch.asked));
        judged[k] = asked.judges.back().said;
    }
    asked.channels = ask_sources(config, scorers, judged, completions);
    return asked;
}

int CreditSources::texts() const {
    int sum = 0;
    for (const auto& critic : critics) sum += critic ? critic->settings.texts() : 0;
    return sum;
}

LengthHistogram CreditSources::expected_texts() const {
    LengthHistogram lengths;
    for (const auto& critic : critics)
        for (int text = 0; critic && text < critic->settings.texts(); ++text)
            lengths.add(any_length_up_to(critic->settings.keys.max_new_tokens));
    return lengths;
}

void CreditSources::judge_ahead(const std::vector<LoopAnswer>& answers, GenerateStats& stats,
                                LengthHistogram& lengths, const std::function<void()>& drawn) {
    for (const auto& critic : critics)
        if (critic)
            critic->write_ahead(loop_questions(*critic, answers, *inputs.tokenizer, task).questions,
                                stats, lengths, drawn);
}

void CreditSources::share_ahead() {
    for (const auto& critic : critics)
        if (critic) critic->share_ahead();
}
