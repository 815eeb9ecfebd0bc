#pragma once
// Who judges DRM's relevance and coherence (credit/drm.h): networks, or the task's exact programs.

#include "credit/drm.h"
#include "reward/reward_model.h"
#include "task/task.h"

#include <optional>

// A dimension's key "judge": its directory; "": the task's exact program (null or "oracle").
std::string dimension_judge_directory(const Json& judge);
// where: the key's name, for the message.
void check_dimension_judge(const Json& judge, const std::string& where);

// An outcome reward model's scores at the ends of rows of ids.
std::vector<double> end_scores(RewardModel& judge, const std::vector<std::vector<int32_t>>& rows);

// What is known of each completion; none: it is malformed, it has no reasoning. problem, completion: (I).
// reranker: its logit of "yes" against "no" is a term of relevance; coherence: an outcome reward model.
// Null: the task's exact program.
std::vector<std::optional<DrmParts>> drm_parts(const Task& task,
                                               const std::vector<const Problem*>& problem,
                                               const std::vector<std::vector<int32_t>>& completion,
                                               RewardModel* reranker, RewardModel* coherence);
