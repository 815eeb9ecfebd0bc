#include "train/wise.h"

#include "base/clock.h"
#include "model/backward.h"
#include "model/heads.h"
#include "ops/values.h"
#include "train/wise_copy.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>
#include <utility>

int WisePacked::tokens() const {
    size_t count = context.size() + response.size();
    for (const auto* list : {&queries, &passages})
        for (const std::vector<int32_t>& one : *list) count += one.size();
    return (int)count;
}

double weighted_sum(const WiseLosses& losses, const WiseWeights& weight) {
    return weight.id * losses.id + weight.ke * losses.ke + weight.ap * losses.ap +
           weight.qs * losses.qs + weight.ps * losses.ps + weight.rg * losses.rg;
}

MaxPool::MaxPool(const std::vector<double>& h, int C, const std::vector<int>& rows)
    : value(C, -HUGE_VAL), from(C, rows.at(0)) {
    for (int row : rows)
        for (int c = 0; c < C; ++c)
            if (double x = h[(size_t)row * C + c]; x > value[c]) value[c] = x, from[c] = row;
}

void MaxPool::backward(const std::vector<double>& dvalue, std::vector<double>& dh) const {
    const size_t C = value.size();
    for (size_t c = 0; c < C; ++c) dh[from[c] * C + c] += dvalue[c];
}

namespace {

// What one unit of each loss weighs in the step's.
struct Shares {
    double id = 0, ke = 0, ap = 0, qs = 0, ps = 0, rg = 0;
};

Shares shares_of(const std::vector<WisePacked>& turns, const WiseObjective& objective) {
    Shares count;
    for (const WisePacked& turn : turns) {
        count.id += turn.has_intent, count.ap += turn.has_action;
        count.ke += turn.has_keyphrases, count.qs += turn.has_queries;
        count.ps += turn.has_passages;
        if (turn.has_response)
            count.rg += (double)((int)turn.response.size() - turn.response_first);
    }
    auto share = [](double units, double more) { return units > 0 ? 1 / (units + more) : 0; };
    const double one = objective.plus_one;
    return {share(count.id, 0),   share(count.ke, one), share(count.ap, 0),
            share(count.qs, one), share(count.ps, one), share(count.rg, 0)};
}

// Some turns as one batch, and the rows that are read of each.
struct Packed {
    struct Turn {
        int context = 0;                  // row of its first token
        std::vector<int32_t> cls, a_cls;  // of the candidates, queries first
        int first_row = 0;                // in `rows`: its first listed row
        int first_token = 0, tokens = 0;  // in `listed`: of the response
        std::vector<CopyMemory> memories; // what the response can copy from
    };
    HostBatch batch;
    std::vector<Turn> turn;
    std::vector<int32_t>
        rows; // I-CLS, then the context from 2 on, CLS and A-CLS of each candidate;
              // without candidates A-CLS of the context
    ListedTokens listed;
};

Packed pack(std::span<const WisePacked> turns) {
    Packed packed;
    for (const WisePacked& turn : turns) {
        CHECK(turn.context.size() >= 2 && turn.keyphrase.size() == turn.context.size(),
              "a turn's context needs I-CLS and A-CLS, and a tag for each token");
        Packed::Turn own;
        own.context = packed.batch.tokens();
        own.first_row = (int)packed.rows.size();
        const int length = (int)turn.context.size();
        const int parent = packed.batch.add(turn.context.data(), length, length);
        packed.rows.push_back(own.context);
        for (int t = 2; t < length; ++t) packed.rows.push_back(own.context + t);
        for (const auto* list : {&turn.queries, &turn.passages})
            for (const std::vector<int32_t>& one : *list) {
                packed.batch.add(one.data(), (int)one.size(), 0, parent);
                own.cls.push_back(packed.batch.tokens() - 2);
                own.a_cls.push_back(packed.batch.tokens() - 1);
                packed.rows.push_back(own.cls.back());
                packed.rows.push_back(own.a_cls.back());
            }
        if (own.a_cls.empty()) packed.rows.push_back(own.context + 1);
        own.first_token = (int)packed.listed.rows.size();
        if (turn.has_response) {
            const int begin = packed.batch.tokens(), size = (int)turn.response.size();
            packed.batch.add(turn.response.data(), size - 1, 0, parent);
            for (int t = turn.response_first; t < size; ++t) {
                packed.listed.rows.push_back(begin + t - 1);
                packed.listed.target.push_back(turn.response[t]);
            }
            own.tokens = size - turn.response_first;
            own.memories.push_back({own.context, turn.context});
            for (const WisePacked::Memory& one : turn.evidence) {
                const auto from = turn.response.begin() + one.first;
                own.memories.push_back({begin + one.first, {from, from + one.count}, one.weight});
            }
        }
        packed.turn.push_back(std::move(own));
    }
    return packed;
}

// dz of a softmax's cross-entropy; returns the loss.
double cross_entropy(const std::vector<double>& z, int right, double weight,
                     std::vector<double>& dz) {
    const double top = *std::max_element(z.begin(), z.end());
    double sum = 0;
    for (double one : z) sum += std::exp(one - top);
    const double lse = top + std::log(sum);
    dz.resize(z.size());
    for (size_t k = 0; k < z.size(); ++k)
        dz[k] = weight * (std::exp(z[k] - lse) - (double)((int)k == right));
    return lse - z[right];
}

// log(1 + e^z) - y z, and its dz = sigmoid(z) - y.
double binary_loss(double z, bool y) {
    return std::max(z, 0.0) + std::log1p(std::exp(-std::abs(z))) - (y ? z : 0);
}
double binary_dz(double z, bool y) { return 1 / (1 + std::exp(-z)) - (double)y; }

// The heads over the listed rows of a batch, and back. W: (heads, C); h, dh: (rows, C).
struct HeadStep {
    const int C;
    const std::vector<double>& W;
    const std::vector<double>& h;
    std::vector<double>*dW, *dh; // null: forward only

    double product(int head, const double* x) const {
        double sum = 0;
        for (int c = 0; c < C; ++c) sum += W[(size_t)head * C + c] * x[c];
        return sum;
    }
    const double* row(int r) const { return h.data() + (size_t)r * C; }
    // z = W x: dW += dz x, dx += W dz.
    void back(int head, double dz, const double* x, double* dx) const {
        for (int c = 0; c < C; ++c) {
            (*dW)[(size_t)head * C + c] += dz * x[c];
            dx[c] += dz * W[(size_t)head * C + c];
        }
    }
    double* drow(int r) const { return dh->data() + (size_t)r * C; }

    void turn(const WisePacked& turn, const Packed::Turn& at, const Shares& share,
              const WiseWeights& weight, WiseLosses& losses, WiseReading* reading) const {
        int r = at.first_row;
        classify(r++, WiseHeads::id, WiseHeads::intents, turn.has_intent, turn.intent, share.id,
                 weight.id, losses.id, reading ? &reading->intent : nullptr);

        const int phrases = (int)turn.context.size() - 2;
        if (reading) reading->keyphrase.assign(turn.context.size(), 0);
        for (int t = 0; t < phrases; ++t)
            tag(r++, WiseHeads::ke, turn.has_keyphrases, turn.keyphrase[t + 2],
                share.ke / std::max(1, phrases), weight.ke, losses.ke,
                reading ? &reading->keyphrase[t + 2] : nullptr);

        const int candidates = (int)at.cls.size(), Q = (int)turn.queries.size();
        std::vector<int> a_cls;
        for (int k = 0; k < candidates; ++k) a_cls.push_back(r + 2 * k + 1);
        if (candidates == 0) a_cls = {r};
        const MaxPool pool(h, C, a_cls);
        std::vector<double> dpool(C, 0.0);
        classify_vector(pool.value.data(), dpool.data(), WiseHeads::ap, WiseHeads::actions,
                        turn.has_action, turn.action, share.ap, weight.ap, losses.ap,
                        reading ? &reading->action : nullptr);
        if (dh) pool.backward(dpool, *dh);

        if (reading) reading->queries.assign(Q, 0), reading->passages.assign(candidates - Q, 0);
        for (int k = 0; k < candidates; ++k) {
            if (k < Q)
                tag(r + 2 * k, WiseHeads::qs, turn.has_queries, turn.query_gold[k], share.qs / Q,
                    weight.qs, losses.qs, reading ? &reading->queries[k] : nullptr);
            else
                tag(r + 2 * k, WiseHeads::ps, turn.has_passages, turn.passage_gold[k - Q],
                    share.ps / (candidates - Q), weight.ps, losses.ps,
                    reading ? &reading->passages[k - Q] : nullptr);
        }
    }

private:
    void classify_vector(const double* x, double* dx, int head, int classes, bool known, int right,
                         double share, double weight, double& loss,
                         std::vector<double>* reading) const {
        std::vector<double> z(classes), dz;
        for (int k = 0; k < classes; ++k) z[k] = product(head + k, x);
        if (reading) *reading = z;
        if (!known) return;
        loss += share * cross_entropy(z, right, share * weight, dz);
        for (int k = 0; dh && k < classes; ++k) back(head + k, dz[k], x, dx);
    }
    void classify(int r, int head, int classes, bool known, int right, double share, double weight,
                  double& loss, std::vector<double>* reading) const {
        classify_vector(row(r), dh ? drow(r) : nullptr, head, classes, known, right, share, weight,
                        loss, reading);
    }
    void tag(int r, int head, bool known, bool right, double share, double weight, double& loss,
             double* reading) const {
        if (!known && !reading) return;
        const double z = product(head, row(r));
        if (reading) *reading = z;
        if (!known) return;
        loss += share * binary_loss(z, right);
        if (dh) back(head, share * weight * binary_dz(z, right), row(r), drow(r));
    }
};

void add(WiseLosses& sum, const WiseLosses& more) {
    sum.id += more.id, sum.ke += more.ke, sum.ap += more.ap;
    sum.qs += more.qs, sum.ps += more.ps, sum.rg += more.rg;
}

void check_model(const Model& model) {
    CHECK(model.config.row_heads == WiseHeads::count,
          "%s has %d row heads; WISE's sub-tasks need %d (train.objective=wise makes them)",
          model.source.c_str(), model.config.row_heads, WiseHeads::count);
}

LastAttention last_attention(const Pass& pass) {
    const ModelConfig& m = pass.model.config;
    return {m.H, m.K, m.D, attention_scale(m),
            download_values(*pass.model.ops, pass.layer.back().qkv.rows(0, pass.N))};
}

// L_RG with the copy term: its sum over the listed tokens, and the gradients by their logp (in its place) and by
// the last layer's queries and keys (dqkv, as qkv; null: neither).
double copy_losses(const Packed& packed, const LastAttention& last, double weight,
                   std::vector<double>& logp, std::vector<double>* dqkv) {
    double sum = 0;
    for (const Packed::Turn& turn : packed.turn)
        for (int i = turn.first_token; i < turn.first_token + turn.tokens; ++i) {
            const int row = packed.listed.rows[i];
            const int32_t y = packed.listed.target[i];
            const Copied c = copied(turn.memories, last.attend(row, turn.memories), y);
            const MixedLoss mixed = mixed_loss(logp[i], c.share);
            sum += mixed.loss;
            if (!dqkv) continue;
            logp[i] = weight * mixed.dlogp;
            const CopyMemory& from = turn.memories[c.from];
            last.backward(row, from, copied_backward(from, y, weight * mixed.dc), *dqkv);
        }
    return sum;
}

// Forward and, with a trainer, backward over one micro-batch; dW collects the heads' gradient.
WiseLosses micro_batch(Pass& pass, std::span<const WisePacked> turns, const Shares& share,
                       const WiseObjective& objective, Trainer* trainer,
                       const std::vector<double>& W, std::vector<double>* dW, StepStats* stats,
                       WiseReading* readings) {
    const Packed packed = pack(turns);
    const int C = pass.model.config.C;
    forward(pass, packed.batch);
    WiseLosses losses;
    std::vector<double> h, dh;
    row_hidden(pass, packed.rows, h);
    if (trainer) dh.assign(h.size(), 0);
    const HeadStep heads{C, W, h, dW, trainer ? &dh : nullptr};
    for (size_t i = 0; i < turns.size(); ++i)
        heads.turn(turns[i], packed.turn[i], share, objective.weight, losses,
                   readings ? readings + i : nullptr);
    const bool whole = trainer && !objective.heads_only;
    std::vector<double> logp, dlogp, dqkv; // dqkv: of the copy term, by the last layer's qkv
    Logits logits;
    if (!packed.listed.rows.empty() && (!trainer || whole)) {
        logits = token_logprob(pass, packed.listed, logp, nullptr);
        const double weight = share.rg * objective.weight.rg;
        if (objective.copy) {
            const LastAttention last = last_attention(pass);
            dlogp = logp, dqkv.assign(last.qkv.size(), 0);
            losses.rg +=
                share.rg * copy_losses(packed, last, weight, dlogp, whole ? &dqkv : nullptr);
        } else {
            dlogp.assign(logp.size(), -weight);
            for (double one : logp) losses.rg -= share.rg * one;
        }
    }
    if (stats) {
        stats->tokens += packed.batch.tokens(), stats->computed += packed.batch.tokens();
        stats->targets += (int64_t)packed.listed.rows.size();
        ++stats->micro_batches;
    }
    if (!whole) return losses;
    begin_backward(pass);
    if (!logp.empty()) token_logprob_backward(pass, logits, dlogp, nullptr, trainer->grads);
    row_hidden_backward(pass, packed.rows, dh, trainer->grads);
    if (dqkv.empty()) {
        add_backward(*trainer);
        return losses;
    }
    const bool first = std::exchange(trainer->none_yet, false);
    backward(pass, trainer->grads, first, [&, L = pass.model.config.L](int layer, Tensor own) {
        if (layer < L - 1) return;
        std::vector<double> sum = download_values(*pass.model.ops, own.rows(0, pass.N));
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += dqkv[i];
        upload_values(*pass.model.ops, own.rows(0, pass.N), sum);
    });
    return losses;
}

// Turns of at most `budget` tokens together.
template <class F> void for_each_cut(const std::vector<WisePacked>& turns, int budget, const F& f) {
    for (size_t first = 0, last; first < turns.size(); first = last) {
        int tokens = turns[first].tokens();
        for (last = first + 1; last < turns.size(); ++last) {
            if (tokens + turns[last].tokens() > budget) break;
            tokens += turns[last].tokens();
        }
        f(first, last);
    }
}

} // namespace

StepStats accumulate_wise(Trainer& trainer, const std::vector<WisePacked>& turns,
                          const WiseObjective& objective, WiseLosses& losses) {
    const double start = now();
    const Ops& ops = *trainer.model.ops;
    check_model(trainer.model);
    begin_gradients(trainer);
    losses = {};
    StepStats stats;
    const Shares share = shares_of(turns, objective);
    const std::vector<double> W = download_values(ops, trainer.model.params.row_heads.w);
    std::vector<double> dW(W.size(), 0.0);
    for_each_cut(turns, trainer.tokens_per_micro_batch, [&](size_t first, size_t last) {
        const std::span<const WisePacked> part(turns.data() + first, last - first);
        add(losses,
            micro_batch(trainer.pass, part, share, objective, &trainer, W, &dW, &stats, nullptr));
    });
    upload_values(ops, trainer.grads.row_heads.w, dW);
    stats.loss = weighted_sum(losses, objective.weight);
    reduce_gradients(trainer, stats);
    stats.seconds = now() - start;
    return stats;
}

WiseLosses evaluate_wise(Pass& pass, const std::vector<WisePacked>& turns,
                         int tokens_per_micro_batch, const WiseObjective& objective,
                         std::vector<WiseReading>* readings) {
    check_model(pass.model);
    const Shares share = shares_of(turns, objective);
    const std::vector<double> W = download_values(*pass.model.ops, pass.model.params.row_heads.w);
    if (readings) readings->assign(turns.size(), {});
    WiseLosses losses;
    for_each_cut(turns, tokens_per_micro_batch, [&](size_t first, size_t last) {
        const std::span<const WisePacked> part(turns.data() + first, last - first);
        add(losses, micro_batch(pass, part, share, objective, nullptr, W, nullptr, nullptr,
                                readings ? readings->data() + first : nullptr));
    });
    return losses;
}

std::vector<int32_t> next_with_copy(Pass& pass, std::vector<WisePacked> turns,
                                    int tokens_per_micro_batch) {
    const Ops& ops = *pass.model.ops;
    const int C = pass.model.config.C, V = pass.model.config.V;
    const std::vector<double> W = download_values(ops, pass.model.params.lm_head.w);
    for (WisePacked& turn :
         turns) { // one token, of no matter which kind, is to be told behind the last
        turn.queries.clear(), turn.passages.clear();
        turn.response_first = (int)turn.response.size();
        turn.response.push_back(0);
        turn.has_response = true;
    }
    std::vector<int32_t> next;
    for_each_cut(turns, tokens_per_micro_batch, [&](size_t first, size_t last_turn) {
        const Packed packed = pack({turns.data() + first, last_turn - first});
        forward(pass, packed.batch);
        const LastAttention last = last_attention(pass);
        std::vector<double> h, P(V);
        row_hidden(pass, packed.listed.rows, h);
        for (size_t i = 0; i < packed.turn.size(); ++i) {
            const double* x = &h[i * C];
            for (int v = 0; v < V; ++v) P[v] = std::inner_product(x, x + C, &W[(size_t)v * C], 0.0);
            const double top = *std::max_element(P.begin(), P.end());
            double sum = 0;
            for (double& one : P) one = std::exp(one - top), sum += one;
            for (double& one : P) one /= 2 * sum; // half of S; the other half is the copy's
            const std::vector<CopyMemory>& memories = packed.turn[i].memories;
            const MemoryAttention a = last.attend(packed.listed.rows[i], memories);
            std::set<int32_t> copyable;
            for (const CopyMemory& memory : memories)
                copyable.insert(memory.tokens.begin(), memory.tokens.end());
            for (int32_t y : copyable) P[y] += 0.5 * copied(memories, a, y).share;
            next.push_back((int32_t)(std::max_element(P.begin(), P.end()) - P.begin()));
        }
    });
    return next;
}
