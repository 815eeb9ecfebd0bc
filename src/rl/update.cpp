// From the batch to the derivative, in order of calls:
//
//   update_policy    passes over the batch, minibatches
//   policy_terms     one completion's arrays, as the loss wants them
//   completion_loss  rl/loss.cpp: the policy term of the algorithm's file (rl/grpo.cpp, ...), KL, entropy
//                    bonus, value loss; its dlogp goes back through the network
#include "rl/update.h"

#include "base/rng.h"
#include "rl/aggregation.h"
#include "train/shares.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace {

// What the steps on a batch are given.
struct Given {
    const Rollouts& r;
    const RolloutTexts& texts;
    const Selection& kept;
    const AlgoConfig& algo;
    const UpdateSettings& settings;
};

struct Minibatch {
    bool first_pass = false, first_step = false; // over the batch
    std::vector<int> completions;                // kept ones
    std::vector<std::vector<int>> tokens;        // of each: those that the network is asked for
    std::vector<TrainSequence> sequences;        // of each
    Weights weights;
};

// Completion i with the listed tokens as targets.
TrainSequence sequence_of(const Rollouts& rollouts, const RolloutTexts& texts, int i,
                          const std::vector<int>& tokens) {
    const int group = rollouts.group[i];
    const std::vector<int32_t>& prompt = texts.prompt[group];
    TrainSequence sequence;
    sequence.ids = prompt;
    sequence.ids.insert(sequence.ids.end(), texts.completion[i].begin(), texts.completion[i].end());
    for (int t : tokens) sequence.target.push_back((int)prompt.size() + t);
    // The prompt's last token predicts the first of each completion, so it is each one's own.
    sequence.prompt = group;
    sequence.shared = (int)prompt.size() - 1;
    sequence.completion = i;
    return sequence;
}

// Whole prompts, in an order drawn per pass, cut into parts of nearly equal numbers of completions.
std::vector<std::vector<int>> cut_by_prompt(const Rollouts& r, const UpdateSettings& settings,
                                            int epoch) {
    std::vector<std::vector<int>> by_group(r.groups);
    for (int i = 0; i < r.completions(); ++i) by_group[r.group[i]].push_back(i);
    std::vector<int> order(r.groups);
    std::iota(order.begin(), order.end(), 0);
    if (settings.minibatches > 1) Rng(settings.seed, (uint64_t)epoch).shuffle(order);
    std::vector<std::vector<int>> parts(settings.minibatches);
    int64_t taken = 0;
    for (int group : order) {
        std::vector<int>& part = parts[taken * settings.minibatches / r.completions()];
        part.insert(part.end(), by_group[group].begin(), by_group[group].end());
        taken += (int64_t)by_group[group].size();
    }
    return parts;
}

// all: the network is asked for every token, not for the kept ones alone.
Minibatch make_minibatch(const Given& given, const std::vector<int>& completions, bool all) {
    const Rollouts& r = given.r;
    Minibatch batch;
    batch.weights = weigh(r, given.kept, given.algo, given.settings.denominator, completions);
    for (int i : completions) {
        if (!given.kept.completion[i] || r.length(i) == 0) continue;
        std::vector<int> tokens;
        for (int t = 0; t < (int)r.length(i); ++t)
            if (all || given.kept.token[r.offset[i] + t]) tokens.push_back(t);
        if (tokens.empty()) continue;
        batch.completions.push_back(i);
        batch.sequences.push_back(sequence_of(r, given.texts, i, tokens));
        batch.tokens.push_back(std::move(tokens));
    }
    return batch;
}

void add_step(UpdateStats& stats, const StepStats& step, const LossParts& parts) {
    stats.step.loss += parts.total();
    stats.step.grad_norm += step.grad_norm;
    stats.step.tokens += step.tokens;
    stats.step.targets += step.targets;
    stats.step.computed += step.computed;
    stats.step.recorded += step.recorded;
    stats.step.micro_batches += step.micro_batches;
    stats.step.seconds += step.seconds;
    stats.parts.add(parts);
    ++stats.steps;
}

void sums_to_means(UpdateStats& stats) {
    const double n = std::max(1, stats.steps);
    for (double* mean : {&stats.step.loss, &stats.step.grad_norm, &stats.parts.policy,
                         &stats.parts.kl, &stats.parts.entropy, &stats.parts.value})
        *mean /= n;
}

// What one completion's loss gave, as numbers: where several ranks train, each computes some of the
// completions, and all get what the others found.
std::vector<double> as_row(const Given& given, const UpdateStats& stats, const LossParts& parts,
                           double gap, int i) {
    std::vector<double> row = {
        parts.policy,          parts.kl, parts.entropy, parts.value, (double)parts.tokens,
        (double)parts.clipped, gap};
    for (const std::vector<double>* values :
         {&stats.logp, &stats.grads.dlogp, &stats.grads.dentropy, &stats.grads.dvalue}) {
        const auto own = tokens_of(*values, given.r, i);
        row.insert(row.end(), own.begin(), own.end());
    }
    return row;
}

LossParts from_row(const Given& given, UpdateStats& stats, const std::vector<double>& row, int i) {
    LossParts parts{row[0], row[1], row[2], row[3], (int64_t)row[4], (int64_t)row[5]};
    stats.gap = std::max(stats.gap, row[6]);
    size_t at = 7;
    for (std::vector<double>* values :
         {&stats.logp, &stats.grads.dlogp, &stats.grads.dentropy, &stats.grads.dvalue}) {
        const auto own = tokens_of(*values, given.r, i);
        std::copy_n(row.begin() + (int64_t)at, own.size(), own.begin());
        at += own.size();
    }
    return parts;
}

// The optimiser steps of all passes. terms(minibatch, one completion's outputs, its grads, stats)
// gives the terms of one completion; `objective` says what the network is asked for.
template <class F>
UpdateStats passes(Trainer& trainer, const Given& given, Objective objective, bool all,
                   const F& terms) {
    const UpdateSettings& settings = given.settings;
    const Collectives* ranks = trainer.model.compute.ranks;
    UpdateStats stats;
    stats.logp = given.r.logp_old;
    stats.adopted = settings.adopt_logp_old;
    stats.grads = zero_grads(given.r.tokens());
    for (int epoch = 0; epoch < settings.epochs; ++epoch)
        for (const std::vector<int>& part : cut_by_prompt(given.r, settings, epoch)) {
            Minibatch batch = make_minibatch(given, part, all);
            if (batch.completions.empty()) {
                ++stats.empty;
                continue;
            }
            batch.first_pass = epoch == 0;
            batch.first_step = stats.steps == 0;
            LossParts parts;
            std::vector<std::vector<double>> rows(ranks ? batch.completions.size() : 0);
            std::vector<int> mine; // completions of the batch, of those rows
            objective.loss = [&](std::span<const TokenOutputs> outputs,
                                 std::span<TokenGrads> grads) {
                LossParts share;
                for (size_t j = 0; j < outputs.size(); ++j) {
                    const LossParts one = terms(batch, outputs[j], grads[j], stats);
                    share.add(one);
                    if (!ranks) continue;
                    const int c = outputs[j].index;
                    mine.push_back(c);
                    rows[c] = as_row(given, stats, one, stats.gap, batch.completions[c]);
                }
                parts.add(share);
                return share.total();
            };
            Recording* recording = settings.recording;
            const bool recorded = batch.first_step && recording && recording->holds() &&
                                  recording->pass == &trainer.pass && !objective.wants.value;
            StepStats step = accumulate_gradients(trainer, batch.sequences, objective,
                                                  recorded ? recording : nullptr);
            if (ranks) {
                share_rows(ranks, mine, rows);
                parts = {}; // in the order of the completions, whoever computed them
                for (size_t c = 0; c < rows.size(); ++c)
                    parts.add(from_row(given, stats, rows[c], batch.completions[c]));
            }
            apply_update(trainer, settings.optim, settings.lr, step);
            add_step(stats, step, parts);
        }
    sums_to_means(stats);
    return stats;
}

LossParts policy_terms(const Given& given, const Minibatch& batch, const TokenOutputs& output,
                       const TokenGrads& grads, UpdateStats& stats) {
    const Rollouts& r = given.r;
    const AlgoConfig& algo = given.algo;
    const int i = batch.completions[output.index];
    const std::vector<int>& tokens = batch.tokens[output.index];
    const int64_t at = r.offset[i], length = r.length(i);
    // The completion's arrays over all of its tokens; those that were not computed have weight 0.
    std::vector<double> logp(&r.logp_old[at], &r.logp_old[at] + length);
    std::vector<double> entropy(algo.entropy_coef != 0 ? length : 0);
    for (size_t k = 0; k < tokens.size(); ++k) {
        logp[tokens[k]] = output.logp[k];
        if (!entropy.empty()) entropy[tokens[k]] = output.entropy[k];
        if (batch.first_step)
            stats.gap = std::max(stats.gap, std::abs(output.logp[k] - r.logp_old[at + tokens[k]]));
    }
    CompletionView o = completion_view(r, given.kept, batch.weights, i);
    o.logp = logp;
    o.entropy = entropy;
    if (given.settings.adopt_logp_old) o.logp_old = logp;
    if (algo.value_coef != 0) o.value = output.value; // of every token, then
    std::vector<double> dlogp(length), dentropy(entropy.size());
    const LossParts parts = completion_loss(o, algo, {dlogp, dentropy, grads.dvalue});
    for (size_t k = 0; k < tokens.size(); ++k) {
        grads.dlogp[k] = dlogp[tokens[k]];
        if (!entropy.empty()) grads.dentropy[k] = dentropy[tokens[k]];
    }
    if (batch.first_pass) {
        std::copy(logp.begin(), logp.end(), stats.logp.begin() + at);
        std::copy(dlogp.begin(), dlogp.end(), stats.grads.dlogp.begin() + at);
        std::copy(dentropy.begin(), dentropy.end(), stats.grads.dentropy.begin() + at);
        std::copy(grads.dvalue.begin(), grads.dvalue.end(), stats.grads.dvalue.begin() + at);
    }
    return parts;
}

LossParts critic_terms(const Given& given, const Minibatch& batch, const TokenOutputs& output,
                       const TokenGrads& grads, UpdateStats& stats) {
    const int i = batch.completions[output.index];
    CompletionView o = completion_view(given.r, given.kept, batch.weights, i);
    o.logp = o.logp_old;
    o.value = output.value;
    std::vector<double> dlogp(o.logp.size());
    const LossParts terms = completion_loss(o, given.algo, {dlogp, {}, grads.dvalue});
    if (batch.first_pass)
        std::copy(grads.dvalue.begin(), grads.dvalue.end(),
                  stats.grads.dvalue.begin() + given.r.offset[i]);
    LossParts parts;
    parts.value = terms.value; // the policy term is update_policy's
    return parts;
}

} // namespace

std::vector<TrainSequence> all_tokens(const Rollouts& rollouts, const RolloutTexts& texts) {
    std::vector<TrainSequence> sequences;
    for (int i = 0; i < rollouts.completions(); ++i) {
        std::vector<int> tokens(rollouts.length(i));
        std::iota(tokens.begin(), tokens.end(), 0);
        sequences.push_back(sequence_of(rollouts, texts, i, tokens));
    }
    return sequences;
}

UpdateStats update_policy(Trainer& policy, const Rollouts& rollouts, const RolloutTexts& texts,
                          const Selection& kept, const AlgoConfig& full,
                          const UpdateSettings& settings) {
    AlgoConfig algo = full;
    if (!settings.value_with_policy) algo.value_coef = 0; // the critic's own step
    const Given given{rollouts, texts, kept, algo, settings};
    Objective objective;
    objective.wants.temperature = settings.temperature;
    objective.wants.entropy = algo.entropy_coef != 0;
    objective.wants.value = algo.value_coef != 0;
    return passes(
        policy, given, objective, needs_all_tokens(algo),
        [&](const Minibatch& batch, const TokenOutputs& output, const TokenGrads& grads,
            UpdateStats& stats) { return policy_terms(given, batch, output, grads, stats); });
}

UpdateStats update_critic(Trainer& critic, const Rollouts& rollouts, const RolloutTexts& texts,
                          const Selection& kept, const AlgoConfig& full,
                          const UpdateSettings& settings) {
    AlgoConfig algo = full;
    algo.kl = Kl::none;
    algo.entropy_coef = 0;
    const Given given{rollouts, texts, kept, algo, settings};
    Objective objective;
    objective.wants.logp = false;
    objective.wants.value = true;
    return passes(
        critic, given, objective, true,
        [&](const Minibatch& batch, const TokenOutputs& output, const TokenGrads& grads,
            UpdateStats& stats) { return critic_terms(given, batch, output, grads, stats); });
}

Rollouts as_trained(Rollouts rollouts, const UpdateStats& update) {
    rollouts.logp = update.logp;
    if (update.adopted) rollouts.logp_old = update.logp;
    return rollouts;
}
