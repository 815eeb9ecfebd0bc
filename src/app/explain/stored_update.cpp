#include "app/explain/stored_update.h"

#include "rl/advantage.h"
#include "rl/metrics.h"

#include <algorithm>
#include <cmath>

void resolve_update(UpdateConfig& config, const Args& args) {
    resolve_algorithm(config.algo, args);
    check_select(config.select);
    CHECK(!config.rollouts.empty(),
          "rollouts=FILE is missing; a run writes such files under RUN/rollouts");
}

static void check_finite(const StoredUpdate& update) {
    const Rollouts& r = update.stored.batch;
    const std::pair<const char*, const std::vector<double>*> arrays[] = {
        {"advantage", &update.plan.advantage},
        {"dlogp", &update.grads.dlogp},
        {"dentropy", &update.grads.dentropy},
        {"dvalue", &update.grads.dvalue}};
    for (int i = 0; i < r.rows(); ++i)
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
            for (auto [name, array] : arrays)
                CHECK(std::isfinite((*array)[n]),
                      "%s: the %s of completion token %d is %g; logp is %g and logp_old %g there",
                      update.stored.where[i].c_str(), name, (int)(n - r.offset[i]), (*array)[n],
                      r.logp[n], r.logp_old.empty() ? r.logp[n] : r.logp_old[n]);
    CHECK(std::isfinite(update.parts.total()),
          "the loss is not finite: policy %g, kl %g, entropy %g, value %g; a log-probability or "
          "value in the file is out of all proportion",
          update.parts.policy, update.parts.kl, update.parts.entropy, update.parts.value);
}

StoredUpdate stored_update(const UpdateConfig& config) {
    StoredUpdate update;
    update.stored = read_rollouts(config.rollouts, config.algo, config.select);
    const Rollouts& r = update.stored.batch;
    compute_advantages(update.plan, r, config.algo);
    select_and_weigh(update.plan, r, config.algo, config.select);
    update.parts = batch_loss(r, update.plan, config.algo, update.grads);
    check_finite(update);
    return update;
}

Json update_summary(const StoredUpdate& update) {
    const Rollouts& r = update.stored.batch;
    const LossParts& parts = update.parts;
    Json row;
    row["loss"] = parts.total();
    row["policy"] = parts.policy + 0.0; // no -0
    row["kl"] = parts.kl;
    row["entropy"] = parts.entropy;
    row["value"] = parts.value;
    row["rows"] = std::count(update.plan.kept.begin(), update.plan.kept.end(), 1);
    row["tokens"] = std::count(update.plan.token_kept.begin(), update.plan.token_kept.end(), 1);
    row["rows_read"] = r.rows();
    row["tokens_read"] = r.tokens();
    row["groups"] = r.groups;
    row["single_groups"] = update.plan.single_groups;
    row["equal_groups"] = update.plan.equal_groups;
    for (const Metric& metric : update_metrics(r, update.plan, parts, update.grads))
        row[metric.name] = metric.value;
    return row;
}
