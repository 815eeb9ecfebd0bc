// rlhf eval: how often a policy answers a task's problems rightly.

#include "app/commands.h"
#include "app/eval_wise.h"
#include "app/problems.h"
#include "base/file.h"
#include "base/log.h"
#include "dist/processes.h"
#include "model/hf.h"
#include "rollout/generate.h"
#include "task/metrics.h"

#include <algorithm>
#include <cstdio>
#include <optional>

struct EvalConfig {
    ModelSettings model;
    ComputeSettings compute;
    TaskConfig task;
    PromptSettings data;
    ChatConfig chat;
    SampleConfig sample;
    int problems = 0;
    double at_least = 0, at_most = 1;
    std::string out, format = "text", predictions;
    WiseEvalSettings wise;
    DistSettings dist;

    void visit(Fields& v) {
        v.object("model", model, "the policy");
        v.object("compute", compute, "the machine");
        v.object("task", task, "what is asked");
        v.object("data", data, "how a problem becomes a prompt");
        v.object("chat", chat, "conversations");
        v.object("sample", sample, "how tokens are drawn");
        v.field("problems", problems, 0, 1e9,
                "P: problems of the task that are asked; 0: all (500 of the endless arithmetic)");
        v.field("at_least", at_least, 0, 1, "bound on pass@1; below it eval fails");
        v.field("at_most", at_most, 0, 1, "bound on pass@1; above it eval fails");
        v.field("out", out, "file of rows with every completion; -: standard output");
        v.choice("format", format, {"text", "json"}, "of the result");
        v.field("predictions", predictions,
                "instead of a model: file of WISE turns, gold and predicted, to be measured");
        v.object("wise", wise, "conversational search");
        v.object("dist", dist, "several processes (mpirun)");
    }
};

// The rows of a file are all asked, unless a part is named as held out.
static Task task_to_ask(TaskConfig config) {
    if (config.eval_data.empty() && config.eval_share == 0)
        std::swap(config.eval_data, config.data);
    return make_task(config);
}

struct Answers { // of one problem
    std::vector<std::string> votes;
    std::vector<bool> right;
    int count() const { return (int)std::count(right.begin(), right.end(), true); }
};

// pass@k and maj@k for k = 1, 2, 4, .. and n.
static Json estimates(const std::vector<Answers>& answers, int n) {
    Json result = Json::object();
    std::vector<double> values(answers.size());
    auto put = [&](const char* name, int k) {
        Estimate e = mean_over_prompts(values, n);
        result[format("%s@%d", name, k)] = {{"value", e.value}, {"low", e.low}, {"high", e.high}};
    };
    std::vector<int> ks;
    for (int k = 1; k < n; k *= 2) ks.push_back(k);
    ks.push_back(n);
    for (int k : ks) {
        for (size_t p = 0; p < answers.size(); ++p) values[p] = pass_at_k(n, answers[p].count(), k);
        put("pass", k);
    }
    for (int k : ks) {
        for (size_t p = 0; p < answers.size(); ++p)
            values[p] = majority_at_k(answers[p].votes, answers[p].right, k);
        if (k > 1) put("maj", k); // maj@1 is pass@1
    }
    return result;
}

static void print_result(FILE* out, const Json& result) {
    for (auto& [name, value] : result.items()) {
        if (value.is_object())
            std::fprintf(out, "%-16s %.4f   [%.4f, %.4f]\n", name.c_str(),
                         value["value"].get<double>(), value["low"].get<double>(),
                         value["high"].get<double>());
        else
            std::fprintf(out, "%-16s %s\n", name.c_str(),
                         value.is_number_float() ? format("%.4g", value.get<double>()).c_str()
                         : value.is_string()     ? value.get<std::string>().c_str()
                                                 : value.dump().c_str());
    }
}

// Turns of WISE; the bounds are on task success.
static int eval_turns(EvalConfig& config) {
    ComputeConfig compute = apply_compute(config.compute);
    std::unique_ptr<Model> model = load_model(config.model.path, compute, true);
    Inputs inputs =
        open_inputs(model->source, model->config, config.data.template_name, true, config.chat);
    TaskConfig task = config.task;
    if (task.eval_conversations.empty()) std::swap(task.eval_conversations, task.conversations);
    const Json result =
        eval_wise(*model, inputs, task, config.wise, config.sample, config.problems, config.out);
    std::FILE* to = config.out == "-" ? stderr : stdout;
    std::fprintf(to, "%s\n", result.dump(config.format == "json" ? -1 : 2).c_str());
    if (config.at_least == 0 && config.at_most == 1) return 0;
    CHECK(result["success"].is_number(),
          "at_least and at_most are bounds on task success, which these turns do not tell "
          "(\"contains\" of an utterance)");
    const double success = result["success"].get<double>();
    CHECK(success >= config.at_least && success <= config.at_most,
          "task success of %s is %.4f, and has to be in %g .. %g", model->source.c_str(), success,
          config.at_least, config.at_most);
    return 0;
}

static int cmd_eval(EvalConfig& config, const Args&) {
    if (!config.predictions.empty()) {
        const Json result = eval_predictions(config.predictions, config.wise);
        std::printf("%s\n", result.dump(config.format == "json" ? -1 : 2).c_str());
        return 0;
    }
    if (config.task.name == "wise" || config.task.name == "mini_wise") return eval_turns(config);
    const SampleConfig& sample = config.sample;
    ComputeConfig compute = apply_compute(config.compute);
    const Ranks ranks(compute, config.dist);
    Task task = task_to_ask(config.task);
    std::unique_ptr<Model> model = load_model(config.model.path, compute, true);
    CHECK(model->config.head == Head::lm, "%s is a reward model and cannot answer",
          model->source.c_str());
    Inputs inputs =
        open_inputs(model->source, model->config, config.data.template_name, true, config.chat);

    int64_t count = held_out_problems(task, config.problems ? config.problems : INT64_MAX,
                                      "task.eval_share=0, which asks every row");
    if (count == INT64_MAX) count = 500;
    check_lengths(task, Split::eval, count, inputs.options, RowNeed::prompt);
    std::vector<Problem> problems;
    std::vector<Row> rows;
    std::vector<std::vector<int32_t>> prompts;
    for (int64_t i = 0; i < count; ++i) {
        problems.push_back(task.problem(Split::eval, i));
        rows.push_back(problem_row(problems.back(), inputs.options, RowNeed::prompt));
        prompts.push_back(rows.back().ids);
    }

    std::vector<Completion> completions;
    {
        std::optional<Progress> progress;
        if (ranks.speaks()) progress.emplace("eval", "completions", count * sample.n);
        int64_t done = 0;
        completions = generate(*model, prompts, sample, 0, nullptr, [&](const Completion&) {
            if (progress) progress->update(++done);
        });
    }
    if (!ranks.speaks()) return 0; // the first measures all of them

    std::unique_ptr<AtomicFile> out;
    if (!config.out.empty()) out = std::make_unique<AtomicFile>(config.out);
    std::vector<Answers> answers(count);
    std::vector<Answered> answered;
    double tokens = 0, finished = 0, steps = 0, steps_right = 0;
    for (const Completion& completion : completions) {
        const Problem& problem = problems[completion.prompt];
        std::string text = inputs.text(completion.ids);
        answered.push_back({&problem, &completion.ids, completion.logp});
        Verdict verdict = task.verify(problem, completion.ids, text);
        answers[completion.prompt].votes.push_back(verdict.answer);
        answers[completion.prompt].right.push_back(verdict.reward > 0);
        tokens += (double)completion.ids.size();
        finished += completion.finished;
        if (task.verify_steps)
            for (const StepVerdict& step : task.verify_steps(problem, completion.ids))
                ++steps, steps_right += step.right;
        if (!out) continue;
        Json row = other_keys(rows[completion.prompt]);
        row["prompt_id"] = completion.prompt;
        row["sample"] = completion.sample;
        row["prompt"] = problem.prompt;
        row["prompt_ids"] = prompts[completion.prompt];
        row["completion_ids"] = completion.ids;
        row["logp"] = Json::array();
        for (auto logp : completion.logp) row["logp"].push_back(number_f32((float)logp));
        row["text"] = text;
        row["finish"] = completion.finished ? "stop" : "length";
        row["gold"] = problem.answer;
        row["reward"] = verdict.reward;
        row["reason"] = verdict.reason;
        out->write(dump_row(row) + "\n");
    }
    if (out) out->commit();

    double all = (double)completions.size();
    Json result = {{"task", task.name}, {"prompts", count}, {"samples", sample.n}};
    result["temperature"] = sample.temperature;
    result.update(estimates(answers, sample.n));
    result["finished_share"] = finished / all;
    result["mean_tokens"] = tokens / all;
    if (steps > 0) result["steps_right_share"] = steps_right / steps;
    if (task.figures)
        for (const TaskFigure& figure : task.figures(answered)) result[figure.name] = figure.value;
    FILE* to = config.out == "-" ? stderr : stdout; // nothing but rows where rows go
    if (config.format == "json")
        std::fprintf(to, "%s\n", result.dump().c_str());
    else
        print_result(to, result);
    const double pass = result["pass@1"]["value"];
    CHECK(pass >= config.at_least, "pass@1 of %s is %.4f, and has to be at least %g",
          model->source.c_str(), pass, config.at_least);
    CHECK(pass <= config.at_most, "pass@1 of %s is %.4f, and has to be at most %g",
          model->source.c_str(), pass, config.at_most);
    return 0;
}

extern const Command eval_command;
const Command eval_command = command<EvalConfig, cmd_eval>(
    "eval", "answer a task's problems: pass@k, maj@k with 95 % intervals");
