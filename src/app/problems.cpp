#include "app/problems.h"

#include <algorithm>

void check_room(size_t prompt_tokens, const std::string& where, int context) {
    CHECK((int64_t)prompt_tokens < context,
          "%s: the prompt has %zu tokens and leaves no room to write; the model's context is %d",
          where.c_str(), prompt_tokens, context);
}

void check_lengths(const Task& task, Split split, int64_t count, const RowOptions& options,
                   RowNeed need) {
    if (task.count(split) == INT64_MAX || !options.max_length) return;
    count = std::min(count, task.count(split));
    RowOptions any_length = options;
    any_length.max_length = 0;
    const size_t most = (size_t)options.max_length - (need == RowNeed::prompt);
    int64_t too_long = 0;
    std::string where; // of the first in the file; the problems may come shuffled
    size_t tokens = 0;
    for (int64_t i = 0; i < count; ++i) {
        const Row row = problem_row(task.problem(split, i), any_length, need);
        if (row.ids.size() <= most) continue;
        const bool earlier =
            row.where.size() != where.size() ? row.where.size() < where.size() : row.where < where;
        if (too_long++ == 0 || earlier) where = row.where, tokens = row.ids.size();
    }
    CHECK(too_long == 0,
          "%s: the %s %zu tokens%s; the model's context is %d. %lld of %lld rows are so long: "
          "shorten them or leave them out",
          where.c_str(), need == RowNeed::prompt ? "prompt has" : "prompt and its answer have",
          tokens, need == RowNeed::prompt ? " and leaves no room to write" : "", options.max_length,
          (long long)too_long, (long long)count);
}

int64_t held_out_problems(const Task& task, int64_t wanted, const char* none) {
    const int64_t count = task.count(Split::eval);
    CHECK(count > 0 || wanted == 0,
          "no row is held out for evaluation: name a file by task.eval_data, hold a share of "
          "task.data out by task.eval_share (0.1), or do without by %s",
          none);
    return std::min(wanted, count);
}
