// rlhf rows: a task's problems as a file of rows: prompts with worked answers, or what its judges learn
// from.

#include "app/commands.h"
#include "base/file.h"
#include "task/lessons.h"

#include <algorithm>
#include <cstdio>

namespace {
struct RowsConfig {
    TaskConfig task;
    std::string kind = "worked", split = "train", out = "-";
    int64_t problems = 1000;
    void visit(Fields& v) {
        v.object("task", task, "whose problems");
        v.choice("kind", kind, {"worked", "relevance", "coherence"},
                 "worked answers; or pairs for DRM's judges: yes against no for a reranker "
                 "(reward.kind=yes_no), sound against spoiled for a reward model "
                 "(reward.kind=orm)");
        v.choice("split", split, {"train", "eval"}, "training problems, or held-out ones");
        v.field("problems", problems, 1, 9e15, "how many");
        v.field("out", out, "file to write; - is standard output");
    }
};
} // namespace

static Json worked_row(const Problem& problem) {
    Json row = problem.row;
    if (row.is_null()) row = {{"prompt", problem.prompt}, {"completion", problem.demonstration}};
    if (!problem.prompt_ids.empty()) row["prompt_ids"] = problem.prompt_ids;
    if (!problem.demonstration_ids.empty()) row["completion_ids"] = problem.demonstration_ids;
    row["answer"] = problem.answer;
    return row;
}

static int rows(RowsConfig& config, const Args&) {
    const Task task = make_task(config.task);
    const Split split = config.split == "train" ? Split::train : Split::eval;
    if (size_t slash = config.out.rfind('/'); slash != std::string::npos)
        make_directories(config.out.substr(0, slash));
    AtomicFile out(config.out);
    int64_t written = 0;
    const int64_t count = std::min(config.problems, task.count(split));
    auto write = [&](const Json& row) { out.write(dump_row(row) + "\n"), ++written; };
    for (int64_t i = 0; i < count; ++i) {
        if (config.kind == "worked") {
            write(worked_row(task.problem(split, i)));
            continue;
        }
        for (const ReasoningLesson& lesson : reasoning_lessons(config.task, config.kind, split, i))
            write({{"prompt_ids", lesson.prompt_ids},
                   {"chosen_ids", lesson.chosen_ids},
                   {"rejected_ids", lesson.rejected_ids}});
    }
    out.commit();
    std::fprintf(stderr, "%lld rows of %lld problems\n", (long long)written, (long long)count);
    return 0;
}

extern const Command rows_command;
const Command rows_command = command<RowsConfig, rows>(
    "rows", "a task's problems as rows: worked answers, or pairs for its judges");
