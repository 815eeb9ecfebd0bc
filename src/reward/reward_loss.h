#pragma once
// From the kind of a reward model to what training needs: the head, the tokens it reads, the
// objective of a step and the figures of held-out data. One row per kind; the formulas stand in the
// kind's own file.
//
//   kind           head                         read at          data       loss
//   orm            scalar, sequence class.      last token       pairs      orm.h
//   orm_pointwise  scalar, sequence class.      last token       labels     orm.h
//   prm            scalar, token class.         step ends        labels     prm.h
//   pgtg           scalar, token class.         every token      pairs      pgtg.h
//   yes_no         log_prob of yes or no        last token       pairs      orm.h
//   qrm            scalar, logit, log_softmax   every token      pairs      qrm.h
//   dpo_rm         log_ratio                    every token      pairs      dpo.h
//   implicit_prm   log_ratio                    every token      labels     implicit_prm.h
//
// and preference losses that train a policy: an ordinary language model comes out.
//
//   dpo            log_ratio                    every token      pairs      dpo.h
//   ipo            log_ratio                    every token      pairs      ipo.h
//   kto            log_ratio                    every token      labels     kto.h
//   orpo           log_prob                     every token      pairs      orpo.h
//   cpo            log_prob                     every token      pairs      cpo.h
//   simpo          log_prob                     every token      pairs      cpo.h

#include "reward/reward_model.h"

#include <cmath>

struct RewardSettings { // reward.*
    std::string kind, head = "scalar", reference;
    double beta = 0, gamma = 2, ce_coef = 1, focal = 0;
    double sft_coef = -1, desirable = 1, undesirable = 1;
    void visit(struct Fields& v);
};

// What a loss sees of one answer.
struct AnswerScores {
    std::span<const double> score;    // the head's outputs at the tokens that it reads
    std::span<const double> label;    // one, or one per step
    std::span<const double> logp_ref; // of the ratios, per token
    double z0 = 0;                    // kto's reference point
};

struct RewardKind {
    const char* name;
    Head model_head; // of the written directory; lm for qrm with a vocabulary head
    enum class Reads { last, steps, tokens } reads;
    Pool pool;             // how an answer's outputs make the score that the figures compare
    bool ratio;            // of a language model to its reference
    bool policy;           // a policy is trained, no reward model
    double beta, sft_coef; // defaults
    const char* labels;    // what a label may be, "" for pairs
    // The loss compares two answers, or looks at one that has labels. Writes the derivatives by the
    // scores.
    double (*pair_loss)(const RewardSettings& settings, const AnswerScores& chosen,
                        const AnswerScores& rejected, std::span<double> dchosen,
                        std::span<double> drejected);
    double (*answer_loss)(const RewardSettings& settings, const AnswerScores& answer,
                          std::span<double> dscore);
    bool pairs() const { return pair_loss != nullptr; }
};
const RewardKind& reward_kind(const std::string& name);
const RewardKind* find_reward_kind(const std::string& name); // null: none
std::span<const RewardKind> reward_kind_table();

// Fills what the kind decides (beta, a ce_coef without use) and refuses what does not go together.
void resolve_reward(RewardSettings& settings);
// The head as the network is trained: log_prob for the ratios, whose reference is a constant.
ScoreHead trained_head(const RewardSettings& settings);
// Sets head, reward_head and reward_kind of a model that is about to be trained.
void shape_reward_model(ModelConfig& config, const RewardSettings& settings);

// The answers of a step, or of held-out data.
struct RewardBatch {
    std::vector<TrainSequence> sequences;   // of pairs: chosen, rejected, chosen, rejected, ..
    bool paired = false;                    // two by two, whatever the kind
    std::vector<std::vector<double>> label; // per sequence: one, or one per step; empty: no labels
    std::vector<std::vector<double>> logp_ref; // per sequence, of the ratios
    double z0 = 0; // kto's reference point, of the step's answers and the policy as it is
};

// kto's z0 is asked of these: each prompt of the batch with the answer to the next prompt.
std::vector<TrainSequence> mismatched(const RewardBatch& batch);
// max(0, mean over the sequences of the sum of logp - logp_ref).
double kto_reference_point(const std::vector<std::vector<double>>& logp,
                           const std::vector<std::vector<double>>& logp_ref);

// The mean of the kind's loss over the pairs or the answers of the batch, which must outlive the
// objective. The two answers of a pair must share a bundle.
Objective reward_objective(const RewardSettings& settings, const RewardBatch& batch);

// Figures of a batch from the head's outputs on its sequences.
struct RewardFigures {
    double loss = 0;
    double pair_accuracy = NAN; // share of pairs whose chosen answer scores higher, ties half
    double gap = NAN;           // mean score of chosen minus rejected
    double label_accuracy =
        NAN;           // share of labels that the score's sign agrees with; 0 labels left out
    double spread = 0; // standard deviation of Z over all tokens that are read
};
RewardFigures reward_figures(const RewardSettings& settings, const RewardBatch& batch,
                             const std::vector<std::vector<double>>& outputs);
