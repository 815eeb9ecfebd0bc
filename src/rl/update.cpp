#include "rl/update.h"

#include "base/rng.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace {

// Row i with the listed completion tokens as targets.
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

std::vector<int> every_token(const Rollouts& rollouts, int i) {
    std::vector<int> tokens(rollouts.length(i));
    std::iota(tokens.begin(), tokens.end(), 0);
    return tokens;
}

// Whole prompts, in an order drawn per pass, cut into `count` parts of nearly equal numbers of rows.
std::vector<std::vector<int>> minibatches_of(const Rollouts& rollouts, const UpdatePlan& how,
                                             int epoch) {
    std::vector<std::vector<int>> by_group(rollouts.groups);
    for (int i = 0; i < rollouts.rows(); ++i) by_group[rollouts.group[i]].push_back(i);
    std::vector<int> order(rollouts.groups);
    std::iota(order.begin(), order.end(), 0);
    if (how.minibatches > 1) Rng(how.seed, (uint64_t)epoch).shuffle(order);
    std::vector<std::vector<int>> parts(how.minibatches);
    int64_t taken = 0;
    for (int group : order) {
        std::vector<int>& part = parts[taken * how.minibatches / rollouts.rows()];
        part.insert(part.end(), by_group[group].begin(), by_group[group].end());
        taken += (int64_t)by_group[group].size();
    }
    return parts;
}

// What both networks' steps over a minibatch share.
struct Minibatch {
    std::vector<int> rows;                // kept ones
    std::vector<std::vector<int>> tokens; // of each: those that the network is asked for
    std::vector<TrainSequence> sequences;
};

Minibatch make_minibatch(const Rollouts& rollouts, const RolloutTexts& texts, const Plan& plan,
                         const std::vector<int>& rows, bool all) {
    Minibatch batch;
    for (int i : rows) {
        if (!plan.kept[i] || rollouts.length(i) == 0) continue;
        std::vector<int> tokens;
        for (int t = 0; t < (int)rollouts.length(i); ++t)
            if (all || plan.token_kept[rollouts.offset[i] + t]) tokens.push_back(t);
        if (tokens.empty()) continue;
        batch.rows.push_back(i);
        batch.sequences.push_back(sequence_of(rollouts, texts, i, tokens));
        batch.tokens.push_back(std::move(tokens));
    }
    return batch;
}

void add_step(UpdateStats& stats, const StepStats& step, const LossParts& parts) {
    stats.step.loss += parts.total(), stats.step.grad_norm += step.grad_norm;
    stats.step.tokens += step.tokens, stats.step.targets += step.targets;
    stats.step.computed += step.computed, stats.step.recorded += step.recorded;
    stats.step.micro_batches += step.micro_batches;
    stats.step.seconds += step.seconds;
    stats.parts.add(parts);
    ++stats.steps;
}

void finish(UpdateStats& stats) {
    const double n = std::max(1, stats.steps);
    for (double* mean : {&stats.step.loss, &stats.step.grad_norm, &stats.parts.policy,
                         &stats.parts.kl, &stats.parts.entropy, &stats.parts.value})
        *mean /= n;
}

// Runs the passes; `step` does one minibatch and returns its terms.
template <class F>
UpdateStats passes(Trainer& trainer, const Rollouts& rollouts, const RolloutTexts& texts,
                   Plan& plan, const AlgoConfig& algo, const SelectConfig& select,
                   const UpdatePlan& how, const OptimConfig& optim, double lr, bool all,
                   const F& objective_of) {
    UpdateStats stats;
    stats.lr = lr;
    stats.grads.dlogp.assign(rollouts.tokens(), 0);
    stats.grads.dentropy.assign(rollouts.tokens(), 0);
    stats.grads.dvalue.assign(rollouts.tokens(), 0);
    for (int epoch = 0; epoch < how.epochs; ++epoch)
        for (const std::vector<int>& rows : minibatches_of(rollouts, how, epoch)) {
            weigh(plan, rollouts, algo, select, rows);
            Minibatch batch = make_minibatch(rollouts, texts, plan, rows, all);
            if (batch.rows.empty()) {
                ++stats.empty;
                continue;
            }
            LossParts parts;
            const bool first_pass = epoch == 0, first_step = stats.steps == 0;
            Objective objective = objective_of(batch, parts, stats, first_pass, first_step);
            const bool recorded = first_step && how.recording && how.recording->holds() &&
                                  how.recording->pass == &trainer.pass && !objective.wants.value;
            StepStats step = accumulate_gradients(trainer, batch.sequences, objective,
                                                  recorded ? how.recording : nullptr);
            apply_update(trainer, optim, lr, step);
            add_step(stats, step, parts);
        }
    finish(stats);
    return stats;
}

} // namespace

std::vector<TrainSequence> all_tokens(const Rollouts& rollouts, const RolloutTexts& texts) {
    std::vector<TrainSequence> sequences;
    for (int i = 0; i < rollouts.rows(); ++i)
        sequences.push_back(sequence_of(rollouts, texts, i, every_token(rollouts, i)));
    return sequences;
}

UpdateStats update_policy(Trainer& policy, Rollouts& rollouts, const RolloutTexts& texts,
                          Plan& plan, const AlgoConfig& full, const SelectConfig& select,
                          const UpdatePlan& how, const OptimConfig& optim, double lr) {
    AlgoConfig algo = full;
    if (!how.value_with_policy) algo.value_coef = 0; // the critic's own step
    std::vector<double> sampled = rollouts.logp_old;
    if (rollouts.logp.empty()) rollouts.logp = rollouts.logp_old;
    auto objective_of = [&](const Minibatch& batch, LossParts& parts, UpdateStats& stats,
                            bool first_pass, bool first_step) {
        Objective objective;
        objective.wants.temperature = how.temperature;
        objective.wants.entropy = algo.entropy_coef != 0;
        objective.wants.value = algo.value_coef != 0;
        objective.loss = [&, first_pass, first_step](std::span<const TokenOutputs> outputs,
                                                     std::span<TokenGrads> grads) {
            LossParts share;
            for (size_t j = 0; j < outputs.size(); ++j) {
                const int i = batch.rows[outputs[j].index];
                const std::vector<int>& tokens = batch.tokens[outputs[j].index];
                const int64_t at = rollouts.offset[i], length = rollouts.length(i);
                // The row's arrays over all of its tokens; those that were not computed have weight 0.
                std::vector<double> logp(&rollouts.logp_old[at], &rollouts.logp_old[at] + length);
                std::vector<double> entropy(algo.entropy_coef != 0 ? length : 0);
                for (size_t k = 0; k < tokens.size(); ++k) {
                    logp[tokens[k]] = outputs[j].logp[k];
                    if (!entropy.empty()) entropy[tokens[k]] = outputs[j].entropy[k];
                    if (!first_step) continue;
                    double gap = std::abs(outputs[j].logp[k] - sampled[at + tokens[k]]);
                    stats.gap = std::max(stats.gap, gap);
                }
                if (how.adopt_logp_old)
                    std::copy(logp.begin(), logp.end(), rollouts.logp_old.begin() + at);
                TokenRow row = token_row(rollouts, plan, i);
                row.logp = logp, row.entropy = entropy;
                if (algo.value_coef != 0) row.value = outputs[j].value; // of every token, then
                std::vector<double> dlogp(length), dentropy(entropy.size());
                share.add(row_loss(row, algo, {dlogp, dentropy, grads[j].dvalue}));
                for (size_t k = 0; k < tokens.size(); ++k) {
                    grads[j].dlogp[k] = dlogp[tokens[k]];
                    if (!entropy.empty()) grads[j].dentropy[k] = dentropy[tokens[k]];
                }
                if (!first_pass) continue;
                std::copy(logp.begin(), logp.end(), rollouts.logp.begin() + at);
                std::copy(dlogp.begin(), dlogp.end(), stats.grads.dlogp.begin() + at);
                std::copy(dentropy.begin(), dentropy.end(), stats.grads.dentropy.begin() + at);
                std::copy(grads[j].dvalue.begin(), grads[j].dvalue.end(),
                          stats.grads.dvalue.begin() + at);
            }
            parts.add(share);
            return share.total();
        };
        return objective;
    };
    return passes(policy, rollouts, texts, plan, algo, select, how, optim, lr,
                  needs_all_tokens(algo), objective_of);
}

UpdateStats update_critic(Trainer& critic, Rollouts& rollouts, const RolloutTexts& texts,
                          Plan& plan, const AlgoConfig& full, const SelectConfig& select,
                          const UpdatePlan& how, const OptimConfig& optim, double lr) {
    AlgoConfig algo = full;
    algo.kl = "none", algo.entropy_coef = 0;
    auto objective_of = [&](const Minibatch& batch, LossParts& parts, UpdateStats& stats,
                            bool first_pass, bool) {
        Objective objective;
        objective.wants.logp = false, objective.wants.value = true;
        objective.loss = [&, first_pass](std::span<const TokenOutputs> outputs,
                                         std::span<TokenGrads> grads) {
            LossParts share;
            for (size_t j = 0; j < outputs.size(); ++j) {
                const int i = batch.rows[outputs[j].index];
                const int64_t at = rollouts.offset[i], length = rollouts.length(i);
                TokenRow row = token_row(rollouts, plan, i);
                row.logp = row.logp_old, row.value = outputs[j].value;
                std::vector<double> dlogp(length);
                LossParts terms = row_loss(row, algo, {dlogp, {}, grads[j].dvalue});
                share.value += terms.value; // the policy term is update_policy's
                if (first_pass)
                    std::copy(grads[j].dvalue.begin(), grads[j].dvalue.end(),
                              stats.grads.dvalue.begin() + at);
            }
            parts.add(share);
            return share.total();
        };
        return objective;
    };
    return passes(critic, rollouts, texts, plan, algo, select, how, optim, lr, true, objective_of);
}
