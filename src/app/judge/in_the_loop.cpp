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

LoopQuestions loop_questions(const ModelJudge& judge, const std::vector<LoopAnswer>& completions,
                             const Tokenizer& policy, const Task& task,
                             std::span<const uint8_t> wanted) {
    const AnswerReader reader{judge.settings, &policy, task.verify_steps ? &task : nullptr};
    LoopQuestions all;
    for (const LoopAnswer& completion : completions) {
        all.answers.push_back(
            reader.read(row_of(completion, policy), completion.problem.where, &completion.problem));
        const size_t i = all.answers.size() - 1;
        if ((!wanted.empty() && !wanted[i]) || !needs_judge(all.answers[i], judge.settings))
            continue;
        all.asked.push_back(all.answers.size() - 1);
        all.questions.push_back(all.answers.back().asked());
    }
    return all;
}

JudgedBatch judge_batch(ModelJudge& judge, const std::string& source,
                        const std::vector<LoopAnswer>& completions, const Tokenizer& policy,
                        const Task& task, std::span<const uint8_t> wanted) {
    const JudgeSettings& settings = judge.settings;
    JudgedBatch judged{source, {}, {}, {}};
    auto [answers, asked, questions] = loop_questions(judge, completions, policy, task, wanted);
    std::vector<std::vector<JudgeText>> texts = judge.write(questions, judged.counts.work);
    for (size_t k = 0; k < asked.size(); ++k) answers[asked[k]].texts = std::move(texts[k]);
    for (size_t i = 0; i < answers.size(); ++i) {
        AnswerToJudge& answer = answers[i];
        if (!wanted.empty() && !wanted[i]) {
            judged.words.emplace_back();
            judged.said.push_back({{}, {}, false, false});
            continue;
        }
        answer.source = Json::object(); // the words alone
        JudgedRow row = judged_row(answer, settings, judged.counts);
        judged.words.push_back(std::move(row.line));
        judged.said.push_back({token_ends(answer.token_segment, answer.segments.size()),
                               row.wrong.value_or(std::vector<double>(answer.segments.size())),
                               row.wrong.has_value(), true});
    }
    return judged;
}
