// rlhf pairs CONFIG: preference data from a policy and a rule. Asks every prompt k times, keeps the prompts
// whose answers are mixed, and pairs right answers with wrong ones.

#include "app/commands.h"
#include "app/problems.h"
#include "base/file.h"
#include "base/log.h"
#include "dist/processes.h"
#include "model/hf.h"
#include "rollout/generate.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <set>

namespace {

constexpr int asked_at_once = 1024; // prompts whose answers are in memory together

struct PairSettings { // pairs.*
    int64_t prompts = 1000, eval_prompts = 0;
    int per_prompt = 1;
    void visit(Fields& v) {
        v.field("prompts", prompts, 1, 9e15, "prompts of the training split that are asked");
        v.field("eval_prompts", eval_prompts, 0, 9e15,
                "prompts of the held-out split that are asked for eval_out");
        v.field("per_prompt", per_prompt, 1, 1e6, "most pairs of one prompt; no two are the same");
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
    std::string out, eval_out;
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
        v.field("out", out, "file of pairs to write; - is standard output");
        v.field("eval_out", eval_out, "file of pairs of held-out prompts");
    }
};

struct Counts {
    int64_t prompts = 0, mixed = 0, pairs = 0, right = 0, answers = 0;
};

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

Counts write_pairs(const PairsConfig& config, Model& model, const Inputs& inputs, const Task& task,
                   Split split, int64_t prompts, const std::string& path) {
    const int k = config.sample.n;
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
    for (int64_t first = 0; first < prompts; first += asked_at_once) {
        std::vector<Problem> problems;
        std::vector<std::vector<int32_t>> asked;
        for (int64_t i = first; i < std::min(first + asked_at_once, prompts); ++i) {
            problems.push_back(task.problem(split, i));
            asked.push_back(problem_row(problems.back(), inputs.options, RowNeed::prompt).ids);
        }
        SampleConfig sample = config.sample;
        sample.seed = (int64_t)(mix64((uint64_t)config.sample.seed ^ mix64((uint64_t)first)) >> 12);
        std::vector<Completion> drawn =
            generate(model, asked, sample, split == Split::train ? 0 : 1);
        for (size_t p = 0; p < problems.size(); ++p) {
            std::vector<std::vector<int32_t>> answers;
            std::vector<std::string> texts;
            std::vector<bool> right;
            for (int s = 0; s < k; ++s) {
                answers.push_back(drawn[p * k + s].ids);
                texts.push_back(inputs.text(answers.back()));
                right.push_back(task.verify(problems[p], answers.back(), texts.back()).reward > 0);
            }
            Rng rng(mix64((uint64_t)sample.seed + 1), (uint64_t)p);
            auto chosen = choose_pairs(answers, right, config.pairs.per_prompt, rng);
            for (auto [w, l] : chosen) {
                Json row = {{"prompt", problems[p].prompt},   {"chosen", texts[w]},
                            {"rejected", texts[l]},           {"prompt_ids", asked[p]},
                            {"chosen_ids", answers[w]},       {"rejected_ids", answers[l]},
                            {"prompt_id", first + (int64_t)p}};
                if (out) out->write(dump_row(row) + "\n");
            }
            ++counts.prompts, counts.mixed += !chosen.empty();
            counts.pairs += (int64_t)chosen.size(), counts.answers += k;
            counts.right += std::count(right.begin(), right.end(), true);
        }
        if (progress)
            progress->update(counts.prompts, format("%lld pairs", (long long)counts.pairs));
    }
    CHECK(counts.pairs > 0,
          "no prompt of %lld had both right and wrong answers (%lld of %lld were right); ask more "
          "prompts (pairs.prompts) or oftener (sample.n), or take another policy",
          (long long)counts.prompts, (long long)counts.right, (long long)counts.answers);
    if (out) out->commit();
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
    auto make = [&](Split split, int64_t prompts, const std::string& path) {
        Counts counts = write_pairs(config, *model, inputs, task, split, prompts, path);
        if (!ranks.speaks()) return;
        std::fprintf(
            path == "-" ? stderr : stdout,
            "%s: %lld pairs from %lld mixed prompts of %lld (%.1f %%); %.1f %% of %lld "
            "answers are right\n",
            path.c_str(), (long long)counts.pairs, (long long)counts.mixed,
            (long long)counts.prompts, 100.0 * (double)counts.mixed / (double)counts.prompts,
            100.0 * (double)counts.right / (double)counts.answers, (long long)counts.answers);
    };
    make(Split::train, config.pairs.prompts, config.out);
    if (!config.eval_out.empty()) make(Split::eval, held_out, config.eval_out);
    return 0;
}

extern const Command pairs_command;
const Command pairs_command = command<PairsConfig, pairs>(
    "pairs", "preference pairs: k answers per prompt, right ones against wrong ones");
