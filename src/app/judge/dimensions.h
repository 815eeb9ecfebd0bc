#pragma once
// Judges that say numbers. judge.kind=drm: the raw numbers of DRM's dimensions (credit/drm.h) of answers that reason, for answers of a
// task that tells reasoning from answer.

#include "app/drm_judges.h"

struct DimensionCounts {
    int64_t rows = 0, malformed = 0;
    Json
        against_rule; // how each dimension tells right answers with sound reasoning from flawed ones
    Json json() const;
};

// The output rows: the given ones with confidence_reasoning (mean log-probability of its tokens),
// confidence_answer (sum), confidence; relevance {question, documents?, answer} (each sigma of the logit),
// relevance_sum; coherence. Without policy no confidence; null where an answer is malformed. row: (I) with
// prompt_ids and completion_ids, where: "file:line". The rows of a prompt are a group.
std::vector<Json> judge_dimensions(const std::vector<Json>& row,
                                   const std::vector<std::string>& where, const Task& task,
                                   RewardModel* policy, RewardModel* reranker,
                                   RewardModel* coherence, DimensionCounts& counts);

// judge.kind=preference: the rows with score, an outcome reward model's of prompt and completion, and
// preference, sigma(score - anchor) [credit/preference.h].
std::vector<Json> judge_preference(const std::vector<Json>& row,
                                   const std::vector<std::string>& where, RewardModel& model,
                                   double anchor);
