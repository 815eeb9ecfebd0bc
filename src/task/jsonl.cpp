// Rows of the user's own: a prompt in any form of text/rows.h ("prompt", "question", "messages" or
// "prompt_ids"), an "answer" (string or number), and optionally a worked "completion" or "response".

#include "task/task.h"

Task jsonl_task(const TaskConfig& config) {
    return rows_task(config, "jsonl", [](const Json& row, const std::string& where) {
        Problem problem;
        CHECK(row.contains("answer"),
              "%s: \"answer\" is missing: the value that the rule compares with", where.c_str());
        const Json& answer = row["answer"];
        CHECK(answer.is_string() || answer.is_number(),
              "%s: \"answer\" must be a string or a number, found %s", where.c_str(),
              answer.type_name());
        problem.answer = answer.is_string() ? answer.get<std::string>() : answer.dump();
        for (const char* key : {"prompt", "question"})
            if (problem.prompt.empty()) problem.prompt = json_string_or(row, key, "", where);
        for (const char* key : {"completion", "response"})
            if (problem.demonstration.empty())
                problem.demonstration = json_string_or(row, key, "", where);
        if (row.contains("prompt_ids")) problem.prompt_ids = json_ids(row, "prompt_ids", where);
        if (row.contains("completion_ids"))
            problem.demonstration_ids = json_ids(row, "completion_ids", where);
        if (row.contains("messages")) problem.prompt = dump_row(row["messages"]);
        CHECK(!problem.prompt.empty() || !problem.prompt_ids.empty(),
              "%s: no prompt; a row needs \"prompt\", \"question\", \"messages\" or \"prompt_ids\"",
              where.c_str());
        return problem;
    });
}
