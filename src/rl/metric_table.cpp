#include "rl/metric_table.h"

#include "base/check.h"

static const MetricMeaning table[] = {
    {"rl", "step", "", "batches of rollouts so far, this one included"},
    {"rl", "loss", "", "mean over the optimiser steps of the sum of the terms below"},
    {"rl", "policy_loss", "",
     "the algorithm's own term; 0 where every ratio is 1 and the advantages sum to 0"},
    {"rl", "kl_loss", "", "beta times the KL to the reference, where it stands in the loss"},
    {"rl", "entropy_loss", "", "minus c_e times the entropy"},
    {"rl", "value_loss", "", "c_v times the critic's squared error"},
    {"rl", "grad_norm", "", "l2 norm of the policy's gradient before it is clipped"},
    {"rl", "critic_grad_norm", "", "the same of a critic of its own"},
    {"rl", "lr", "per update", "learning rate of the step"},
    {"rl", "tokens", "tokens", "of all completions, each with its prompt"},
    {"rl", "reward_mean", "", "R_i, mean over the completions; the interval is over prompts"},
    {"rl", "completion_tokens_mean", "tokens", "length of a completion"},
    {"rl", "finished_share", "share", "completions that ended by themselves, with EOS"},
    {"rl", "advantage_abs_mean", "", "|A|, mean over all tokens; 0: the step teaches nothing"},
    {"rl", "kept_rows", "completions", "that train"},
    {"rl", "dropped_rows", "completions", "that selection took out"},
    {"rl", "kept_tokens", "tokens", "that train"},
    {"rl", "dropped_tokens", "tokens", "that selection took out, alone or with their completion"},
    {"rl", "computed_tokens", "tokens", "that went through the network in the update"},
    {"rl", "recorded_tokens", "tokens", "of these: forward in the rollout already"},
    {"rl", "shared_prompt_tokens_saved", "tokens",
     "not computed again because completions share their prompt"},
    {"rl", "equal_reward_groups", "prompts", "whose completions all earned the same: A = 0"},
    {"rl", "clip_frac", "share", "trained tokens whose gradient the clip set to 0"},
    {"rl", "logp_gap_nats", "nats",
     "largest difference between sampled and trained log-probability of a token"},
    {"rl", "optimiser_steps", "", "in this step: epochs times minibatches, less the empty ones"},
    {"rl", "entropy_nats_per_token", "nats", "of the policy where it chose each token"},
    {"rl", "kl_k1_nats_per_token", "nats",
     "logp_old - logp_ref: distance to the reference, first estimator"},
    {"rl", "kl_k3_nats_per_token", "nats", "e^d - d - 1, d = logp_ref - logp_old: third estimator"},
    {"rl", "sampling_rounds", "", "dynamic sampling: how often prompts were drawn"},
    {"rl", "dropped_groups", "prompts",
     "dynamic sampling: thrown away, as all of their rewards were equal"},
    {"rl", "surplus_groups", "prompts",
     "dynamic sampling: valid and beyond the quota (dist.oversample)"},
    {"rl", "carried_groups", "prompts",
     "dynamic sampling: drawn in the step before and beyond its quota (dist.surplus=keep)"},
    {"rl", "checker_mean", "",
     "what the task's rule says, whoever gives the reward: a reward that rises without it is "
     "gamed"},
    {"rl", "score_mean_*", "", "raw score of a credit source, mean over the completions"},
    {"rl", "auc_*", "",
     "how often the source scores a right completion above a wrong one: 0.5 is chance"},
    {"rl", "task_*", "",
     "the task's own figure of the step's completions, as hit_faithful_wrong of stale_library or "
     "valid of chain_lookup"},
    {"rl", "eval_task_*", "", "the same of the held-out problems"},
    {"rl", "eval_before_task_*", "", "the same before the first step"},
    {"rl", "replay_loss_nats_per_token", "nats",
     "-logp of the worked answers that are replayed, before their step"},
    {"rl", "judge_clean_share", "share",
     "completions in which the (last) model that judges found no wrong step; above the exact "
     "checker: it overlooks errors"},
    {"rl", "judge_asked_share", "share", "select.before_judging: completions that were judged"},
    {"rl", "judge_cache_hit_share_*", "share", "completions whose judgement was known already"},
    {"rl", "judge_invalid_share_*", "share", "critiques that cannot be read"},
    {"rl", "judge_unread_share_*", "share", "completions on which nothing could be read"},
    {"rl", "judge_precision_*", "share", "steps called wrong that are, by the task's rule"},
    {"rl", "judge_recall_*", "share", "wrong steps, by the task's rule, that were found"},
    {"rl", "judge_tokens_*", "tokens", "that the judge wrote in this step"},
    {"rl", "eval_pass@*", "share", "held-out problems solved by one of so many completions"},
    {"rl", "eval_completion_tokens_mean", "tokens", "length of a completion of a held-out problem"},
    {"rl", "eval_before_pass@*", "share", "the same before the first step"},
    {"rl", "eval_before_completion_tokens_mean", "tokens", "the same before the first step"},
    {"rl", "doctor", "", "laws of a correct step that were broken; an empty list is health"},
    {"rl", "note", "", "why the policy loss is 0 or near it, where it is"},
    {"rl", "ranks", "", "processes that worked together; only where there were several"},
    {"rl", "layout", "", "dist.placement: who generated and who judged in the step"},
    {"rl", "idle_seconds.tail", "s",
     "mean over the ranks: nothing left to generate, while others still did"},
    {"rl", "idle_seconds.queue", "s", "as a judge with nothing to judge, while others generated"},
    {"rl", "idle_seconds.barrier", "s", "while others still judged"},
    {"rl", "predicted_seconds", "s", "dist.placement=auto: of this step, before it"},
    {"rl", "step_seconds", "s", "all six stations"},
    {"rl", "seconds.prompt", "s", "rollout: prompts through the network"},
    {"rl", "seconds.decode", "s", "rollout: drawing tokens"},
    {"rl", "seconds.credit", "s", "rules and reward models"},
    {"rl", "seconds.judge", "s", "models that judge, where there is one"},
    {"rl", "seconds.reference", "s", "logp_old, logp_ref and values"},
    {"rl", "seconds.train", "s", "forward, backward and update"},
    {"rl", "decode_tokens_per_s", "tokens/s", "drawn while decoding"},
    {"rl", "fingerprint", "",
     "64 bits of all weights after the step: equal numbers, equal weights"},

    {"loss", "loss", "", "sum of the terms below"},
    {"loss", "policy", "", "the algorithm's own term"},
    {"loss", "kl", "", "beta times the KL to the reference, where it stands in the loss"},
    {"loss", "entropy", "", "minus c_e times the entropy"},
    {"loss", "value", "", "c_v times the critic's squared error"},
    {"loss", "rows", "completions", "that train"},
    {"loss", "tokens", "tokens", "that train"},
    {"loss", "rows_read", "completions", "in the file"},
    {"loss", "tokens_read", "tokens", "of all completions in the file"},
    {"loss", "groups", "prompts", "in the file, by step and prompt_id"},
    {"loss", "single_groups", "prompts",
     "with one completion: A = 0 where the baseline is the prompt's"},
    {"loss", "equal_groups", "prompts", "whose completions all earned the same: A = 0"},
    {"loss", "reward_mean", "", "R_i, mean over the completions"},
    {"loss", "reward_std", "", "its population deviation"},
    {"loss", "zero_advantage_share", "share", "completions with A = 0: they teach nothing"},
    {"loss", "kept_rows_share", "share", "completions that train"},
    {"loss", "kept_tokens_share", "share", "tokens that train"},
    {"loss", "advantage_variance", "", "of A over the completions, before selection"},
    {"loss", "advantage_variance_kept", "", "and after: what D3S raises"},
    {"loss", "advantage_mean_kept", "", "far from 0: selection pushes one way"},
    {"loss", "positive_share_kept", "share", "kept completions with A > 0"},
    {"loss", "prompts_with_both_signs", "prompts", "with kept completions on both sides of 0"},
    {"loss", "clip_frac", "share", "trained tokens whose gradient the clip set to 0"},
    {"loss", "dlogp_norm", "", "l2 norm of dL/dlogp over the batch"},
    {"loss", "ratio_mean", "", "exp(logp - logp_old), mean over the tokens; 1: on policy"},
    {"loss", "ratio_max", "", "the largest of them"},
    {"loss", "kl_nats_per_token", "nats", "k3 to the reference, all tokens"},
    {"loss", "entropy_nats_per_kept_token", "nats", "of the policy on tokens that train"},
    {"loss", "entropy_nats_per_dropped_token", "nats", "and on those that do not"},
};

std::span<const MetricMeaning> metric_table() { return table; }

// pattern: a name in which at most one * stands for any text.
static bool fits(const std::string& name, const std::string& pattern) {
    const size_t star = pattern.find('*');
    if (star == std::string::npos) return name == pattern;
    return name.size() > star && name.compare(0, star, pattern, 0, star) == 0;
}

const MetricMeaning* find_metric(const std::string& command, const std::string& name) {
    for (const MetricMeaning& row : table)
        if (command == row.command && fits(name, row.name)) return &row;
    for (const char* end : {"_low", "_high"})
        if (name.ends_with(end))
            return find_metric(command, name.substr(0, name.size() - std::string(end).size()));
    return nullptr;
}

std::string metric_help() {
    std::string text;
    for (const char* command : {"rl", "loss"}) {
        text +=
            format("%s\n", command == std::string("rl")
                               ? "A step of rlhf rl (RUN/metrics.jsonl); NAME_low and NAME_high "
                                 "are the ends of a 95 % interval:"
                               : "\nWhat rlhf loss and rlhf diff say of stored rollouts:");
        for (const MetricMeaning& row : table)
            if (command == std::string(row.command))
                text += format("  %-36s %-12s %s\n", row.name, row.unit, row.meaning);
    }
    return text;
}
