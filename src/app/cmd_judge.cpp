// rlhf judge: what a judge says of answers: CAPO's wrong steps, TRM's sentences. A judge is a model
// that is asked here, or what one wrote before (critiques, verdict_text), which is read and voted
// on without a model. DRM's dimensions are numbers of networks. Where a task's rule knows the truth, the judge is measured against it.

#include "app/commands.h"
#include "app/judge/dimensions.h"
#include "app/judge/kinds.h"
#include "base/file.h"
#include "base/log.h"
#include "model/hf.h"

#include <algorithm>
#include <cstdio>

namespace {
struct AnswersSettings { // data.*
    std::string path, tokenizer;
    int64_t problems = 0;
    void visit(Fields& v) {
        v.field("path", path, "rows with answers, JSON Lines");
        v.field("tokenizer", tokenizer,
                "directory whose tokenizer wrote prompt_ids and completion_ids, the policy; empty: "
                "model.path");
        v.field("problems", problems, 0, 1e9,
                "instead of data.path: so many worked answers of the task's training split, with "
                "the faults that it plants");
    }
};
struct JudgeConfig {
    ModelSettings model;
    AnswersSettings data;
    JudgeSettings judge;
    TaskConfig task;
    ChatConfig chat;
    ComputeSettings compute;
    std::string write = "verdicts", out = "-";
    void visit(Fields& v) {
        v.object("model", model,
                 "the judge; of rows with stored critiques or verdict_text only its tokenizer is "
                 "read, which gives completion_ids their bytes; drm: the policy that wrote them; "
                 "preference: a reward model with a scalar head");
        v.object("data", data, "answers");
        v.object("judge", judge, "who judges, and how");
        v.object("task", task,
                 "a task that checks the steps of its answers: it cuts them, and the judge is "
                 "measured against it");
        v.object("chat", chat, "conversations");
        v.object("compute", compute, "the machine");
        v.choice(
            "write", write, {"verdicts", "lessons"},
            "lessons: rows from which a judge learns, its prompt and what the task's rule would "
            "write in its place; no model is asked");
        v.field("out", out, "file to write; - is standard output");
    }
};

std::unique_ptr<Tokenizer> open_tokenizer(std::string directory) {
    if (directory.empty()) return nullptr;
    if (!file_exists(join_path(directory, "tokenizer.json"))) // a run directory
        directory = model_directory(directory);
    return Tokenizer::load(directory);
}

// A worked answer of the task as a row.
Json demonstration_row(const Problem& problem) {
    return {{"prompt", problem.prompt},
            {"prompt_ids", problem.prompt_ids},
            {"response", problem.demonstration},
            {"completion_ids", problem.demonstration_ids},
            {"reference", problem.answer}};
}

std::vector<AnswerToJudge> read_answers(const JudgeConfig& config, const Task* task) {
    const AnswersSettings& data = config.data;
    CHECK(data.path.empty() != (data.problems == 0),
          "data.path, a file of answers to judge, or data.problems, so many of the task's own: %s",
          data.path.empty() ? "one of them is needed" : "both are given");
    std::unique_ptr<Tokenizer> tokenizer =
        open_tokenizer(data.tokenizer.empty() ? config.model.path : data.tokenizer);
    if (!tokenizer && task && task->vocabulary)
        tokenizer = Tokenizer::parse(task->vocabulary->tokenizer_json(), "the task " + task->name);
    const AnswerReader reader{config.judge, tokenizer.get(), task};
    std::vector<AnswerToJudge> answers;
    for (int64_t i = 0; i < data.problems; ++i) {
        CHECK(task, "data.problems needs task.name: whose answers they are");
        const Problem problem = task->problem(Split::train, i);
        answers.push_back(reader.read(demonstration_row(problem), problem.where));
    }
    if (data.problems) return answers;
    int64_t without_tokenizer = 0;
    for_each_row(data.path, [&](const Json& row, const std::string& where) {
        answers.push_back(reader.read(row, where));
        without_tokenizer += !tokenizer && row.contains("completion_ids");
    });
    if (without_tokenizer)
        std::fprintf(stderr,
                     "%lld rows have completion_ids, but no model.path names their tokenizer: "
                     "token_penalty is left out\n",
                     (long long)without_tokenizer);
    return answers;
}

// What the model writes of the answers that need it.
void ask_model(const JudgeConfig& config, std::vector<AnswerToJudge>& answers, JudgeWork& work) {
    std::vector<JudgeQuestion> questions;
    std::vector<AnswerToJudge*> asked;
    for (AnswerToJudge& answer : answers) {
        if (!needs_judge(answer, config.judge)) continue;
        CHECK(
            !config.model.path.empty(),
            "%s has no stored \"%s\", what a judge wrote of the answer, and no model.path names a "
            "judge to be asked",
            answer.where.c_str(), find_kind(config.judge.kind).stored);
        asked.push_back(&answer);
        questions.push_back(answer.asked());
    }
    if (asked.empty()) return;
    ModelJudge judge(config.model.path, config.judge, apply_compute(config.compute), config.chat);
    Progress progress("judge", "texts", (int64_t)questions.size() * config.judge.texts());
    int64_t written = 0;
    std::vector<std::vector<JudgeText>> texts =
        judge.write(questions, work, [&] { progress.update(++written); });
    for (size_t i = 0; i < asked.size(); ++i) asked[i]->texts = std::move(texts[i]);
}
} // namespace

static void write_lessons(const JudgeConfig& config, const std::vector<AnswerToJudge>& answers) {
    const JudgeLesson lesson(config.judge);
    if (const size_t slash = config.out.rfind('/'); slash != std::string::npos)
        make_directories(config.out.substr(0, slash));
    AtomicFile out(config.out);
    int64_t unknown = 0; // a lesson says all or nothing
    for (const AnswerToJudge& answer : answers) {
        const bool gaps = answer.rule.empty() &&
                          std::ranges::any_of(answer.labels, [](const SentenceLabels& each) {
                              return each.faithful < 0 || each.correct < 0;
                          });
        unknown += gaps;
        if (!gaps && !answer.segments.empty()) out.write(dump_row(lesson.row(answer)) + "\n");
    }
    out.commit();
    if (unknown)
        std::fprintf(stderr, "%lld rows have a sentence whose label is not known: no lesson\n",
                     (long long)unknown);
}

// Judges that say numbers, of answers as ids.
static int judge_numbers(const JudgeConfig& config, const std::optional<Task>& task) {
    const bool drm = config.judge.kind == "drm";
    CHECK(
        !drm || (task && task->reasoned),
        "judge.kind=drm needs task.name, a task that tells reasoning from answer, as chain_lookup");
    CHECK(config.write == "verdicts",
          "write=lessons: of judges that write; rows for those that say "
          "numbers are made by rlhf rows and pairs");
    CHECK(!config.data.path.empty() && config.data.problems == 0,
          "judge.kind=%s reads data.path, answers as ids (rlhf eval out=F writes such rows)",
          config.judge.kind.c_str());
    CHECK(drm || !config.model.path.empty(),
          "judge.kind=preference needs model.path, a reward model with a scalar head");
    const ComputeConfig compute = apply_compute(config.compute);
    auto load = [&](const std::string& path) -> std::unique_ptr<RewardModel> {
        return path.empty() ? nullptr : load_reward_model(path, "", compute, forward_tokens);
    };
    const auto model = load(config.model.path);
    CHECK(!drm || !model || model->head == ScoreHead::log_prob,
          "model.path is the policy whose log-probabilities are confidence; %s has a reward head",
          config.model.path.c_str());
    CHECK(
        drm || model->head == ScoreHead::scalar,
        "judge.kind=preference: %s has no scalar head; train one with rlhf reward reward.kind=orm",
        config.model.path.c_str());
    const auto reranker = load(dimension_judge_directory(config.judge.relevance.judge)),
               coherence = load(dimension_judge_directory(config.judge.coherence.judge));
    std::vector<Json> rows;
    std::vector<std::string> places;
    for_each_row(config.data.path, [&](const Json& row, const std::string& where) {
        rows.push_back(row), places.push_back(where);
    });
    DimensionCounts counts;
    AtomicFile out(config.out);
    for (const Json& row : drm ? judge_dimensions(rows, places, *task, model.get(), reranker.get(),
                                                  coherence.get(), counts)
                               : judge_preference(rows, places, *model, config.judge.anchor))
        out.write(dump_row(row) + "\n");
    out.commit();
    std::fprintf(stderr, "%s\n",
                 (drm ? counts.json() : Json{{"rows", rows.size()}}).dump().c_str());
    return 0;
}

static int judge(JudgeConfig& config, const Args& args) {
    config.judge.keys.check_effects(config.judge.kind, false, "judge.", [&](const char* key) {
        return names_key(args, std::string("judge.") + key);
    });
    for (const auto& [key, kind] : {std::pair{"relevance.judge", "drm"},
                                    {"coherence.judge", "drm"},
                                    {"anchor", "preference"}})
        CHECK(config.judge.kind == kind || !names_key(args, std::string("judge.") + key),
              "judge.%s has no effect: it needs a judge of the kind %s", key, kind);
    std::optional<Task> task;
    if (!config.task.name.empty()) {
        task = make_task(config.task);
        CHECK(task->verify_steps, "task.name=%s cannot check steps; leave it out",
              task->name.c_str());
    }
    if (config.judge.kind == "drm" || config.judge.kind == "preference")
        return judge_numbers(config, task);
    std::vector<AnswerToJudge> answers = read_answers(config, task ? &*task : nullptr);
    if (config.write == "lessons") {
        write_lessons(config, answers);
        return 0;
    }
    JudgeCounts counts;
    AtomicFile out(config.out); // before the work, so that a path that cannot be written costs none
    ask_model(config, answers, counts.work);
    for (const AnswerToJudge& answer : answers)
        out.write(dump_row(judged_row(answer, config.judge, counts).line) + "\n");
    out.commit();
    if (counts.critiques && counts.critiques == counts.invalid_critiques)
        std::fprintf(stderr,
                     "none of the %lld critiques can be read: they say nothing of any step\n",
                     (long long)counts.critiques);
    std::fprintf(stderr, "%s\n", counts.json().dump().c_str());
    return 0;
}

extern const Command judge_command;
const Command judge_command = command<JudgeConfig, judge>(
    "judge", "what a judge says of answers, step by step or sentence by sentence", judge_notes);
