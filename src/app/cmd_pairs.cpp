// rlhf pairs CONFIG: preference data from a policy. Asks every prompt k times and pairs answers: right ones
// with wrong ones, where a prompt's are mixed; or the one that the credit sources score highest with the
// lowest, without asking which is right; or any two, a control.

#include "app/commands.h"
#include "app/credit_sources.h"
#include "app/problems.h"
#include "app/rl_learner.h"
#include "app/signal.h"
#include "base/file.h"
#include "base/log.h"
#include "dist/processes.h"
#include "model/hf.h"
#include "rl/earned.h"
#include "rollout/generate.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <deque>
#include <optional>
#include <set>

namespace {

constexpr int asked_at_once = 1024; // prompts whose answers are in memory together

enum class PairRule { right_wrong, max_min, random };
constexpr const char* pair_rules[] = {"right_wrong", "max_min", "random"};

struct PairSettings { // pairs.*
    int64_t prompts = 1000, eval_prompts = 0;
    int per_prompt = 1;
    PairRule rule = PairRule::right_wrong;
    double min_gap = 0;
    void visit(Fields& v) {
        v.field("prompts", prompts, 1, 9e15, "prompts of the training split that are asked");
        v.field("eval_prompts", eval_prompts, 0, 9e15,
                "prompts of the held-out split that are asked for eval_out");
        v.field("per_prompt", per_prompt, 1, 1e6,
                "rule=right_wrong: most pairs of one prompt; no two are the same");
        v.choice("rule", rule, pair_rules,
                 "what is chosen and rejected: a right and a wrong answer, the answers of the "
                 "highest and lowest score by `credit`, or any two");
        v.field("min_gap", min_gap, 0, 1e9,
                "rule=max_min: scores that are no further apart make no pair");
    }
};

struct PairsConfig {
    ModelSettings model;
    ComputeSettings compute;
    TaskConfig task;
    PromptSettings data;
    ChatConfig chat;
    SampleConfig sample;
    PairSettings pairs;
    DistSettings dist;
    Json credit = Json::array({{{"source", "rule"}}});
    std::string out, eval_out, format = "text";
    PairsConfig() { sample.n = 4; }
    void visit(Fields& v) {
        v.object("model", model, "the policy");
        v.object("compute", compute, "the machine");
        v.object("task", task, "prompts, and the rule that says which answers are right");
        v.object("data", data, "how a problem becomes a prompt");
        v.object("chat", chat, "conversations");
        v.object("sample", sample, "how answers are drawn; n: k, answers per prompt");
        v.object("pairs", pairs, "what is asked and kept");
        v.object("dist", dist, "several processes (mpirun)");
        v.input("credit", credit,
                "pairs.rule=max_min: a list of sources, as of rlhf rl, that score answers");
        v.choice("format", format, {"text", "json"},
                 "json: one object at the end, with what the task says of chosen and rejected "
                 "answers and how well each score tells sound reasoning from flawed");
        v.field("out", out, "file of pairs to write; - is standard output");
        v.field("eval_out", eval_out, "file of pairs of held-out prompts");
    }
};

struct Counts {
    int64_t prompts = 0, mixed = 0, pairs = 0, right = 0, answers = 0;
    Json json = Json::object(); // format=json
};

// The k answers to each of some problems.
struct PromptAnswers {
    std::vector<Problem> problems;
    std::vector<std::vector<int32_t>> prompts;
    std::vector<std::vector<int32_t>> answers; // k of each problem, one after another
    std::vector<std::string> texts;
    std::vector<bool> right;
    Rollouts drawn; // with the reward that the credit sources give, where they are asked
};

// What the sources make of the answers, into drawn.reward; the raw scores as well.
std::vector<Channel> score_answers(PromptAnswers& asked, CreditSources& sources,
                                   double temperature) {
    RolloutTexts texts{asked.prompts, asked.answers};
    const std::vector<TrainSequence> sequences = all_tokens(asked.drawn, texts);
    std::vector<double> checker, useful;
    for (size_t i = 0; i < asked.answers.size(); ++i) {
        checker.push_back(asked.right[i]);
        useful.push_back(NAN);
    }
    std::vector<Channel> channels =
        sources
            .ask({asked.problems, asked.drawn.group, asked.answers, sequences, checker, useful,
                  asked.drawn.logp_old, temperature, asked.drawn.finished})
            .channels;
    asked.drawn.reward =
        earned(sources.config, channels, {asked.drawn.offset, asked.drawn.group}, AlgoConfig())
            .reward;
    return channels;
}

// The highest and the lowest of one prompt's k scores, the first of equal ones; none: they are not
// further apart than the gap, or the same text.
std::vector<std::pair<int, int>> extremes(std::span<const double> score, double min_gap,
                                          std::span<const std::vector<int32_t>> answers) {
    const int high = (int)(std::max_element(score.begin(), score.end()) - score.begin());
    const int low = (int)(std::min_element(score.begin(), score.end()) - score.begin());
    if (score[high] - score[low] <= min_gap || answers[high] == answers[low]) return {};
    return {{high, low}};
}

std::vector<std::pair<int, int>> any_two(std::span<const std::vector<int32_t>> answers, Rng& rng) {
    std::vector<std::pair<int, int>> all;
    for (int w = 0; w < (int)answers.size(); ++w)
        for (int l = 0; l < (int)answers.size(); ++l)
            if (answers[w] != answers[l]) all.push_back({w, l});
    if (all.empty()) return {};
    return {all[rng.below((int)all.size())]};
}

// Pairs of a right and a wrong answer, in random order, every text once.
std::vector<std::pair<int, int>> choose_pairs(const std::vector<std::vector<int32_t>>& answers,
                                              const std::vector<bool>& right, int most, Rng rng) {
    std::vector<std::pair<int, int>> all;
    for (int w = 0; w < (int)answers.size(); ++w)
        for (int l = 0; l < (int)answers.size(); ++l)
            if (right[w] && !right[l]) all.push_back({w, l});
    rng.shuffle(all);
    std::set<std::pair<std::vector<int32_t>, std::vector<int32_t>>> seen;
    std::vector<std::pair<int, int>> chosen;
    for (auto [w, l] : all)
        if ((int)chosen.size() < most && seen.insert({answers[w], answers[l]}).second)
            chosen.push_back({w, l});
    return chosen;
}

PromptAnswers ask(const PairsConfig& config, Model& model, const Inputs& inputs, const Task& task,
                  Split split, int64_t first, int64_t last) {
    PromptAnswers asked;
    for (int64_t i = first; i < last; ++i) {
        asked.problems.push_back(task.problem(split, i));
        asked.prompts.push_back(
            problem_row(asked.problems.back(), inputs.options, RowNeed::prompt).ids);
    }
    SampleConfig sample = config.sample;
    sample.seed = (int64_t)(mix64((uint64_t)config.sample.seed ^ mix64((uint64_t)first)) >> 12);
    for (Completion& completion :
         generate(model, asked.prompts, sample, split == Split::train ? 0 : 1)) {
        asked.texts.push_back(inputs.text(completion.ids));
        asked.right.push_back(
            task.verify(asked.problems[completion.prompt], completion.ids, asked.texts.back())
                .reward > 0);
        add_completion(asked.drawn, asked.answers, std::move(completion));
    }
    return asked;
}

// Chosen and rejected answers of prompt p, as numbers from 0 to k - 1.
std::vector<std::pair<int, int>> choose(const PairsConfig& config, const PromptAnswers& asked,
                                        size_t p, Rng rng) {
    const size_t k = (size_t)config.sample.n;
    const std::span<const std::vector<int32_t>> answers(asked.answers.data() + p * k, k);
    if (config.pairs.rule == PairRule::max_min)
        return extremes(std::span(asked.drawn.reward).subspan(p * k, k), config.pairs.min_gap,
                        answers);
    if (config.pairs.rule == PairRule::random) return any_two(answers, rng);
    return choose_pairs({answers.begin(), answers.end()},
                        {asked.right.begin() + p * k, asked.right.begin() + (p + 1) * k},
                        config.pairs.per_prompt, rng);
}

// w, l: among all answers.
Json pair_row(const PromptAnswers& asked, size_t p, size_t w, size_t l, int64_t prompt_id,
              bool scored) {
    Json row = {{"prompt", asked.problems[p].prompt},
                {"chosen", asked.texts[w]},
                {"rejected", asked.texts[l]},
                {"prompt_ids", asked.prompts[p]},
                {"chosen_ids", asked.answers[w]},
                {"rejected_ids", asked.answers[l]},
                {"prompt_id", prompt_id}};
    if (scored) {
        row["chosen_score"] = asked.drawn.reward[w];
        row["rejected_score"] = asked.drawn.reward[l];
    }
    return row;
}

// Answers that the task is to say something of at the end, with their problems.
struct KeptAnswers {
    std::deque<Problem> problems;
    std::deque<std::vector<int32_t>> texts;
    std::vector<Answered> all;
    void add(const Problem& problem, const std::vector<int32_t>& answer) {
        all.push_back({&problems.emplace_back(problem), &texts.emplace_back(answer)});
    }
};

Counts write_pairs(const PairsConfig& config, Model& model, const Inputs& inputs, const Task& task,
                   CreditSources* sources, Split split, int64_t prompts, const std::string& path) {
    const size_t k = (size_t)config.sample.n;
    const bool figures = config.format == "json" && task.figures;
    prompts = std::min(prompts, task.count(split));
    // Of several ranks all draw, each some of the answers, and the first writes.
    std::optional<AtomicFile> out;
    std::optional<Progress> progress;
    if (this_process().rank == 0) {
        if (size_t slash = path.rfind('/'); slash != std::string::npos)
            make_directories(path.substr(0, slash));
        out.emplace(path);
        progress.emplace("pairs", "prompts", prompts);
    }
    Counts counts;
    Signal signal;
    KeptAnswers chosen, rejected;
    for (int64_t first = 0; first < prompts; first += asked_at_once) {
        PromptAnswers asked = ask(config, model, inputs, task, split, first,
                                  std::min(first + asked_at_once, prompts));
        if (sources) {
            const auto channels = score_answers(asked, *sources, config.sample.temperature);
            std::vector<const Problem*> problem;
            for (int group : asked.drawn.group) problem.push_back(&asked.problems[group]);
            if (task.verify_steps)
                signal.add(channels, {asked.drawn.offset, asked.drawn.group}, problem,
                           asked.answers, asked.right, task);
        }
        const uint64_t seed = mix64((uint64_t)config.sample.seed ^ mix64((uint64_t)first)) >> 12;
        for (size_t p = 0; p < asked.problems.size(); ++p) {
            const auto pairs = choose(config, asked, p, Rng(mix64(seed + 1), (uint64_t)p));
            for (auto [w, l] : pairs) {
                const Json row = pair_row(asked, p, p * k + w, p * k + l, first + (int64_t)p,
                                          sources != nullptr);
                if (out) out->write(dump_row(row) + "\n");
                if (!figures) continue;
                chosen.add(asked.problems[p], asked.answers[p * k + w]);
                rejected.add(asked.problems[p], asked.answers[p * k + l]);
            }
            ++counts.prompts, counts.mixed += !pairs.empty();
            counts.pairs += (int64_t)pairs.size();
        }
        counts.answers += (int64_t)asked.right.size();
        counts.right += std::count(asked.right.begin(), asked.right.end(), true);
        if (progress)
            progress->update(counts.prompts, format("%lld pairs", (long long)counts.pairs));
    }
    const char* what = config.pairs.rule == PairRule::right_wrong
                           ? "had both right and wrong answers"
                           : "had two answers that differ enough";
    CHECK(counts.pairs > 0,
          "no prompt of %lld %s (%lld of %lld were right); ask more prompts (pairs.prompts) or "
          "oftener (sample.n), or take another policy",
          (long long)counts.prompts, what, (long long)counts.right, (long long)counts.answers);
    if (out) out->commit();
    counts.json = {{"prompts", counts.prompts},
                   {"pairs", counts.pairs},
                   {"right", (double)counts.right / (double)counts.answers}};
    for (const auto& [name, side] : {std::pair{"chosen", &chosen}, {"rejected", &rejected}})
        if (!side->all.empty())
            for (const TaskFigure& figure : task.figures(side->all))
                counts.json[name][figure.name] = figure.value;
    if (sources) counts.json["signal"] = signal.json();
    return counts;
}

} // namespace

static int pairs(PairsConfig& config, const Args&) {
    CHECK(!config.out.empty(), "out is missing: the file of pairs to write");
    CHECK(config.eval_out.empty() == (config.pairs.eval_prompts == 0),
          "eval_out and pairs.eval_prompts go together; only one is given");
    CHECK(config.sample.n >= 2, "sample.n=%d: a pair needs at least two answers to a prompt",
          config.sample.n);
    CHECK(config.sample.temperature > 0,
          "sample.temperature=0 gives every answer to a prompt the same text; set it above 0");
    ComputeConfig compute = apply_compute(config.compute);
    const Ranks ranks(compute, config.dist);
    Task task = make_task(config.task);
    std::unique_ptr<Model> model = load_model(config.model.path, compute, true);
    CHECK(model->config.head == Head::lm, "%s is a reward model and cannot answer",
          model->source.c_str());
    Inputs inputs =
        open_inputs(model->source, model->config, config.data.template_name, true, config.chat);
    const int64_t held_out =
        held_out_problems(task, config.pairs.eval_prompts, "pairs.eval_prompts=0");
    check_lengths(task, Split::train, config.pairs.prompts, inputs.options, RowNeed::prompt);
    check_lengths(task, Split::eval, held_out, inputs.options, RowNeed::prompt);
    CHECK(config.pairs.per_prompt == 1 || config.pairs.rule == PairRule::right_wrong,
          "pairs.per_prompt=%d belongs to pairs.rule=right_wrong; %s makes one pair of a prompt",
          config.pairs.per_prompt, pair_rules[(int)config.pairs.rule]);
    std::unique_ptr<CreditSources> sources;
    if (config.pairs.rule == PairRule::max_min)
        sources = std::make_unique<CreditSources>(config.credit, task, inputs, model->source,
                                                  model->source, compute, forward_tokens);
    Json result = Json::object();
    auto make = [&](Split split, int64_t prompts, const std::string& path) {
        Counts counts =
            write_pairs(config, *model, inputs, task, sources.get(), split, prompts, path);
        if (!ranks.speaks()) return;
        result[split == Split::train ? "train" : "eval"] = counts.json;
        std::fprintf(
            path == "-" ? stderr : stdout,
            "%s: %lld pairs from %lld %sprompts of %lld (%.1f %%); %.1f %% of %lld "
            "answers are right\n",
            path.c_str(), (long long)counts.pairs, (long long)counts.mixed,
            config.pairs.rule == PairRule::right_wrong ? "mixed " : "", (long long)counts.prompts,
            100.0 * (double)counts.mixed / (double)counts.prompts,
            100.0 * (double)counts.right / (double)counts.answers, (long long)counts.answers);
    };
    make(Split::train, config.pairs.prompts, config.out);
    if (!config.eval_out.empty()) make(Split::eval, held_out, config.eval_out);
    if (config.format == "json" && ranks.speaks())
        std::fprintf(config.out == "-" ? stderr : stdout, "%s\n", result.dump().c_str());
    return 0;
}

extern const Command pairs_command;
const Command pairs_command = command<PairsConfig, pairs>(
    "pairs", "preference pairs: k answers per prompt, right ones against wrong ones");
