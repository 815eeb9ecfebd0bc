// rlhf loss CONFIG rollouts=F out=F: what an algorithm makes of stored numbers. One output row per
// completion; standard error ends in one JSON object with the loss.

#include "app/commands.h"
#include "app/explain/stored_update.h"
#include "base/file.h"
#include "rl/doctor.h"

// What identifies the row travels on; the arrays that went in do not.
static Json output_row(const StoredUpdate& update, bool made_anew, int i) {
    static const char* left_behind[] = {"prompt_ids", "completion_ids", "text",     "logp",
                                        "logp_old",   "logp_sampled",   "logp_ref", "entropy",
                                        "value",      "value_old",      "credit",   "advantage",
                                        "kept",       "token_kept",     "weight"};
    const Rollouts& r = update.stored.batch;
    Json row = update.stored.source[i];
    for (const char* key : left_behind) row.erase(key);
    if (made_anew) row["reward"] = r.reward[i];
    if (made_anew && !r.credit.empty()) row["credit"] = json_list(r.credit, r, i);
    put_selection(row, r, update.kept, update.weights, i);
    row["dlogp"] = json_list(update.loss.grads.dlogp, r, i);
    row["dvalue"] = json_list(update.loss.grads.dvalue, r, i);
    row["dentropy"] = json_list(update.loss.grads.dentropy, r, i);
    return row;
}

static int loss(UpdateConfig& config, const Args& args) {
    resolve_update(config, args);
    StoredUpdate update = stored_update(config);
    const Rollouts& r = update.stored.batch;

    AtomicFile out(config.out);
    for (int i = 0; i < r.completions(); ++i)
        out.write(dump_row(output_row(update, !config.credit.is_null(), i)) + "\n");
    out.commit();

    // Stored numbers may be of any pass: whether the ratio is 1 is a finding here, not a law.
    for (const Finding& finding : examine(r, update.kept, update.weights, config.algo,
                                          update.loss.parts, update.loss.grads, false))
        if (finding.health == Health::broken || finding.health == Health::note)
            std::fprintf(stderr, "%s: %s: %s\n", health_name(finding.health), finding.law,
                         finding.text.c_str());
    std::fprintf(stderr, "%s\n", dump_row(update_summary(update)).c_str());
    return 0;
}

extern const Command loss_command;
const Command loss_command = command<UpdateConfig, loss>(
    "loss", "advantages, selection, loss and gradients of stored rollouts, without a network");
