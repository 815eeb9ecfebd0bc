// rlhf score: a reward model's scores of every token of rows or pairs, and how good they are: pair accuracy,
// best of n, calibration, and, where a task can check steps, whether they find the wrong one.

#include "app/commands.h"
#include "app/inputs.h"
#include "app/reward_data.h"
#include "app/score_report.h"
#include "base/file.h"
#include "base/log.h"
#include "credit/channel.h"
#include "model/hf.h"

#include <cstdio>
#include <map>

namespace {

struct ScoredRowsSettings : RowsSettings { // data.*
    int window = 0;
    void visit(Fields& v) {
        RowsSettings::visit(v);
        v.field("window", window, 0, 1e9,
                "longest prompt and answer together, tokens; 0: the model's context");
    }
};

struct ScoreSettings { // score.*
    Pool pool = Pool::automatic;
    double beta = 0;
    int problems = 500;
    void visit(Fields& v) {
        v.choice("pool", pool, {pool_names, 5},
                 "how token scores make an answer's; auto: last for a sequence-classification "
                 "head, the sum of log-ratios, else the mean");
        v.field("beta", beta, 0, 1e6,
                "calibration: p = sigma(beta gap); 0: that of the kind's training, else 1");
        v.field("problems", problems, 1, 1e9,
                "without data.path: worked answers of so many held-out problems of the task, with "
                "the task's faults planted in them");
    }
};

struct ScoreConfig {
    ModelSettings model;
    std::string reference;
    ScoredRowsSettings data;
    ChatConfig chat;
    ScoreSettings score;
    TaskConfig task;
    ComputeSettings compute;
    std::string out = "-", format = "text";
    void visit(Fields& v) {
        v.object("model", model,
                 "the reward model; a language model scores by its log-probabilities");
        v.field("reference", reference, "dpo_rm, implicit_prm: the model of the log-ratio");
        v.object("data", data, "rows with completions, or pairs");
        v.object("chat", chat, "conversations");
        v.object("score", score, "the score of an answer");
        v.object("task", task, "whose rule judges the answers and their steps");
        v.object("compute", compute, "the machine");
        v.field("out", out, "file to write; - is standard output");
        v.choice("format", format, {"text", "json"}, "of the figures on standard error");
    }
};

PreferenceData planted_answers(const Task& task, int problems, const RowOptions& options) {
    PreferenceData data;
    data.file = task.name;
    for (int i = 0; i < std::min<int64_t>(problems, task.count(Split::eval)); ++i) {
        Row row = problem_row(task.problem(Split::eval, i), options, RowNeed::completion);
        PreferenceRow& planted = data.rows.emplace_back();
        planted.where = row.where, planted.source = Json::object();
        AnswerRow& answer = planted.answers.emplace_back();
        answer.sequence = train_sequence(row), answer.prompt_length = row.prompt_length;
    }
    return data;
}

Json numbers(const std::vector<double>& values, DType dtype) {
    Json list = Json::array();
    for (double value : values)
        list.push_back(dtype == DType::f64 ? Json(value) : number_f32((float)value));
    return list;
}

// What a score belongs to: prompt and completion where the scored tokens are the completion, else all ids
// and the positions that are scored.
void put_tokens(Json& line, const AnswerRow& answer, const char* completion) {
    const std::vector<int32_t>& target = answer.sequence.target;
    bool all = target.front() == answer.prompt_length &&
               target.size() == answer.sequence.ids.size() - (size_t)answer.prompt_length;
    if (all) {
        line["prompt_ids"] = answer.prompt();
        line[completion] = answer.completion();
    } else {
        line["ids"] = answer.sequence.ids;
        line["positions"] = target;
    }
}

// The task's verdict on an answer and on its steps, where it has one.
void judge(ScoredRow& row, const AnswerRow& answer, const Json& source, const Task& task,
           const Inputs& inputs, const std::string& where) {
    Problem problem;
    problem.prompt_ids = answer.prompt();
    problem.where = where;
    for (const char* key : {"gold", "answer"})
        if (problem.answer.empty()) problem.answer = json_string_or(source, key, "", where);
    const std::vector<int32_t> completion = answer.completion();
    // As the row writes it: a vocabulary may lack some of its characters.
    const std::string text = answer.text.empty() ? inputs.text(completion) : answer.text;
    row.right = task.verify(problem, completion, text).reward > 0;
    if (task.verify_steps && row.token_score.size() == completion.size())
        for (const StepVerdict& step : task.verify_steps(problem, completion))
            row.steps.push_back({step.begin, step.end, step.right});
}

// Answers to one prompt: of one "prompt_id", or of equal prompts.
std::string group_key(const PreferenceRow& row, const AnswerRow& answer) {
    if (row.source.contains("prompt_id")) return dump_row(row.source["prompt_id"]);
    return Json(answer.prompt()).dump();
}

Json steps_json(const std::vector<StepSpan>& steps) {
    Json list = Json::array();
    for (const StepSpan& step : steps)
        list.push_back({{"end", step.end}, {"label", step.right ? 1 : -1}});
    return list;
}

} // namespace

static int score(ScoreConfig& config, const Args&) {
    CHECK(
        !config.data.path.empty() || !config.task.name.empty(),
        "data.path is missing: the file of rows or pairs to score (or task.name=arithmetic: worked "
        "answers with planted faults)");
    const ComputeConfig compute = apply_compute(config.compute);
    auto reward = load_reward_model(config.model.path, config.reference, compute, forward_tokens);
    const std::string& directory = reward->model->source;
    if (reward->head == ScoreHead::log_prob)
        std::fprintf(
            stderr,
            "%s is a language model, no reward model: its scores are the log-probabilities of "
            "the tokens\n",
            directory.c_str());
    Inputs inputs = open_inputs(directory, reward->model->config, config.data.template_name,
                                config.data.add_eos, config.chat);
    std::unique_ptr<Task> task;
    if (!config.task.name.empty()) task = std::make_unique<Task>(make_task(config.task));
    const int window = config.data.window ? config.data.window : inputs.options.max_length;
    PreferenceData data = config.data.path.empty()
                              ? planted_answers(*task, config.score.problems, inputs.options)
                              : read_preferences(config.data.path, inputs.options, window);
    if (config.score.pool != Pool::automatic) reward->pool = config.score.pool;

    AtomicFile out(config.out);
    std::vector<ScoredRow> scored;
    std::map<std::string, int> groups;
    Progress progress("score", "rows", (int64_t)data.rows.size());
    for (size_t first = 0, last; first < data.rows.size(); first = last) {
        std::vector<TrainSequence> sequences;
        size_t tokens = 0;
        for (last = first; last < data.rows.size() && tokens < forward_tokens; ++last)
            for (const AnswerRow& answer : data.rows[last].answers) {
                sequences.push_back(answer.sequence);
                tokens += answer.sequence.ids.size();
            }
        auto scores = token_scores(*reward, sequences);
        size_t at = 0;
        for (size_t r = first; r < last; ++r) {
            const PreferenceRow& row = data.rows[r];
            Json line = row.source;
            for (size_t side = 0; side < row.answers.size(); ++side) {
                const AnswerRow& answer = row.answers[side];
                ScoredRow one;
                one.token_score = scores[at++];
                one.score = pooled(one.token_score, reward->pool);
                one.group =
                    groups.insert({group_key(row, answer), (int)groups.size()}).first->second;
                one.judged = task || row.paired() || !std::isnan(answer.label);
                one.right = row.paired() ? side == 0 : answer.label == 1;
                if (task) judge(one, answer, row.source, *task, inputs, row.where);
                const std::string name = !row.paired() ? "" : side == 0 ? "chosen_" : "rejected_";
                put_tokens(line, answer, row.paired() ? (name + "ids").c_str() : "completion_ids");
                line[name + "score"] = numbers({one.score}, compute.dtype)[0];
                line[name + "token_score"] = numbers(one.token_score, compute.dtype);
                if (task) line[name + "right"] = one.right;
                if (!one.steps.empty()) line[name + "steps"] = steps_json(one.steps);
                scored.push_back(std::move(one));
            }
            out.write(dump_row(line) + "\n");
        }
        progress.update((int64_t)last);
    }
    out.commit();
    if (std::string told = data.told(); !told.empty()) progress.message(told);
    double beta = config.score.beta;
    if (const RewardKind* kind = find_reward_kind(reward->kind); beta == 0)
        beta = kind ? kind->beta : 1;
    Json report = score_report(scored, data.paired(), beta);
    std::string text = config.format == "json" ? dump_row(report) + "\n" : score_text(report);
    std::fprintf(stderr, "%s", text.c_str());
    return 0;
}

extern const Command score_command;
const Command score_command = command<ScoreConfig, score>(
    "score", "a reward model's token scores of rows or pairs, and how good they are");
