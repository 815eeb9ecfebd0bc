#include "rl/aggregation.h"

#include <numeric>

// w (N) on the tokens of `completions`. mask: (N), empty: all ones.
static std::vector<double> weights_of(const Rollouts& r, std::span<const int> completions,
                                      std::span<const uint8_t> mask, Aggregation kind,
                                      double max_length_norm) {
    std::vector<int64_t> count(r.completions());       // T_i
    std::vector<int64_t> group_count(r.groups);        // over the prompt's completions
    int64_t masked = 0, all = 0, live = 0, groups = 0; // over all of them
    for (int i : completions) {
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n) count[i] += mask.empty() || mask[n];
        masked += count[i];
        all += r.length(i);
        live += count[i] > 0;
        group_count[r.group[i]] += count[i];
    }
    for (int64_t tokens : group_count) groups += tokens > 0;

    const double I = (double)completions.size();
    std::vector<double> w(r.tokens());
    for (int i : completions) {
        double divisor = 1;
        switch (kind) {
        case Aggregation::seq_mean_token_mean:
            divisor = (double)live * count[i];
            break;
        case Aggregation::token_mean:
            divisor = (double)masked;
            break;
        case Aggregation::seq_mean_token_sum:
            divisor = I;
            break;
        case Aggregation::seq_mean_token_sum_norm:
            divisor = I * max_length_norm;
            break;
        case Aggregation::group_mean_token_mean:
            divisor = (double)groups * group_count[r.group[i]];
            break;
        case Aggregation::all_tokens:
            divisor = (double)all;
            break;
        }
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
            w[n] = mask.empty() || mask[n] ? 1 / divisor : 0;
    }
    return w;
}

Aggregation with_denominator(Aggregation aggregation, Denominator denominator) {
    if (aggregation == Aggregation::seq_mean_token_sum ||
        aggregation == Aggregation::seq_mean_token_sum_norm)
        return aggregation;
    switch (denominator) {
    case Denominator::of_aggregation:
        return aggregation;
    case Denominator::kept_tokens:
        return Aggregation::token_mean;
    case Denominator::all_selected_tokens:
        return Aggregation::all_tokens;
    case Denominator::per_sequence:
        return Aggregation::seq_mean_token_mean;
    }
    return aggregation;
}

Weights weigh(const Rollouts& r, const Selection& kept, const AlgoConfig& algo,
              Denominator denominator, std::span<const int> completions) {
    std::vector<int> trained;
    for (int i : completions)
        if (kept.completion[i]) trained.push_back(i);
    const Aggregation kind = with_denominator(algo.aggregation, denominator);
    return {weights_of(r, trained, kept.token, kind, algo.max_length_norm),
            weights_of(r, trained, {}, kind, algo.max_length_norm)};
}

Weights weigh(const Rollouts& r, const Selection& kept, const AlgoConfig& algo,
              Denominator denominator) {
    std::vector<int> all(r.completions());
    std::iota(all.begin(), all.end(), 0);
    return weigh(r, kept, algo, denominator, all);
}
