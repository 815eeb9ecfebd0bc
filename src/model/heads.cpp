// The heads. Logits exist for one chunk of rows at a time: every LM head is a loop over chunks of
// forward (product, log-probabilities) and backward (their gradient in place, product).

#include "model/heads.h"

#include "ops/values.h"

#include <algorithm>

// ---- listed rows, with the final norm ----

static void rows_forward(Pass& pass, const std::vector<int32_t>& rows) {
    const Ops& ops = *pass.model.ops;
    const int R = (int)rows.size();
    CHECK(R <= pass.rows.shape[0], "%d rows of a batch of %d tokens were listed", R, pass.N);
    Tensor x = pass.row_x.rows(0, R), y = pass.row_y.rows(0, R), s = pass.row_s.rows(0, R);
    ops.upload(pass.rows.rows(0, R), rows.data());
    ops.gather_rows(x, pass.hidden, pass.rows.rows(0, R));
    ops.rmsnorm_forward(y, s, x, pass.model.params.norm, pass.model.config.norm_eps);
}

// From row_dy, the gradient of the normalised rows, to pass.dx. A row may be listed more than once
// (the end of a prompt, in a recorded rollout); scatter_rows takes distinct ones, so the k-th of
// each go together.
static void rows_backward(Pass& pass, const std::vector<int32_t>& rows, const Params& grads) {
    const Ops& ops = *pass.model.ops;
    const int R = (int)rows.size();
    Tensor dx = pass.row_dx.rows(0, R);
    ops.rmsnorm_backward(written(dx), grads.norm, pass.row_s.rows(0, R), pass.row_dy.rows(0, R),
                         pass.row_x.rows(0, R), pass.model.params.norm);

    std::vector<int> seen(pass.N, 0);
    std::vector<std::vector<int32_t>> turn; // places in the list
    for (int r = 0; r < R; ++r) {
        const int k = seen[rows[r]]++;
        if (k == (int)turn.size()) turn.emplace_back();
        turn[k].push_back(r);
    }
    if (turn.size() == 1) return ops.scatter_rows(pass.dx, dx, pass.rows.rows(0, R));
    for (const std::vector<int32_t>& places : turn) {
        const int count = (int)places.size();
        std::vector<int32_t> to;
        for (int32_t place : places) to.push_back(rows[place]);
        Tensor part = pass.row_dy.rows(0, count);
        Tensor place = pass.target.rows(0, count), row = pass.rows.rows(0, count);
        ops.upload(place, places.data());
        ops.upload(row, to.data());
        ops.gather_rows(part, dx, place);
        ops.scatter_rows(pass.dx, part, row);
    }
}

// ---- log-probabilities ----

static Tensor or_none(bool wanted, Tensor x, int first, int count) {
    return wanted ? x.rows(first, count) : Tensor();
}

// `stand`: the logits are there already.
static void chunk_forward(Pass& pass, int first, int count, double temperature, bool entropy,
                          bool stand) {
    const Ops& ops = *pass.model.ops;
    Tensor logits = pass.logits.rows(0, count);
    ++pass.logits_writes;
    if (!stand)
        ops.linear_forward(logits, pass.row_y.rows(first, count), pass.model.params.lm_head, {});
    ops.token_logprob_forward(
        pass.logp.rows(first, count), or_none(entropy, pass.entropy, first, count),
        pass.lse.rows(first, count), logits, pass.target.rows(first, count), temperature);
}

// The logits of these rows stand in pass.logits, which their gradient overwrites.
static void chunk_backward(Pass& pass, int first, int count, double temperature, bool entropy,
                           const Params& grads) {
    const Ops& ops = *pass.model.ops;
    Tensor logits = pass.logits.rows(0, count);
    ++pass.logits_writes;
    ops.token_logprob_backward(
        logits, pass.dlogp.rows(first, count), or_none(entropy, pass.dentropy, first, count),
        or_none(entropy, pass.entropy, first, count), pass.lse.rows(first, count),
        pass.target.rows(first, count), temperature);
    ops.linear_backward(written(pass.row_dy.rows(first, count)), grads.lm_head.w, {}, logits,
                        pass.row_y.rows(first, count), pass.model.params.lm_head);
}

// The listed rows, normalised, and their targets on the device.
static void tokens_forward(Pass& pass, const ListedTokens& tokens) {
    const int R = (int)tokens.rows.size();
    rows_forward(pass, tokens.rows);
    pass.model.ops->upload(pass.target.rows(0, R), tokens.target.data());
}

static void check_targets(const Pass& pass, const ListedTokens& tokens) {
    CHECK(tokens.rows.size() == tokens.target.size(), "%zu rows but %zu targets",
          tokens.rows.size(), tokens.target.size());
    for (int32_t id : tokens.target)
        CHECK(id >= 0 && id < pass.model.config.V, "target %d is outside the vocabulary of %d", id,
              pass.model.config.V);
}

Logits token_logprob(Pass& pass, const ListedTokens& tokens, std::vector<double>& logp,
                     std::vector<double>* entropy, bool stand) {
    check_targets(pass, tokens);
    const Ops& ops = *pass.model.ops;
    const int R = (int)tokens.rows.size();
    if (R) tokens_forward(pass, tokens);
    for (int first = 0; first < R; first += pass.chunk)
        chunk_forward(pass, first, std::min(pass.chunk, R - first), tokens.temperature,
                      entropy != nullptr, stand);
    logp = download_values(ops, pass.logp.rows(0, R));
    if (entropy) *entropy = download_values(ops, pass.entropy.rows(0, R));
    return {tokens, entropy != nullptr, R <= pass.chunk ? pass.logits_writes : -1};
}

void token_logprob_backward(Pass& pass, const Logits& logits, const std::vector<double>& dlogp,
                            const std::vector<double>* dentropy, const Params& grads) {
    const ListedTokens& tokens = logits.tokens;
    check_targets(pass, tokens);
    const Ops& ops = *pass.model.ops;
    const int R = (int)tokens.rows.size();
    if (!R) return;
    const bool stand =
        logits.written == pass.logits_writes && (logits.entropy || dentropy == nullptr);
    tokens_forward(pass, tokens);
    upload_values(ops, pass.dlogp.rows(0, R), dlogp);
    if (dentropy) upload_values(ops, pass.dentropy.rows(0, R), *dentropy);
    for (int first = 0; first < R; first += pass.chunk) {
        const int count = std::min(pass.chunk, R - first);
        if (!stand)
            chunk_forward(pass, first, count, tokens.temperature, dentropy != nullptr, false);
        chunk_backward(pass, first, count, tokens.temperature, dentropy != nullptr, grads);
    }
    rows_backward(pass, tokens.rows, grads);
}

void token_logprob_both(Pass& pass, const ListedTokens& tokens, const std::vector<double>& dlogp,
                        std::vector<double>& logp, const Params& grads) {
    token_logprob_backward(pass, {tokens}, dlogp, nullptr, grads);
    logp = download_values(*pass.model.ops, pass.logp.rows(0, (int)tokens.rows.size()));
}

// ---- raw logits, by the same ops ----

void token_logit(Pass& pass, const ListedTokens& tokens, std::vector<double>& logit) {
    token_logprob(pass, {tokens.rows, tokens.target}, logit, nullptr); // logp = z - lse
    const Tensor lse = pass.lse.rows(0, (int)tokens.rows.size());
    const std::vector<double> more = download_values(*pass.model.ops, lse);
    for (size_t r = 0; r < logit.size(); ++r) logit[r] += more[r];
}

// With a normaliser beyond all logits every p is 0, and dlogp ([v = target] - p) is the logit's
// gradient. It does not depend on the logits, so none are computed.
void token_logit_backward(Pass& pass, const ListedTokens& tokens, const std::vector<double>& dlogit,
                          const Params& grads) {
    check_targets(pass, tokens);
    const Ops& ops = *pass.model.ops;
    const int R = (int)tokens.rows.size();
    if (!R) return;
    tokens_forward(pass, tokens);
    upload_values(ops, pass.dlogp.rows(0, R), dlogit);
    upload_values(ops, pass.lse.rows(0, R), std::vector<double>(R, 1e30));
    for (int first = 0; first < R; first += pass.chunk) {
        const int count = std::min(pass.chunk, R - first);
        ops.fill_zero(pass.logits.rows(0, count));
        chunk_backward(pass, first, count, 1, false, grads);
    }
    rows_backward(pass, tokens.rows, grads);
}

// ---- hidden rows ----

void row_hidden(Pass& pass, const std::vector<int32_t>& rows, std::vector<double>& hidden) {
    hidden.clear();
    if (rows.empty()) return;
    rows_forward(pass, rows);
    hidden = download_values(*pass.model.ops, pass.row_y.rows(0, (int)rows.size()));
}

void row_hidden_backward(Pass& pass, const std::vector<int32_t>& rows,
                         const std::vector<double>& dhidden, const Params& grads) {
    const int R = (int)rows.size();
    CHECK(dhidden.size() == (size_t)R * pass.model.config.C, "%d rows but %zu gradients", R,
          dhidden.size());
    if (!R) return;
    rows_forward(pass, rows);
    upload_values(*pass.model.ops, pass.row_dy.rows(0, R), dhidden);
    rows_backward(pass, rows, grads);
}

// ---- classification head ----

void row_score(Pass& pass, const std::vector<int32_t>& rows, std::vector<double>& value) {
    const Ops& ops = *pass.model.ops;
    const int R = (int)rows.size();
    CHECK(pass.model.params.score.w, "the model has no classification head (score.weight)");
    value.clear();
    if (!R) return;
    rows_forward(pass, rows);
    ops.linear_forward(pass.row_value.rows(0, R), pass.row_y.rows(0, R), pass.model.params.score,
                       pass.model.params.score_bias);
    value = download_values(ops, pass.row_value.rows(0, R));
}

void row_score_backward(Pass& pass, const std::vector<int32_t>& rows,
                        const std::vector<double>& dvalue, const Params& grads) {
    const Ops& ops = *pass.model.ops;
    const int R = (int)rows.size();
    CHECK(dvalue.size() == rows.size(), "%zu rows but %zu gradients", rows.size(), dvalue.size());
    if (!R) return;
    rows_forward(pass, rows);
    upload_values(ops, pass.row_value.rows(0, R), dvalue);
    ops.linear_backward(written(pass.row_dy.rows(0, R)), grads.score.w, grads.score_bias,
                        pass.row_value.rows(0, R), pass.row_y.rows(0, R), pass.model.params.score);
    rows_backward(pass, rows, grads);
}
