#pragma once
// WISE in form heads [Ren et al. 2021, sect. 4]: six losses on one trunk. The paper's encoder, run apart for
// every candidate, and its decoder become one packed sequence per turn:
//
//     context     I-CLS A-CLS, then what was said         its tokens see each other in both directions
//     candidates  text, CLS, A-CLS, one after another     see the context and themselves, not one another
//     response    evidence, action | text, EOS            sees the context and itself
//
// A candidate's CLS stand behind what they sum up, as its own tokens are causal; all candidates stand at the
// same positions, so their order means nothing.
//
//     ID  softmax(W_id h[I-CLS])                          of the context
//     KE  sigmoid(w_ke h[t])                              every t >= 2 of the context
//     AP  softmax(W_ap max_k h_k[A-CLS])                  coordinate by coordinate, over the candidates (over
//                                                         the context's own where there is none)
//     QS  sigmoid(w_q h_k[CLS])    PS  sigmoid(w_p h_k[CLS])
//     RG  the response's tokens behind the action, by the LM head; with copy mixed with train/wise_copy.h
//
//     L = sum of the six, each times its weight
//     L_ID, L_AP  mean over turns of the cross-entropy        L_RG  mean over tokens of -log p
//     L_KE = sum_b m_b mean_t BCE / (sum_b m_b + 1), L_QS and L_PS likewise over the candidates; m_b: the turn
//     has phrases, a selected query, a selected passage. The "+ 1" is the authors' (plus_one).

#include "train/step.h"

struct WiseHeads { // rows of Params::row_heads
    static constexpr int intents = 12, actions = 23;
    static constexpr int id = 0, ap = intents, ke = ap + actions, qs = ke + 1, ps = qs + 1,
                         count = ps + 1;
};

// Coordinate by coordinate the largest of some rows (C each), and the row that it stands in, the first of
// equal ones: there its gradient goes.
struct MaxPool {
    std::vector<double> value; // (C)
    std::vector<int> from;     // (C)
    MaxPool(const std::vector<double>& h, int C, const std::vector<int>& rows);
    void backward(const std::vector<double>& dvalue,
                  std::vector<double>& dh) const; // dh (rows of h, C) +=
};

struct WisePacked {
    std::vector<int32_t> context;
    std::vector<std::vector<int32_t>> queries, passages; // each ends in its CLS and A-CLS
    std::vector<int32_t> response;
    int response_first = 0; // the first token of it that is learnt; at least 1
    struct Memory {
        int first = 0, count = 0; // tokens of the response
        double weight = 1;        // s_m of train/wise_copy.h
    };
    std::vector<Memory> evidence; // what can be copied, beside the context
    // What is right, and whether it is known (the loss's mask).
    int intent = 0, action = 0;
    std::vector<uint8_t> keyphrase; // (context)
    std::vector<uint8_t> query_gold, passage_gold;
    bool has_intent = false, has_keyphrases = false, has_action = false, has_queries = false,
         has_passages = false, has_response = false;
    int tokens() const; // of the packed sequence
};

struct WiseWeights { // of the losses
    double id = 1, ke = 1, ap = 1, qs = 1, ps = 1, rg = 1;
};
struct WiseObjective {
    WiseWeights weight;
    bool plus_one = true;
    bool heads_only = false; // only the heads' gradient; the trunk and RG wait
    bool copy = false;
};
struct WiseLosses { // of a step, not yet weighted
    double id = 0, ke = 0, ap = 0, qs = 0, ps = 0, rg = 0;
};

// What the heads say of a turn: logits.
struct WiseReading {
    std::vector<double> intent, action;    // (12), (23)
    std::vector<double> keyphrase;         // (context), the first two 0
    std::vector<double> queries, passages; // (candidates)
};

// The gradients of a step, as accumulate_gradients. Turns are cut into micro-batches whole, and the
// denominators are those of the step, so the cut cannot change the sum.
StepStats accumulate_wise(Trainer& trainer, const std::vector<WisePacked>& turns,
                          const WiseObjective& objective, WiseLosses& losses);
// The losses without gradients, and what the heads say (may be null).
WiseLosses evaluate_wise(Pass& pass, const std::vector<WisePacked>& turns,
                         int tokens_per_micro_batch, const WiseObjective& objective,
                         std::vector<WiseReading>* readings);
// The likeliest next token of each turn's response, the copy term included; heads and candidates have no part
// in it.
std::vector<int32_t> next_with_copy(Pass& pass, std::vector<WisePacked> turns,
                                    int tokens_per_micro_batch);
double weighted_sum(const WiseLosses& losses, const WiseWeights& weight);
