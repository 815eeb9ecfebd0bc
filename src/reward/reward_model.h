#pragma once
// A reward model in use: one raw score Z_t for each token a_t of a completion.
//
//   directory                      head         Z_t                              read at the position of
//   ...ForTokenClassification      scalar       w . h                            a_t itself
//   ...ForSequenceClassification   scalar       w . h                            a_t, or the last no padding
//   ...ForCausalLM, reward_head    logit        z[a_t]                           the token before a_t
//                                  log_softmax  log p(a_t)                       the token before a_t
//   ...ForCausalLM                 log_prob     log p(a_t)                       the token before a_t
//   ... with a reference           log_ratio    log p(a_t) - log p_ref(a_t)      the token before a_t
//
// A scalar head must have seen the action that it scores, or it is a V and no Q (specs: Q-RM's
// traps); a vocabulary head holds the scores of all actions of a state and is asked for the one
// that was taken. Raw: no beta, no normalisation. log_prob makes any policy a reward model, the
// control beside a trained one.

#include "credit/channel.h"
#include "train/step.h"

enum class ScoreHead { scalar, logit, log_softmax, log_prob, log_ratio };
const char* score_head_name(ScoreHead head);

struct RewardModel {
    std::unique_ptr<Model> model, reference; // reference: of log_ratio
    std::unique_ptr<Pass> pass, reference_pass;
    ScoreHead head = ScoreHead::scalar;
    std::string kind; // "reward_kind" of config.json: orm, qrm, ..; "": not known
    Pool pool =
        Pool::automatic; // how token scores make the score of a completion, unless told otherwise
    int tokens_per_micro_batch = 0;
};

// path, reference: model directories or runs; reference "": none. Errors: a DPO-RM or an implicit
// PRM without its reference, a reference for a head that has no use for it, another vocabulary.
std::unique_ptr<RewardModel> load_reward_model(const std::string& path,
                                               const std::string& reference,
                                               const ComputeConfig& compute,
                                               int tokens_per_micro_batch);

// Z_t of every target of every sequence.
std::vector<std::vector<double>> token_scores(RewardModel& reward,
                                              const std::vector<TrainSequence>& sequences);
// The same for a head other than log_ratio of a network that is being trained.
std::vector<std::vector<double>> head_scores(Pass& pass, ScoreHead head,
                                             const std::vector<TrainSequence>& sequences,
                                             int tokens_per_micro_batch);

// What the head has to read, for an objective and for an evaluation alike.
void want_head(Objective& objective, ScoreHead head);
// Of the outputs, those of the head; of the gradients likewise.
std::span<const double> head_of(const TokenOutputs& outputs, ScoreHead head);
std::span<double> head_of(const TokenGrads& grads, ScoreHead head);
