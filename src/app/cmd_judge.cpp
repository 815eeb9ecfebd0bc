// rlhf judge: what a judge says of answers: CAPO's wrong steps, TRM's sentences. What a judge wrote before
// (critiques, verdict_text) is read and voted on without a model.

#include "app/commands.h"
#include "app/judge/answers.h"
#include "base/file.h"
#include "model/hf.h"
#include "train/settings.h"

#include <cstdio>

namespace {
struct AnswersSettings { // data.*
    std::string path;
    void visit(Fields& v) { v.field("path", path, "rows with answers, JSON Lines"); }
};
struct JudgeConfig {
    ModelSettings model;
    AnswersSettings data;
    JudgeSettings judge;
    std::string out = "-";
    void visit(Fields& v) {
        v.object("model", model,
                 "the judge; of rows with stored critiques or verdict_text only its tokenizer is "
                 "read, which gives completion_ids their bytes");
        v.object("data", data, "answers");
        v.object("judge", judge, "who judges, and how");
        v.field("out", out, "file to write; - is standard output");
    }
};
} // namespace

static int judge(JudgeConfig& config, const Args&) {
    const JudgeSettings& settings = config.judge;
    CHECK(!config.data.path.empty(), "data.path is missing: the file of answers to judge");
    std::unique_ptr<Tokenizer> tokenizer;
    if (std::string directory = config.model.path; !directory.empty()) {
        if (!file_exists(join_path(directory, "tokenizer.json"))) // a run directory
            directory = model_directory(directory);
        tokenizer = Tokenizer::load(directory);
    }
    std::vector<AnswerToJudge> answers;
    int64_t without_tokenizer = 0;
    for_each_row(config.data.path, [&](const Json& row, const std::string& where) {
        answers.push_back(read_answer(row, where, settings, tokenizer.get()));
        without_tokenizer += !tokenizer && row.contains("completion_ids");
    });
    if (without_tokenizer)
        std::fprintf(stderr,
                     "%lld rows have completion_ids, but no model.path names their tokenizer: "
                     "token_penalty is left out\n",
                     (long long)without_tokenizer);
    JudgeCounts counts;
    AtomicFile out(config.out);
    for (const AnswerToJudge& answer : answers) {
        CHECK(answer.stored || answer.segments.empty(),
              "%s has no stored %s: what a judge wrote of the answer", answer.where.c_str(),
              settings.kind == "capo" ? "\"critiques\"" : "\"verdict_text\"");
        out.write(dump_row(judged_row(answer, settings, counts)) + "\n");
    }
    out.commit();
    std::fprintf(stderr, "%s\n", counts.json().dump().c_str());
    return 0;
}

extern const Command judge_command;
const Command judge_command = command<JudgeConfig, judge>(
    "judge", "what a judge says of answers, step by step or sentence by sentence", judge_notes);
