#include "rl/doctor.h"

#include "rl/advantage.h"
#include "rl/units.h"

#include <algorithm>
#include <cmath>

const char* health_name(Health health) {
    static const char* names[] = {"holds", "BROKEN", "not applicable", "note"};
    return names[(int)health];
}

// NaN is worse than any number.
static bool worse(double than, double x) { return !std::isnan(than) && !(x <= than); }

Finding group_advantages_sum_to_zero(const Rollouts& r, const Selection& kept,
                                     const AlgoConfig& algo) {
    const char* law = "group advantages sum to 0";
    const AdvantageConfig& advantage = algo.advantage;
    const bool unlike =
        std::ranges::any_of(r.parts, [](const Part& part) { return part.to != Level::completion; });
    if (!baseline_is_the_prompts(advantage) || advantage.estimator != Estimator::outcome ||
        advantage.whiten != Std::none || advantage.clip > 0 || unlike)
        return {law, Health::not_applicable, "advantages are not relative to the prompt's mean"};
    double worst = 0;
    int worst_group = 0;
    std::vector<std::vector<int>> groups = completions_by_group(r);
    for (size_t g = 0; g < groups.size(); ++g) {
        double sum = 0, size = 1;
        for (int i : groups[g]) {
            sum += kept.A.completion[i];
            size += std::abs(kept.A.completion[i]);
        }
        if (!worse(worst, std::abs(sum) / size)) continue;
        worst = std::abs(sum) / size;
        worst_group = (int)g;
    }
    if (worst <= 1e-9) return {law, Health::holds, format("largest sum %.1e", worst)};
    return {law, Health::broken,
            format("those of prompt %d sum to %.3g of their size", worst_group, worst)};
}

Finding first_pass_ratio_is_one(const Rollouts& r, const AlgoConfig& algo) {
    const char* law = "first-pass ratio is 1";
    if (find_algorithm(algo.preset).policy.ratio == Ratio::none)
        return {law, Health::not_applicable, "the algorithm has no ratio"};
    double worst = 0;
    for (int64_t n = 0; n < r.tokens(); ++n) {
        double gap = std::abs(r.logp[n] - r.logp_old[n]);
        if (worse(worst, gap)) worst = gap;
    }
    if (worst == 0) return {law, Health::holds, "exactly, on every token"};
    return {law, Health::broken,
            format("logp and logp_old differ by up to %.3g nats before any update", worst)};
}

Finding eos_has_weight(const Rollouts& r, const Selection& kept, const Weights& weights) {
    const char* law = "EOS has weight";
    if (r.finished.empty())
        return {law, Health::not_applicable, "the rows do not say which completions finished"};
    int finished = 0, without = 0, dropped_tokens = 0;
    for (int i = 0; i < r.completions(); ++i) {
        if (!kept.completion[i] || !r.finished[i] || r.length(i) == 0) continue;
        int64_t eos = r.offset[i + 1] - 1;
        ++finished;
        without += !(weights.policy[eos] > 0);
        dropped_tokens += !kept.token[eos];
    }
    if (finished == 0) return {law, Health::not_applicable, "no finished completion trains"};
    if (without == 0) return {law, Health::holds, format("in all %d completions", finished)};
    if (dropped_tokens == without)
        return {law, Health::not_applicable,
                format("token selection dropped it in %d of %d completions", without, finished)};
    return {law, Health::broken, format("it has none in %d of %d completions", without, finished)};
}

Finding every_token_has_one_owner(const Rollouts& r, const Selection& kept, const Weights& weights,
                                  const AlgoConfig& algo) {
    const char* law = "every token has one owner";
    auto broken = [&](std::string text) { return Finding{law, Health::broken, std::move(text)}; };
    size_t N = (size_t)r.tokens();
    if (r.offset.front() != 0 || !std::is_sorted(r.offset.begin(), r.offset.end()))
        return broken("the completions' offsets do not increase from 0");
    if (kept.A.token.size() != N || kept.token.size() != N || weights.policy.size() != N ||
        kept.completion.size() != (size_t)r.completions())
        return broken(format("%zu tokens, but %zu advantages, %zu kept flags, %zu weights", N,
                             kept.A.token.size(), kept.token.size(), weights.policy.size()));
    double sum = 0;
    bool any = false;
    for (int i = 0; i < r.completions(); ++i)
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n) {
            if (kept.token[n] && !kept.completion[i])
                return broken(format("token %d of completion %d is kept, the completion is not",
                                     (int)(n - r.offset[i]), i));
            if ((weights.policy[n] != 0) != (kept.token[n] != 0))
                return broken(format("token %d of completion %d is %s but its weight is %g",
                                     (int)(n - r.offset[i]), i, kept.token[n] ? "kept" : "not kept",
                                     weights.policy[n]));
            sum += weights.policy[n];
            any |= kept.token[n];
        }
    bool is_mean = algo.aggregation != Aggregation::seq_mean_token_sum &&
                   algo.aggregation != Aggregation::seq_mean_token_sum_norm;
    // all_selected_tokens leaves out the weight of dropped tokens: at most 1
    if (any && is_mean && !(sum <= 1 + 1e-9))
        return broken(format("the weights of a mean sum to %.12g", sum));
    return {law, Health::holds, format("%zu tokens, weights sum to %.6g", N, sum)};
}

Finding loss_and_gradient_are_finite(const LossParts& parts, const BatchGrads& grads) {
    const char* law = "loss and gradient are finite";
    if (!std::isfinite(parts.total()))
        return {law, Health::broken,
                format("policy %g, kl %g, entropy %g, value %g", parts.policy, parts.kl,
                       parts.entropy, parts.value)};
    const std::pair<const char*, const std::vector<double>*> all[] = {
        {"dlogp", &grads.dlogp}, {"dentropy", &grads.dentropy}, {"dvalue", &grads.dvalue}};
    for (auto [name, d] : all)
        for (size_t n = 0; n < d->size(); ++n)
            if (!std::isfinite((*d)[n]))
                return {law, Health::broken, format("%s of token %zu is %g", name, n, (*d)[n])};
    return {law, Health::holds, format("loss %.6g", parts.total())};
}

Finding zero_loss_explained(const Rollouts& r, const Selection& kept, const Weights& weights,
                            const LossParts& parts, const BatchGrads& grads) {
    const char* law = "zero loss explained";
    double norm = 0, size = 0;
    bool ratio_is_one = true;
    int kept_completions = 0, nonzero = 0;
    for (int i = 0; i < r.completions(); ++i) {
        kept_completions += kept.completion[i];
        nonzero += kept.completion[i] && kept.A.completion[i] != 0;
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n) {
            norm += grads.dlogp[n] * grads.dlogp[n];
            size += std::abs(weights.policy[n] * kept.A.token[n]);
            if (weights.policy[n] != 0 && !r.logp_old.empty() && r.logp[n] != r.logp_old[n])
                ratio_is_one = false;
        }
    }
    norm = std::sqrt(norm);
    if (kept_completions == 0)
        return {law, Health::note, "no completion is kept: this step trains on nothing"};
    if (parts.tokens == 0)
        return {law, Health::note, "no token is kept: the policy term trains on nothing"};
    if (size == 0)
        return {law, Health::note,
                format("all advantages are 0 (%d prompts with equal rewards, %d with one "
                       "completion): no policy gradient",
                       kept.A.equal_groups, kept.A.single_groups)};
    if (std::abs(parts.policy) > 1e-6 * size)
        return {law, Health::not_applicable, format("the policy term is %.6g", parts.policy)};
    return {law, Health::note,
            format("%sadvantages sum to 0; the gradient is alive (norm of dlogp %.3g, %d of %d "
                   "completions with A != 0)",
                   ratio_is_one ? "ratio is 1 and " : "", norm, nonzero, kept_completions)};
}

std::vector<Finding> examine(const Rollouts& r, const Selection& kept, const Weights& weights,
                             const AlgoConfig& algo, const LossParts& parts,
                             const BatchGrads& grads, bool first_pass) {
    std::vector<Finding> findings = {group_advantages_sum_to_zero(r, kept, algo)};
    if (first_pass) findings.push_back(first_pass_ratio_is_one(r, algo));
    findings.push_back(eos_has_weight(r, kept, weights));
    findings.push_back(every_token_has_one_owner(r, kept, weights, algo));
    findings.push_back(loss_and_gradient_are_finite(parts, grads));
    findings.push_back(zero_loss_explained(r, kept, weights, parts, grads));
    return findings;
}
