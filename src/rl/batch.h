#pragma once
// What an algorithm sees: the numbers of one batch of completions, on the host, in double. Ragged: the
// tokens of all completions stand one after another, no padding; N tokens, `rows` completions.
//
//   Rollouts   what rollout and credit wrote down
//   Plan       what advantage and select made of it: A per token, who trains, with which weight.
//              Made before any gradient and never changed by it.
//   TokenRow   one completion of both, with the numbers of the network that is being trained
//   LossParts  the loss, by term

#include <cstdint>
#include <span>
#include <vector>

struct Rollouts {
    std::vector<int64_t> offset{0}; // (rows + 1): row i owns tokens offset[i] .. offset[i + 1] - 1
    std::vector<int> group;         // (rows) 0 .. groups - 1: completions of one prompt
    int groups = 0;
    std::vector<double> reward;    // (rows)
    std::vector<uint8_t> finished; // (rows) 1: the last token is EOS. Empty: not known
    // (N) each, in nats where it is a log-probability; empty where nobody gave it
    std::vector<double> logp, logp_old, logp_ref, entropy, value, value_old, credit;

    int rows() const { return (int)offset.size() - 1; }
    int64_t tokens() const { return offset.back(); }
    int64_t length(int row) const { return offset[row + 1] - offset[row]; }
};

// The part of a (N) array that belongs to one row; empty stays empty.
template <class T>
std::span<const T> row_of(const std::vector<T>& array, const Rollouts& rollouts, int row) {
    if (array.empty()) return {};
    return {array.data() + rollouts.offset[row], (size_t)rollouts.length(row)};
}

struct Plan {
    std::vector<double> advantage;     // (N)
    std::vector<double> row_advantage; // (rows) mean of the row's advantages: what selects rows
    std::vector<double> ret;           // (N) target of the value; empty without GAE
    std::vector<uint8_t> kept;         // (rows) 1: trains
    std::vector<uint8_t> token_kept;   // (N) 1: trains; 0 for all tokens of a row that is not kept
    // Aggregation weights, fixed for the whole optimiser step: of the policy term (0 on tokens that
    // are not kept) and of KL, entropy and value (all tokens of kept rows).
    std::vector<double> weight, weight_all; // (N)
    int single_groups = 0;                  // groups of one completion: advantage 0
    int equal_groups = 0;                   // groups whose rewards are all equal: advantage 0
};

// One completion as a loss sees it. The arrays have one entry per token; those that the configuration
// does not need may be empty.
struct TokenRow {
    std::span<const double> logp, logp_old, logp_ref, entropy, value, value_old;
    std::span<const double> advantage, ret, weight, weight_all;
};

struct RowGrads {
    std::span<double> dlogp, dentropy, dvalue; // accumulated into
};

struct LossParts {
    double policy = 0, kl = 0, entropy = 0, value = 0; // each with its coefficient and sign
    int64_t tokens = 0;                                // that the policy term stands on
    int64_t clipped = 0;                               // of these: whose gradient the clip set to 0
    double total() const { return policy + kl + entropy + value; }
    void add(const LossParts& other) {
        policy += other.policy, kl += other.kl, entropy += other.entropy, value += other.value;
        tokens += other.tokens, clipped += other.clipped;
    }
};
