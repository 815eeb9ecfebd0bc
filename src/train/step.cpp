#include "train/step.h"

#include "base/beat.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "model/heads.h"
#include "train/diverged.h"
#include "train/shares.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace {

// The sequences of one micro-batch, laid out for the network: input tokens, listed rows, targets.
struct MicroBatch {
    std::vector<int> which; // sequences
    HostBatch batch;
    ListedTokens tokens;             // (R)
    std::vector<int32_t> value_rows; // (R)
    bool logits_stand = false;       // in the pass
    std::vector<int> offset;         // of each sequence among the targets, one more at the end
    // (R) where in tokens each sequence's targets are; empty: in order
    std::vector<int32_t> place;
    std::vector<double> logp, entropy, value, logit;     // (R)
    std::vector<double> dlogp, dentropy, dvalue, dlogit; // (R)
};

// Positions after the last one that is read cost nothing: they are not fed to the network.
int input_length(const TrainSequence& sequence, bool value_at_own_token) {
    if (sequence.target.empty()) return 0;
    return sequence.target.back() + (value_at_own_token ? 1 : 0);
}

// Whether b can use the prompt that was computed for a.
bool shares_prompt(const TrainSequence& a, const TrainSequence& b) {
    return b.shared > 0 && b.prompt >= 0 && a.prompt == b.prompt;
}

void check_sequence(const TrainSequence& sequence) {
    const int length = (int)sequence.ids.size();
    for (int32_t t : sequence.target)
        CHECK(t >= 1 && t < length && t > sequence.shared,
              "target position %d of a sequence of %d tokens, of which %d are shared; it must be "
              "%d .. %d",
              t, length, sequence.shared, sequence.shared + 1, length - 1);
}

MicroBatch make_micro_batch(const std::vector<TrainSequence>& sequences, std::span<const int> which,
                            const Wanted& wants) {
    MicroBatch mb;
    mb.which.assign(which.begin(), which.end());
    mb.tokens.temperature = wants.temperature;
    const TrainSequence* owner = nullptr; // whose prompt is in the batch
    int parent = -1;
    for (int s : which) {
        const TrainSequence& sequence = sequences[s];
        check_sequence(sequence);
        mb.offset.push_back((int)mb.tokens.rows.size());
        const int length = input_length(sequence, wants.value_at_own_token);
        if (length == 0) continue;
        int shared = 0; // tokens of this sequence that stand in the parent's rows
        if (sequence.prompt >= 0 && sequence.shared > 0) {
            shared = sequence.shared;
            if (!owner || !shares_prompt(*owner, sequence)) {
                owner = &sequence;
                parent =
                    mb.batch.add(sequence.ids.data(), shared, std::min(sequence.prefix, shared));
            }
        }
        const int begin = mb.batch.tokens() - shared; // where position 0 would be
        if (shared)
            mb.batch.add(sequence.ids.data() + shared, length - shared, 0, parent);
        else
            mb.batch.add(sequence.ids.data(), length, std::min(sequence.prefix, length));
        for (int32_t t : sequence.target) {
            mb.tokens.rows.push_back(begin + t - 1);
            mb.tokens.target.push_back(sequence.ids[t]);
            mb.value_rows.push_back(begin + t - (wants.value_at_own_token ? 0 : 1));
        }
    }
    mb.offset.push_back((int)mb.tokens.rows.size());
    return mb;
}

// The sequences as one micro-batch whose forward pass the rollout has done; binds the trainer's
// pass to it.
MicroBatch make_recorded_batch(const std::vector<TrainSequence>& sequences, Recording& recording,
                               double temperature) {
    MicroBatch mb;
    mb.tokens.temperature = temperature;
    mb.which.resize(sequences.size());
    std::iota(mb.which.begin(), mb.which.end(), 0);
    int prompt = -1, parent = -1; // in the batch
    std::vector<int32_t> draws;
    for (const TrainSequence& sequence : sequences) {
        check_sequence(sequence);
        mb.offset.push_back((int)draws.size());
        if (sequence.target.empty()) continue;
        const std::vector<int32_t>& input = recording.input[sequence.completion];
        const std::vector<int32_t>& draw = recording.draw[sequence.completion];
        const int P = (int)(sequence.ids.size() - draw.size()); // tokens of the prompt
        if (parent < 0 || sequence.prompt != prompt) {
            prompt = sequence.prompt;
            parent = mb.batch.add(sequence.ids.data(), P);
            for (int t = 0; t < P; ++t) mb.batch.row.push_back(recording.prompt[prompt] + t);
        }
        if (const int fed = input_length(sequence, false) - P; fed > 0) {
            mb.batch.add(sequence.ids.data() + P, fed, 0, parent);
            mb.batch.row.insert(mb.batch.row.end(), input.begin(), input.begin() + fed);
        }
        for (int32_t t : sequence.target) draws.push_back(draw[t - P]);
    }
    mb.offset.push_back((int)draws.size());
    if (draws.empty()) return mb;

    std::vector<int32_t> list = draws;
    std::sort(list.begin(), list.end());
    bind_recording(recording, mb.batch, list);
    mb.logits_stand = recording.logits;
    mb.tokens.rows = recording.list;
    mb.tokens.target.resize(list.size());
    for (const TrainSequence& sequence : sequences) {
        const std::vector<int32_t>& draw = recording.draw[sequence.completion];
        for (int32_t t : sequence.target) {
            mb.place.push_back(draw[t - (sequence.ids.size() - draw.size())]);
            mb.tokens.target[mb.place.back()] = sequence.ids[t];
        }
    }
    return mb;
}

// Between the order of mb.tokens and that of the sequences' targets.
void to_sequences(const MicroBatch& mb, std::vector<double>& values) {
    if (mb.place.empty() || values.empty()) return;
    std::vector<double> listed(values);
    for (size_t r = 0; r < values.size(); ++r) values[r] = listed[mb.place[r]];
}
void to_rows(const MicroBatch& mb, std::vector<double>& values) {
    if (mb.place.empty() || values.empty()) return;
    std::vector<double> ordered(values);
    for (size_t r = 0; r < values.size(); ++r) values[mb.place[r]] = ordered[r];
}

std::span<double> part(std::vector<double>& values, const MicroBatch& mb, int i) {
    if (values.empty()) return {};
    return {values.data() + mb.offset[i], (size_t)(mb.offset[i + 1] - mb.offset[i])};
}

double call_objective(MicroBatch& mb, const Objective& objective) {
    const size_t R = mb.tokens.rows.size();
    mb.dlogp.assign(objective.wants.logp ? R : 0, 0);
    mb.dentropy.assign(objective.wants.entropy ? R : 0, 0);
    mb.dvalue.assign(objective.wants.value ? R : 0, 0);
    mb.dlogit.assign(objective.wants.logit ? R : 0, 0);
    std::vector<TokenOutputs> outputs;
    std::vector<TokenGrads> grads;
    for (int i = 0; i < (int)mb.which.size(); ++i) {
        outputs.push_back({mb.which[i], part(mb.logp, mb, i), part(mb.entropy, mb, i),
                           part(mb.value, mb, i), part(mb.logit, mb, i)});
        grads.push_back({part(mb.dlogp, mb, i), part(mb.dentropy, mb, i), part(mb.dvalue, mb, i),
                         part(mb.dlogit, mb, i)});
    }
    return objective.loss(outputs, grads);
}

void check_finite(const std::vector<double>& values, const char* name) {
    for (double value : values)
        CHECK_FINITE(std::isfinite(value),
                     "%s is not finite (%g): the weights have diverged, or the data is bad; lower "
                     "optim.lr",
                     name, value);
}

// For losses whose dlogp does not depend on logp: the objective is asked with logp = 0, and again
// for the loss once logp is known.
double linear_step(Trainer& trainer, MicroBatch& mb, const Objective& objective) {
    mb.logp.assign(mb.tokens.rows.size(), 0);
    call_objective(mb, objective);
    const std::vector<double> dlogp = mb.dlogp;
    token_logprob_both(trainer.pass, mb.tokens, dlogp, mb.logp, trainer.grads);
    check_finite(mb.logp, "a token's log-probability");
    const double loss = call_objective(mb, objective);
    CHECK(mb.dlogp == dlogp, "an objective called linear in logp changed its derivative");
    return loss;
}

// Heads forward, the objective, heads backward.
double heads_step(Trainer& trainer, MicroBatch& mb, const Objective& objective) {
    Pass& pass = trainer.pass;
    const Wanted& wants = objective.wants;
    Logits logits;
    if (wants.logp)
        logits = token_logprob(pass, mb.tokens, mb.logp, wants.entropy ? &mb.entropy : nullptr,
                               mb.logits_stand);
    if (wants.value) row_score(pass, mb.value_rows, mb.value);
    if (wants.logit) token_logit(pass, mb.tokens, mb.logit);
    to_sequences(mb, mb.logp);
    to_sequences(mb, mb.entropy);
    check_finite(mb.logp, "a token's log-probability");
    check_finite(mb.value, "a value");
    check_finite(mb.logit, "a token's logit");

    const double loss = call_objective(mb, objective);
    check_finite(mb.dlogp, "dlogp");
    check_finite(mb.dvalue, "dvalue");
    check_finite(mb.dlogit, "dlogit");

    to_rows(mb, mb.dlogp);
    to_rows(mb, mb.dentropy);
    if (wants.logp)
        token_logprob_backward(pass, logits, mb.dlogp, wants.entropy ? &mb.dentropy : nullptr,
                               trainer.grads);
    if (wants.value) row_score_backward(pass, mb.value_rows, mb.dvalue, trainer.grads);
    if (wants.logit) token_logit_backward(pass, mb.tokens, mb.dlogit, trainer.grads);
    return loss;
}

// The pass holds the forward pass over the micro-batch.
double micro_batch_step(Trainer& trainer, MicroBatch& mb, const Objective& objective) {
    begin_backward(trainer.pass);
    const Wanted& wants = objective.wants;
    const bool linear = objective.linear_in_logp && wants.logp && !wants.value && !wants.logit;
    const double loss =
        linear ? linear_step(trainer, mb, objective) : heads_step(trainer, mb, objective);
    add_backward(trainer);
    return loss;
}

// As cut_micro_batches, of some of the sequences; the ranges are of `which`.
std::vector<std::pair<int, int>> cut(std::span<const TrainSequence> sequences,
                                     std::span<const int> which, int budget) {
    std::vector<std::pair<int, int>> cuts;
    const int S = (int)which.size();
    auto at = [&](int place) -> const TrainSequence& { return sequences[which[place]]; };
    int tokens = 0; // of the last cut
    for (int first = 0; first < S;) {
        int last = first + 1;
        while (last < S && at(first).bundle >= 0 && at(last).bundle == at(first).bundle) ++last;
        // What sequences first .. last-1 add to a micro-batch, behind sequence `before` or on their
        // own.
        auto cost = [&](int before) {
            int sum = 0;
            for (int s = first; s < last; ++s) {
                bool shares = before >= 0 && shares_prompt(at(before), at(s));
                int length = input_length(at(s), true);
                sum += length - (shares && length ? at(s).shared : 0);
                before = s;
            }
            return sum;
        };
        int more = cost(cuts.empty() ? -1 : first - 1);
        if (cuts.empty() || tokens + more > budget) {
            cuts.push_back({first, last});
            tokens = 0;
            more = cost(-1);
        }
        cuts.back().second = last;
        tokens += more;
        first = last;
    }
    return cuts;
}

// Consecutive sequences that belong to one bundle or one prompt: what one rank computes, and what at
// dist.determinism=2 is computed by itself, so that it does not matter beside what else.
std::vector<std::pair<int, int>> units(std::span<const TrainSequence> sequences) {
    std::vector<std::pair<int, int>> all;
    const int S = (int)sequences.size();
    for (int s = 0; s < S; ++s) {
        const bool goes_on =
            s > 0 &&
            ((sequences[s].bundle >= 0 && sequences[s].bundle == sequences[s - 1].bundle) ||
             shares_prompt(sequences[s - 1], sequences[s]));
        if (!goes_on) all.push_back({s, s});
        all.back().second = s + 1;
    }
    return all;
}

// Multiplications of a unit, up to a factor: a token meets every weight, and every token before it.
double cost_of(const ModelConfig& m, std::span<const TrainSequence> unit) {
    const double weights = (double)m.L * ((double)m.C * (m.qkv_width() + m.H * m.D + 3.0 * m.F)),
                 pairs = (double)m.L * m.H * m.D;
    double sum = 0;
    for (size_t s = 0; s < unit.size(); ++s) {
        const double L = input_length(unit[s], true);
        const bool shares = s > 0 && shares_prompt(unit[s - 1], unit[s]);
        const double own = L - (shares && L > 0 ? unit[s].shared : 0);
        sum += own * weights + own * L * pairs;
    }
    return sum;
}

// The units of this rank, in order; all of them without ranks.
std::vector<std::pair<int, int>> own_units(const Model& model,
                                           std::span<const TrainSequence> sequences) {
    std::vector<std::pair<int, int>> all = units(sequences), own;
    const Collectives* ranks = model.compute.ranks;
    if (!ranks) return all;
    std::vector<double> cost;
    for (auto [first, last] : all)
        cost.push_back(cost_of(model.config, sequences.subspan(first, last - first)));
    const std::vector<int> owner = deal(cost, ranks->ranks);
    for (size_t u = 0; u < all.size(); ++u)
        if (owner[u] == ranks->rank) own.push_back(all[u]);
    return own;
}

std::vector<int> sequences_of(std::span<const std::pair<int, int>> units) {
    std::vector<int> which;
    for (auto [first, last] : units)
        for (int s = first; s < last; ++s) which.push_back(s);
    return which;
}

void add_micro_batch(Trainer& trainer, const std::vector<TrainSequence>& sequences, MicroBatch& mb,
                     const Objective& objective, StepStats& stats) {
    beat();
    for (int s : mb.which) stats.tokens += (int64_t)sequences[s].ids.size();
    stats.targets += (int64_t)mb.tokens.rows.size(), stats.computed += mb.batch.tokens();
    if (mb.tokens.rows.empty()) return;
    stats.loss += micro_batch_step(trainer, mb, objective);
    ++stats.micro_batches;
}

// Forward and backward over some of the sequences, added to the gradients and to stats.
void add_sequences(Trainer& trainer, const std::vector<TrainSequence>& sequences,
                   const std::vector<int>& which, const Objective& objective, StepStats& stats) {
    for (auto [first, last] : cut(sequences, which, trainer.tokens_per_micro_batch)) {
        MicroBatch mb = make_micro_batch(sequences, std::span(which).subspan(first, last - first),
                                         objective.wants);
        if (!mb.tokens.rows.empty()) forward(trainer.pass, mb.batch);
        add_micro_batch(trainer, sequences, mb, objective, stats);
    }
}

// dist.determinism=2: each unit's gradient by itself, then all of them by integers.
void accumulate_order_free(Trainer& trainer, const std::vector<TrainSequence>& sequences,
                           const Objective& objective, StepStats& stats) {
    trainer.exact.begin(trainer.flat_grads.size());
    std::vector<UnitLoss> losses;
    for (auto unit : own_units(trainer.model, sequences)) {
        begin_gradients(trainer);
        StepStats of_unit;
        add_sequences(trainer, sequences, sequences_of({&unit, 1}), objective, of_unit);
        if (of_unit.micro_batches == 0) continue;
        trainer.add_exactly(trainer.flat_grads);
        losses.push_back({unit.first, of_unit.loss});
        stats.tokens += of_unit.tokens, stats.targets += of_unit.targets;
        stats.computed += of_unit.computed, stats.micro_batches += of_unit.micro_batches;
    }
    reduce_order_free(trainer, losses, stats);
}

} // namespace

std::vector<std::pair<int, int>> cut_micro_batches(std::span<const TrainSequence> sequences,
                                                   int budget) {
    std::vector<int> all(sequences.size());
    std::iota(all.begin(), all.end(), 0);
    return cut(sequences, all, budget);
}

StepStats accumulate_gradients(Trainer& trainer, const std::vector<TrainSequence>& sequences,
                               const Objective& objective, Recording* recording) {
    const double start = now();
    StepStats stats;
    const Collectives* ranks = trainer.model.compute.ranks;
    if (recording) {
        CHECK(recording->pass == &trainer.pass && objective.wants.logp && !objective.wants.value &&
                  !objective.wants.logit && !objective.linear_in_logp,
              "a recorded rollout gives log-probabilities and entropies, in its own pass");
        begin_gradients(trainer);
        MicroBatch mb = make_recorded_batch(sequences, *recording, objective.wants.temperature);
        add_micro_batch(trainer, sequences, mb, objective, stats);
        stats.recorded = stats.computed;
        recording->end();
        reduce_gradients(trainer, stats);
    } else if (ranks && ranks->order_free) {
        accumulate_order_free(trainer, sequences, objective, stats);
    } else {
        begin_gradients(trainer);
        const std::vector<int> own = sequences_of(own_units(trainer.model, sequences));
        add_sequences(trainer, sequences, own, objective, stats);
        reduce_gradients(trainer, stats);
    }
    stats.seconds = now() - start;
    return stats;
}

static void put(ByteWriter& message, const SequenceOutputs& row) {
    for (const auto* values : {&row.logp, &row.entropy, &row.value, &row.logit})
        message.put(*values);
}
static void get(ByteReader& message, SequenceOutputs& row) {
    for (auto* values : {&row.logp, &row.entropy, &row.value, &row.logit}) message.get(*values);
}

std::vector<SequenceOutputs> evaluate_sequences(Pass& pass,
                                                const std::vector<TrainSequence>& sequences,
                                                int tokens_per_micro_batch, const Wanted& wants) {
    std::vector<SequenceOutputs> outputs(sequences.size());
    const Collectives* ranks = pass.model.compute.ranks;
    const bool shares = ranks && ranks->share_work();
    const std::vector<int> own =
        sequences_of(shares ? own_units(pass.model, sequences) : units(sequences));
    for (auto [first, last] : cut(sequences, own, tokens_per_micro_batch)) {
        beat();
        MicroBatch mb =
            make_micro_batch(sequences, std::span(own).subspan(first, last - first), wants);
        if (mb.tokens.rows.empty()) continue;
        forward(pass, mb.batch);
        if (wants.logp || wants.entropy)
            token_logprob(pass, mb.tokens, mb.logp, wants.entropy ? &mb.entropy : nullptr);
        if (wants.value) row_score(pass, mb.value_rows, mb.value);
        if (wants.logit) token_logit(pass, mb.tokens, mb.logit);
        for (int i = 0; i < (int)mb.which.size(); ++i) {
            auto copy = [&](std::vector<double>& values) {
                std::span<double> some = part(values, mb, i);
                return std::vector<double>(some.begin(), some.end());
            };
            outputs[mb.which[i]] = {copy(mb.logp), copy(mb.entropy), copy(mb.value),
                                    copy(mb.logit)};
        }
    }
    if (!shares) return outputs;
    ByteWriter message;
    for (int s : own) message.put(s), put(message, outputs[s]);
    for (const std::string& bytes : ranks->gather(*ranks, message.bytes))
        for (ByteReader reader{bytes}; reader.more();) {
            int s = 0;
            reader.get(s);
            get(reader, outputs.at((size_t)s));
        }
    return outputs;
}
