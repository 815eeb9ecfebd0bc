#pragma once
// Generation and judging of a step of rl on several ranks, where work is drawn: dist.placement.

#include "app/rl_config.h"
#include "dist/experience.h"
#include "dist/roles.h"
#include "rollout/generate.h"

struct AnswerTokens { // of a group, as a judge gets it
    std::vector<int32_t> ids;
    bool finished = true;
};
using JudgeGroup = std::function<void(int prompt, const std::vector<AnswerTokens>& answers)>;

struct LearnerRoles {
    // All ranks together, here and in all but judged(). texts: that judges write of an answer, of the
    // expected lengths.
    LearnerRoles(const RlConfig& config, const Collectives& ranks, int texts,
                 const LengthHistogram& expected);

    void begin(); // a step
    // What generate() gives; by the layout of the step. judge: called on whichever rank; empty: nobody
    // judges.
    std::vector<Completion> draw(Model& policy, const std::vector<std::vector<int32_t>>& prompts,
                                 const SampleConfig& sample, uint32_t step, GenerateStats& stats,
                                 Timeline& timeline, const JudgeGroup& judge);
    void judged(const GenerateStats& work);
    void progress() { roles.progress(); } // with each decode step of judges
    // The step is over, and `own` is filled: the layout of the next one.
    void end(int prompt_tokens, double valid_share, double valid_lately);

    const Collectives& ranks;
    const bool decides; // placement=auto
    Chooser chooser;    // its layout is the step's
    Experiences experiences;
    Experience own;    // of this rank, of the step
    Spent spent;       // of all ranks, of the step; after end()
    Json told;         // of the last decision: what it was made from; of the first one, too, once
    RoleLayout layout; // of the step
    double predicted = 0; // seconds of the step; 0: it was not

private:
    Demand demand;
    const int slots;
    Roles roles;
    Spent own_spent;
};
