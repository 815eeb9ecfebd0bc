#include "app/explain/stored_update.h"

#include "rl/advantage.h"
#include "rl/aggregation.h"
#include "rl/earned.h"
#include "rl/metrics.h"

#include <algorithm>
#include <cmath>

void resolve_update(UpdateConfig& config, const Args& args) {
    resolve_algorithm(config.algo, args);
    check_select(config.select);
    CHECK(
        !config.select.before_judging,
        "select.before_judging is of rl; stored rows say what it kept, and have null scores of the "
        "rest: leave it out, with select.mode");
    CHECK(!config.rollouts.empty(),
          "rollouts=FILE is missing; a run writes such files under RUN/rollouts");
}

static void check_finite(const StoredUpdate& update) {
    const Rollouts& r = update.stored.batch;
    const std::pair<const char*, const std::vector<double>*> arrays[] = {
        {"advantage", &update.kept.A.token},
        {"dlogp", &update.loss.grads.dlogp},
        {"dentropy", &update.loss.grads.dentropy},
        {"dvalue", &update.loss.grads.dvalue}};
    for (int i = 0; i < r.completions(); ++i)
        for (int64_t n = r.offset[i]; n < r.offset[i + 1]; ++n)
            for (auto [name, array] : arrays)
                CHECK(std::isfinite((*array)[n]),
                      "%s: the %s of completion token %d is %g; logp is %g and logp_old %g there",
                      update.stored.where[i].c_str(), name, (int)(n - r.offset[i]), (*array)[n],
                      r.logp[n], r.logp_old.empty() ? r.logp[n] : r.logp_old[n]);
    CHECK(std::isfinite(update.loss.parts.total()),
          "the loss is not finite: policy %g, kl %g, entropy %g, value %g; a log-probability or "
          "value in the file is out of all proportion",
          update.loss.parts.policy, update.loss.parts.kl, update.loss.parts.entropy,
          update.loss.parts.value);
}

StoredUpdate loss_of(StoredRollouts stored, const AlgoConfig& algo, const SelectConfig& choice,
                     int64_t step, bool as_stored) {
    const Rollouts& r = stored.batch;
    const Advantages A = advantages(r, algo);
    Selection kept = select(r, A, algo, choice, step);
    if (as_stored) kept = stored_selection(stored, std::move(kept));
    Weights weights = weigh(r, kept, algo, choice.denominator);
    BatchLoss loss = batch_loss(r, kept, weights, algo);
    return {std::move(stored), std::move(kept), std::move(weights), std::move(loss)};
}

StoredUpdate stored_update(const UpdateConfig& config) {
    std::vector<SourceConfig> sources;
    if (!config.credit.is_null()) {
        sources = read_sources(config.credit);
        check_credit(config.algo, sources);
    }
    StoredUpdate update = loss_of(read_rollouts(config.rollouts, config.algo, config.select,
                                                config.credit.is_null() ? nullptr : &sources),
                                  config.algo, config.select);
    check_finite(update);
    return update;
}

Json update_summary(const StoredUpdate& update) {
    const Rollouts& r = update.stored.batch;
    const LossParts& parts = update.loss.parts;
    Json row;
    row["loss"] = parts.total();
    row["policy"] = parts.policy + 0.0; // no -0
    row["kl"] = parts.kl;
    row["entropy"] = parts.entropy;
    row["value"] = parts.value;
    row["rows"] = std::count(update.kept.completion.begin(), update.kept.completion.end(), 1);
    row["tokens"] = std::count(update.kept.token.begin(), update.kept.token.end(), 1);
    row["rows_read"] = r.completions();
    row["tokens_read"] = r.tokens();
    row["groups"] = r.groups;
    row["single_groups"] = update.kept.A.single_groups;
    row["equal_groups"] = update.kept.A.equal_groups;
    for (const Metric& metric : update_metrics(r, update.kept, parts, update.loss.grads))
        row[metric.name] = metric.value;
    return row;
}
