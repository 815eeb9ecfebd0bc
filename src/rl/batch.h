#pragma once
// What an algorithm sees: the numbers of one batch of completions, on the host, in double. Ragged:
// the tokens of all completions stand one after another, no padding. G completions of each of B
// prompts, I = B G completions i, N tokens n in all; t counts the tokens of one completion.
//
//   Rollouts    what rollout, credit and the frozen networks said
//   Advantages  station 4: A per token
//   Selection   station 5: who trains, and with which A
//   Weights     w per token, of one optimiser step
//   CompletionView    one completion of all of these, with the numbers of the network in training
//   LossParts   the loss, by term
//
// Each is the return value of one function, and nothing that comes later writes into it.

#include "credit/credit.h"

#include <cstdint>
#include <span>
#include <vector>

struct Rollouts {
    std::vector<int64_t> offset{
        0};                     // (I + 1): completion i owns tokens offset[i] .. offset[i + 1] - 1
    std::vector<int> group;     // (I) 0 .. groups - 1: completions of one prompt
    int groups = 0;             // B
    std::vector<double> reward; // (I)
    std::vector<uint8_t> finished; // (I) 1: the last token is EOS. Empty: not known
    // (N) each, in nats where it is a log-probability; empty where nobody gave it
    std::vector<double> logp, logp_old, logp_ref, entropy, value, value_old, credit;
    std::vector<double> segment_credit; // (S); empty: no source goes to the segments
    Segments segments;
    std::vector<uint8_t> judged; // (I) 0: a source failed on the completion; empty: none did
    std::vector<Part> parts;     // of each credit source, for combine = sum_of_normalised

    int completions() const { return (int)offset.size() - 1; }
    int64_t tokens() const { return offset.back(); }
    int64_t length(int i) const { return offset[i + 1] - offset[i]; }
};

// The part of a (N) array that belongs to completion i; empty stays empty.
template <class T>
std::span<const T> tokens_of(const std::vector<T>& array, const Rollouts& rollouts, int i) {
    if (array.empty()) return {};
    return {array.data() + rollouts.offset[i], (size_t)rollouts.length(i)};
}
template <class T> std::span<T> tokens_of(std::vector<T>& array, const Rollouts& rollouts, int i) {
    if (array.empty()) return {};
    return {array.data() + rollouts.offset[i], (size_t)rollouts.length(i)};
}

struct Advantages {
    std::vector<double> token;      // (N) A_it
    std::vector<double> completion; // (I) mean of A_it: what selects completions
    std::vector<double> ret;        // (N) target of the value; empty without a critic
    int single_groups = 0;          // groups of one completion: advantage 0
    int equal_groups = 0;           // groups whose rewards are all equal: advantage 0
    double ema = 0;                 // baseline=ema: the moving average after this batch
};

struct Selection {
    std::vector<uint8_t> completion; // (I) 1: trains
    std::vector<uint8_t> token; // (N) 1: trains; 0 for all tokens of a completion that does not
    Advantages A;               // with which they train: station 4's, or anew from the kept (PODS)
};

// Aggregation weights of one optimiser step, fixed before it is cut into micro-batches
// (aggregation.h).
struct Weights {
    std::vector<double> policy; // (N) w_it of the policy term: 0 on tokens that are not kept
    std::vector<double> all; // (N) w'_it of KL, entropy and value: all tokens of kept completions
};

// One completion as a loss sees it. The arrays have one entry per token; those that the
// configuration does not need may be empty.
struct CompletionView {
    std::span<const double> logp, logp_old, logp_ref, entropy, value, value_old;
    std::span<const double> advantage, ret, weight, weight_all;
};

struct CompletionGrads {
    std::span<double> dlogp, dentropy, dvalue; // accumulated into
};

struct LossParts {
    double policy = 0, kl = 0, entropy = 0, value = 0; // each with its coefficient and sign
    int64_t tokens = 0;                                // that the policy term stands on
    int64_t clipped = 0;                               // of these: whose gradient the clip set to 0
    double total() const { return policy + kl + entropy + value; }
    void add(const LossParts& other) {
        policy += other.policy;
        kl += other.kl;
        entropy += other.entropy;
        value += other.value;
        tokens += other.tokens;
        clipped += other.clipped;
    }
};
