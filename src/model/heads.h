#pragma once
// Heads read the trunk's last rows at a list of positions and give dhidden at the same: the LM head
// as log-probabilities of given tokens (the hinge between network and loss) or as their raw logits,
// and the classification head. A forward function answers for the batch that went through the pass
// last; a backward function adds to pass.dx and grads.

#include "model/pass.h"

// Token target[r] as predicted at row rows[r].
struct ListedTokens {
    std::vector<int32_t> rows, target; // (R)
    double temperature = 1;
};

// The logits of listed tokens. They stand in the pass, and their gradient needs no second product
// with the LM head, if they are one chunk and nothing has written there since.
struct Logits {
    ListedTokens tokens;
    bool entropy = false; // ... of each row is in the pass, too
    int64_t written = -1; // Pass::logits_writes when they were written; -1: they do not stand
};

// logp (and entropy, if not null) of each token, in nats. `stand`: the logits of these rows are in
// the pass already (a recorded rollout's).
Logits token_logprob(Pass& pass, const ListedTokens& tokens, std::vector<double>& logp,
                     std::vector<double>* entropy, bool stand = false);
// Computes chunk by chunk what does not stand. dentropy may be null.
void token_logprob_backward(Pass& pass, const Logits& logits, const std::vector<double>& dlogp,
                            const std::vector<double>* dentropy, const Params& grads);
// Both in one sweep over the logits, for losses whose dlogp is known beforehand (SFT).
void token_logprob_both(Pass& pass, const ListedTokens& tokens, const std::vector<double>& dlogp,
                        std::vector<double>& logp, const Params& grads);

// The raw logit z of each token, and its gradient: dz_rv = dlogit_r [v = target_r]. No temperature.
void token_logit(Pass& pass, const ListedTokens& tokens, std::vector<double>& logit);
void token_logit_backward(Pass& pass, const ListedTokens& tokens, const std::vector<double>& dlogit,
                          const Params& grads);

// The trunk's rows behind the final norm, hidden[r C + c], for heads that are computed elsewhere, and the
// way back from dhidden.
void row_hidden(Pass& pass, const std::vector<int32_t>& rows, std::vector<double>& hidden);
void row_hidden_backward(Pass& pass, const std::vector<int32_t>& rows,
                         const std::vector<double>& dhidden, const Params& grads);

// The classification head (score.weight) at the listed rows: value[r].
void row_score(Pass& pass, const std::vector<int32_t>& rows, std::vector<double>& value);
void row_score_backward(Pass& pass, const std::vector<int32_t>& rows,
                        const std::vector<double>& dvalue, const Params& grads);
