#include "app/task_rows.h"

// The row of the file, or the ids that the task made.
static Json row_of(const Problem& problem) {
    if (problem.row.is_object()) return problem.row;
    return {{"prompt_ids", problem.prompt_ids}, {"completion_ids", problem.demonstration_ids}};
}

Row problem_prompt(const Problem& problem, const RowOptions& options) {
    return parse_row(row_of(problem), problem.where, options, RowNeed::prompt);
}

Row problem_demonstration(const Problem& problem, const RowOptions& options) {
    Json row = row_of(problem);
    // GSM8K's demonstration is its answer without the calculator's annotations.
    if (!problem.demonstration.empty() && row.contains("question"))
        row["completion"] = problem.demonstration;
    return parse_row(row, problem.where, options, RowNeed::completion);
}
