#pragma once
// What an evaluation says: pass@k and maj@k from n samples per prompt, with 95 % intervals.

#include <string>
#include <vector>

struct Estimate {
    double value = 0, low = 0, high = 1; // 95 % interval
};

// Probability that at least one of k samples, drawn without replacement from n of which c are right, is
// right: 1 - C(n-c, k) / C(n, k). Unbiased for the policy's pass@k [Chen et al. 2021, eq. 1].
double pass_at_k(int n, int c, int k);

// Probability that the majority vote over k of the samples is right: the exact mean over all subsets of
// size k. votes[s]: the answer of sample s, "" abstains. right[s]: whether it is right; all right answers
// are one party, however spelled. A tie is shared equally among the leaders, which is the same as letting
// the leader win that appears first when samples come in random order. A vote in which all abstain is lost.
double majority_at_k(const std::vector<std::string>& votes, const std::vector<bool>& right, int k);

// Mean over prompts of values in [0, 1], with an interval that respects that samples of one prompt belong
// together: the prompts are the independent draws, not the samples. Wilson's score interval
//     (m + z^2/2N +- z sqrt(m (1-m)/N + z^2/4N^2)) / (1 + z^2/N),   z = 1.96,
// at the effective number of draws N = m (1-m) / Var(mean), Var(mean) = sum_p (x_p - m)^2 / P^2, bounded to
// P <= N <= P * samples. With one sample per prompt that is Wilson's interval itself; with many, the
// clustered normal interval, but one that never leaves [0, 1] and has a width at m = 0 and m = 1 (N = P).
Estimate mean_over_prompts(const std::vector<double>& values, int samples);
