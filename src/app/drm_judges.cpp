#include "app/drm_judges.h"

#include "model/hf.h"

#include <cmath>

std::string dimension_judge_directory(const Json& judge) {
    return judge.is_null() || judge == "oracle" ? "" : model_directory(judge.get<std::string>());
}

void check_dimension_judge(const Json& judge, const std::string& where) {
    CHECK(judge.is_null() || judge.is_string(),
          "%s must be a directory, or oracle, the task's exact program; found %s", where.c_str(),
          dump_row(judge).c_str());
}

// A reranker's logit: of "yes" against "no", behind the row.
static std::vector<double> reranker_logits(RewardModel& judge, const JudgeRows& words,
                                           const std::vector<std::vector<int32_t>>& rows) {
    std::vector<TrainSequence> asked;
    for (size_t r = 0; r < rows.size(); ++r)
        for (int32_t answer : {words.yes, words.no}) {
            TrainSequence& sequence = asked.emplace_back();
            sequence.ids = rows[r];
            sequence.ids.push_back(answer);
            sequence.target = {(int32_t)rows[r].size()};
            sequence.prompt = (int)r, sequence.shared = (int)rows[r].size() - 1;
        }
    const auto logp = token_scores(judge, asked);
    std::vector<double> z;
    for (size_t r = 0; r < rows.size(); ++r) z.push_back(logp[2 * r][0] - logp[2 * r + 1][0]);
    return z;
}

std::vector<double> end_scores(RewardModel& judge, const std::vector<std::vector<int32_t>>& rows) {
    std::vector<TrainSequence> asked;
    for (const std::vector<int32_t>& row : rows) {
        TrainSequence& sequence = asked.emplace_back();
        sequence.ids = row;
        sequence.target = {(int32_t)row.size() - 1};
    }
    std::vector<double> z;
    for (const std::vector<double>& score : token_scores(judge, asked)) z.push_back(score[0]);
    return z;
}

std::vector<std::optional<DrmParts>> drm_parts(const Task& task,
                                               const std::vector<const Problem*>& problem,
                                               const std::vector<std::vector<int32_t>>& completion,
                                               RewardModel* reranker, RewardModel* coherence) {
    std::vector<std::optional<DrmParts>> parts;
    std::vector<std::vector<int32_t>> of_relevance, of_coherence;
    JudgeRows words;
    for (size_t i = 0; i < completion.size(); ++i) {
        const auto answer = task.reasoned(*problem[i], completion[i]);
        parts.emplace_back();
        if (!answer) continue;
        parts.back() = DrmParts{answer->reasoning_end, answer->answer_begin, answer->question,
                                answer->documents,     answer->answer,       answer->coherence};
        words = answer->rows;
        for (const auto& row : {words.question, words.documents, words.answer})
            of_relevance.push_back(row);
        of_coherence.push_back(words.coherence);
    }
    std::vector<double> logit, score;
    if (!of_relevance.empty() && reranker) logit = reranker_logits(*reranker, words, of_relevance);
    if (!of_coherence.empty() && coherence) score = end_scores(*coherence, of_coherence);
    size_t k = 0;
    for (auto& part : parts) {
        if (!part) continue;
        if (!logit.empty()) {
            part->question = logit[3 * k], part->answer = logit[3 * k + 2];
            if (!std::isnan(part->documents)) part->documents = logit[3 * k + 1];
        }
        if (!score.empty()) part->coherence = score[k];
        ++k;
    }
    return parts;
}
