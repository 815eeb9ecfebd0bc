// GSM8K [Cobbe et al. 2021]: rows {"question", "answer"}; the gold answer stands behind "####".

#include "task/task.h"

// "48/2 = <<48/2=24>>24": without the calculator's annotation "48/2 = 24".
static std::string without_calculator(const std::string& text) {
    std::string out;
    for (size_t at = 0; at < text.size();) {
        size_t open = text.find("<<", at);
        size_t close = open == std::string::npos ? open : text.find(">>", open);
        if (close == std::string::npos) return out + text.substr(at);
        out += text.substr(at, open - at);
        at = close + 2;
    }
    return out;
}

Task gsm8k_task(const TaskConfig& config) {
    bool calculator = config.calculator;
    return rows_task(config, "gsm8k", [=](const Json& row, const std::string& where) {
        Problem problem;
        std::string answer = json_string(row, "answer", where);
        size_t mark = answer.rfind("####");
        CHECK(mark != std::string::npos,
              "%s: the answer has no \"#### x\" line with the gold answer; use task.name=jsonl for "
              "rows whose answer is the bare value",
              where.c_str());
        problem.prompt = json_string(row, "question", where);
        problem.answer = answer.substr(mark + 4);
        problem.answer.erase(0, problem.answer.find_first_not_of(' '));
        problem.demonstration = calculator ? answer : without_calculator(answer);
        return problem;
    });
}
