#include "app/judge/in_the_loop.h"

// The row that rlhf judge would read.
static Json row_of(const LoopAnswer& answer, const Tokenizer& policy) {
    const Problem& problem = answer.problem;
    Json row = {{"prompt", problem.prompt},
                {"prompt_ids", answer.prompt_ids},
                {"completion_ids", answer.completion},
                {"response", policy.decode(answer.completion, true)},
                {"finish", answer.finished ? "stop" : "length"}};
    if (!problem.answer.empty()) row["reference"] = problem.answer;
    if (problem.row.is_object() && problem.row.contains("documents"))
        row["documents"] = problem.row["documents"];
    return row;
}

JudgedBatch judge_batch(ModelJudge& judge, const std::string& source,
                        const std::vector<LoopAnswer>& completions, const Tokenizer& policy,
                        const Task& task) {
    const JudgeSettings& settings = judge.settings;
    const AnswerReader reader{settings, &policy, task.verify_steps ? &task : nullptr};
    JudgedBatch judged{source, {}, {}, {}};
    std::vector<AnswerToJudge> answers;
    std::vector<JudgeQuestion> questions;
    std::vector<size_t> asked;
    for (const LoopAnswer& completion : completions) {
        answers.push_back(
            reader.read(row_of(completion, policy), completion.problem.where, &completion.problem));
        if (!needs_judge(answers.back(), settings)) continue;
        asked.push_back(answers.size() - 1);
        questions.push_back(answers.back().asked());
    }
    std::vector<std::vector<JudgeText>> texts = judge.write(questions, judged.counts.work);
    for (size_t k = 0; k < asked.size(); ++k) answers[asked[k]].texts = std::move(texts[k]);
    for (AnswerToJudge& answer : answers) {
        answer.source = Json::object(); // the words alone
        JudgedRow row = judged_row(answer, settings, judged.counts);
        judged.words.push_back(std::move(row.line));
        judged.said.push_back({token_ends(answer.token_segment, answer.segments.size()),
                               row.wrong.value_or(std::vector<double>(answer.segments.size())),
                               row.wrong.has_value()});
    }
    return judged;
}
