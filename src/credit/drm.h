#pragma once
// DRM: dimension-level reward model [Wang et al. 2025, arXiv 2510.11457]. The reasoning R of an
// answer A is scored as a whole, without a ground truth, on three dimensions:
//
//   confidence   mean_{t in R} logp_t + sum_{t in A} logp_t, of the policy that wrote them, T = 1
//   relevance    sum of sigma(z) over a reranker's logits for question and R, documents and R, R
//                and A
//   coherence    an outcome reward model's score of R
//
//   S_i = sum_k w_k n(s_ki)   n: (s - mean) / std over the well-formed completions of the prompt,
//                             population; 0 where std is below std_floor or fewer than two are
//   S_i = malformed           where there is no reasoning to score
//
// Departure: the paper's notes do not say on which scale the three are added; the z-score is ours.

#include "credit/channel.h"
#include "credit/normalise.h"

#include <cmath>

// Of one completion. R at least one token (the mark that ends the reasoning counts).
double drm_confidence(std::span<const double> logp_reasoning, std::span<const double> logp_answer);
// One logit per term that there is; without documents there is no term of theirs.
double drm_relevance(std::span<const double> logits);

// What is known of a completion that reasons, before its dimensions are added up.
struct DrmParts {
    // Its reasoning is tokens [0, reasoning_end), its answer [answer_begin, its end).
    int reasoning_end = 0, answer_begin = 0;
    // Logits. NAN: there is no such term.
    double question = NAN, documents = NAN, answer = NAN;
    double coherence = 0;
};

// The same of the terms named, of those that there are.
double drm_relevance(const DrmParts& parts, const std::vector<std::string>& terms);

enum class WellFormed : uint8_t { yes, no, judge_failed };

struct DrmDimension {
    double weight = 1;
    std::vector<double> score; // (I) raw; where not well-formed, not read
};
// S (I); 0 where the judge failed. normalise: of credit/normalise.h.
std::vector<double> drm_scores(const std::vector<DrmDimension>& dimensions,
                               const std::vector<WellFormed>& form, const Layout& layout,
                               Normalise normalise, double std_floor, double malformed);
