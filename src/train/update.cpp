// The flat arrays of a trainer and what is done to them: sums over the ranks, global norm, AdamW.
//
//   G = sum over the ranks of their gradients; rank r gets part r      reduce-scatter
//   norm^2 = sum over all of G_i^2                                     in f64, all-reduce
//   AdamW on part r of masters and moments
//   the parts of the weights that the network reads                   all-gather
//
// With one rank the part is the whole, and nothing is sent.

#include "base/bytes.h"
#include "model/hf.h"
#include "ops/values.h"
#include "train/diverged.h"
#include "train/step.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <numeric>
#include <utility>

static double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

static constexpr int step_sums =
    4; // loss, tokens, targets, computed: behind those of the parameters

using Piece = Trainer::Piece;

Piece Trainer::place(size_t parameter) const {
    const Tensor& grad = grads.list[parameter].tensor;
    return {((char*)grad.data - (char*)flat_grads.data) / (int64_t)dtype_bytes(grad.dtype),
            grad.size()};
}

Piece Trainer::own_piece(size_t parameter) const {
    const Piece all = place(parameter), own = part();
    const int64_t first = std::max(all.first, own.first);
    const int64_t last = std::min(all.first + all.count, own.first + own.count);
    return {first, std::max<int64_t>(0, last - first)};
}

// The layers lie side by side.
Piece Trainer::layers() const {
    auto at = [&](const Tensor& x) {
        return ((char*)x.data - (char*)flat_grads.data) / (int64_t)dtype_bytes(x.dtype);
    };
    const int64_t first = at(grads.layer[0].qkv.w);
    return {first, at(grads.norm) - first};
}

void begin_gradients(Trainer& trainer) {
    const Piece layers = trainer.layers();
    const int64_t end = layers.first + layers.count;
    const Ops& ops = *trainer.model.ops;
    ops.fill_zero(trainer.flat_grads.elements(0, layers.first));
    ops.fill_zero(trainer.flat_grads.elements(end, trainer.flat_grads.size() - end));
    trainer.none_yet = true;
}

void add_backward(Trainer& trainer) {
    backward(trainer.pass, trainer.grads, std::exchange(trainer.none_yet, false));
}

// From the weights' file, where there is one: the model in hand holds them rounded already.
static void fill_master(Trainer& trainer) {
    const Model& model = trainer.model;
    const int64_t begin = trainer.part().first;
    auto fill = [&](size_t i, int64_t first, const float* values, int64_t count) {
        const Piece own = trainer.own_piece(i);
        const int64_t at = trainer.place(i).first + first; // of values[0]
        const int64_t from = std::max(at, own.first);
        const int64_t to = std::min(at + count, own.first + own.count);
        if (from < to)
            upload_values(*model.ops, trainer.master, from - begin, values + (from - at),
                          to - from);
    };
    std::vector<float> values;
    for (size_t i = 0; i < model.params.list.size(); ++i) {
        const Piece own = trainer.own_piece(i);
        values.resize(own.count);
        if (!own.count) continue;
        download_values(*model.ops, values.data(), model.params.list[i].tensor,
                        own.first - trainer.place(i).first, own.count);
        fill(i, own.first - trainer.place(i).first, values.data(), own.count);
    }
    if (!model.source.empty()) for_each_stored(model, model.source, true, fill);
}

Trainer::Trainer(Model& model_, int budget, int max_sequences)
    : model(model_), pass(model_, budget, max_sequences, true), tokens_per_micro_batch(budget) {
    const Ops& ops = *model.ops;
    const DType dtype = wide_dtype(model.compute.dtype);
    const int parts = model.compute.parts();
    auto layout_grads = [&] { layout_params(grads, model.config, grad_arena, dtype, parts); };
    layout_grads();
    grad_arena.allocate(ops.alloc, ops.free);
    layout_grads();
    flat_grads = flat_array(grad_arena, dtype);
    const int64_t size = flat_grads.size() / parts;
    auto layout_moments = [&] {
        m = moment_arena.take("m", dtype, {size}), v = moment_arena.take("v", dtype, {size});
        if (model.compute.dtype != dtype) master = moment_arena.take("master", dtype, {size});
        sums = moment_arena.take("sums", DType::f64, {(int64_t)grads.list.size() + step_sums});
    };
    layout_moments();
    moment_arena.allocate(ops.alloc, ops.free);
    layout_moments();
    if (master) fill_master(*this);
}

static void check_loss(const StepStats& stats) {
    CHECK_FINITE(std::isfinite(stats.loss), "the loss is not finite (%g); lower optim.lr",
                 stats.loss);
}

// Squares of this rank's part, added to sums_i per parameter i; or `together` to sums_0: one launch.
static void add_squares(Trainer& trainer, bool together) {
    const Ops& ops = *trainer.model.ops;
    auto add = [&](Piece piece, size_t i) {
        if (piece.count)
            ops.sumsq(trainer.sums.elements((int64_t)i, 1),
                      trainer.flat_grads.elements(piece.first, piece.count));
    };
    if (together) return add(trainer.part(), 0);
    for (size_t i = 0; i < trainer.grads.list.size(); ++i) add(trainer.own_piece(i), i);
}

// The first parameter whose gradient is not finite.
static std::string name_of_bad(Trainer& trainer) {
    const Ops& ops = *trainer.model.ops;
    ops.fill_zero(trainer.sums);
    add_squares(trainer, false);
    if (const Collectives* ranks = trainer.model.compute.ranks)
        ranks->all_reduce(*ranks, trainer.sums);
    const std::vector<double> sums = download_values(ops, trainer.sums);
    for (size_t i = 0; i < trainer.grads.list.size(); ++i)
        if (!std::isfinite(sums[i])) return trainer.grads.list[i].name;
    return "all parameters together";
}

void reduce_gradients(Trainer& trainer, StepStats& stats) {
    const Ops& ops = *trainer.model.ops;
    const Collectives* ranks = trainer.model.compute.ranks;
    const size_t P = trainer.grads.list.size();
    if (const Piece layers = trainer.layers();
        std::exchange(trainer.none_yet, false)) // no micro-batch
        ops.fill_zero(trainer.flat_grads.elements(layers.first, layers.count));
    if (ranks) ranks->reduce_scatter(*ranks, trainer.flat_grads);
    ops.fill_zero(trainer.sums);
    add_squares(trainer, trainer.model.compute.gpu);
    if (ranks) {
        const double mine[step_sums] = {stats.loss, (double)stats.tokens, (double)stats.targets,
                                        (double)stats.computed};
        ops.upload(trainer.sums.elements((int64_t)P, step_sums), mine);
        ranks->all_reduce(*ranks, trainer.sums);
    }
    std::vector<double> sums(P + step_sums);
    ops.download(sums.data(), trainer.sums);
    if (ranks) {
        stats.loss = sums[P], stats.tokens = std::llround(sums[P + 1]);
        stats.targets = std::llround(sums[P + 2]), stats.computed = std::llround(sums[P + 3]);
    }
    const double sum = std::accumulate(sums.begin(), sums.begin() + (int64_t)P, 0.0);
    CHECK_FINITE(std::isfinite(sum),
                 "the gradient of %s is not finite; lower optim.lr or optim.grad_clip",
                 name_of_bad(trainer).c_str());
    stats.grad_norm = std::sqrt(sum);
    check_loss(stats);
}

void Trainer::add_exactly(const Tensor& gradients) {
    const int64_t bad = exact.add(gradients);
    if (bad < 0) return;
    std::string name = "no parameter";
    for (size_t i = 0; i < grads.list.size(); ++i)
        if (bad >= place(i).first && bad < place(i).first + place(i).count)
            name = grads.list[i].name;
    CHECK_FINITE(false,
                 "the gradient of %s is not finite, or larger than dist.determinism=2 adds up "
                 "(%g); lower optim.lr or optim.grad_clip",
                 name.c_str(), FixedPointSum::most);
}

// What a rank knows of a step before it is added up.
struct RankSums {
    StepStats stats;
    double largest = 0;
    int64_t terms = 0;
    ExactSum squares;
};

void reduce_order_free(Trainer& trainer, const std::vector<UnitLoss>& losses, StepStats& stats) {
    const Collectives& ranks = *trainer.model.compute.ranks;
    FixedPointSum& exact = trainer.exact;
    ranks.sum_integers(ranks, exact.parts.data(), (int64_t)exact.parts.size());
    const Piece own = trainer.part();
    RankSums mine{stats, exact.largest, exact.terms, {}};
    for (int64_t e = own.first; e < own.first + own.count; ++e) {
        const double g = exact.value(e);
        if (trainer.flat_grads.dtype == DType::f64)
            trainer.flat_grads.as<double>()[e] = g;
        else
            trainer.flat_grads.as<float>()[e] = (float)g;
        mine.squares.add(g * g);
    }
    ByteWriter message;
    message.put(mine), message.put(losses);
    std::vector<UnitLoss> all, some;
    RankSums sum;
    for (const std::string& bytes : ranks.gather(ranks, message.bytes)) {
        ByteReader reader{bytes};
        RankSums other;
        reader.get(other), reader.get(some);
        all.insert(all.end(), some.begin(), some.end());
        sum.stats.tokens += other.stats.tokens, sum.stats.targets += other.stats.targets;
        sum.stats.computed += other.stats.computed;
        sum.stats.micro_batches += other.stats.micro_batches;
        sum.largest += other.largest, sum.terms += other.terms;
        sum.squares.add(other.squares);
    }
    CHECK(sum.largest < FixedPointSum::most && sum.terms <= FixedPointSum::most_terms,
          "a step of %lld prompts or rows, whose largest gradients add up to %g, is more than "
          "dist.determinism=2 can add up (%lld and %g); use dist.determinism=1",
          (long long)sum.terms, sum.largest, (long long)FixedPointSum::most_terms,
          FixedPointSum::most);
    std::sort(all.begin(), all.end(), [](const UnitLoss& a, const UnitLoss& b) {
        return a.first_sequence < b.first_sequence;
    });
    stats = sum.stats;
    for (const UnitLoss& unit : all) stats.loss += unit.loss;
    stats.grad_norm = std::sqrt(sum.squares.value());
    check_loss(stats);
}

void apply_update(Trainer& trainer, const OptimConfig& optim, double lr, StepStats& stats) {
    const double start = now();
    const Model& model = trainer.model;
    const Ops& ops = *model.ops;
    const bool clip = optim.grad_clip > 0 && stats.grad_norm > optim.grad_clip;
    const double scale = clip ? optim.grad_clip / (stats.grad_norm + 1e-6) : 1;
    ++trainer.t;
    const Tensor weights = flat_array(model.weights, model.compute.dtype);
    const int64_t begin = trainer.part().first;
    auto update = [&](Piece piece, bool decays) {
        auto own = [&](Tensor part) { return part.elements(piece.first - begin, piece.count); };
        Tensor read = weights.elements(piece.first, piece.count);
        ops.adamw(trainer.master ? own(trainer.master) : read, trainer.master ? read : Tensor(),
                  own(trainer.m), own(trainer.v),
                  trainer.flat_grads.elements(piece.first, piece.count), scale, lr, optim.beta1,
                  optim.beta2, optim.eps, decays ? optim.weight_decay : 0, trainer.t);
    };
    // Neighbours of one decay in one call, the gaps between them with it.
    Piece run;
    bool run_decays = false;
    for (size_t i = 0; i < trainer.grads.list.size(); ++i) {
        const Piece own = trainer.own_piece(i);
        if (!own.count) continue;
        const bool decays = trainer.grads.list[i].tensor.rank > 1; // none on norms and biases
        if (run.count && decays != run_decays) update(run, run_decays), run = {};
        if (!run.count) run = own, run_decays = decays;
        run.count = own.first + own.count - run.first;
    }
    if (run.count) update(run, run_decays);
    if (const Collectives* ranks = model.compute.ranks) ranks->all_gather(*ranks, weights);
    refresh_weights(model.params, ops);
    stats.seconds += now() - start;
}

void publish_weights(Trainer& trainer) {
    const Model& model = trainer.model;
    const Tensor weights = flat_array(model.weights, model.compute.dtype);
    if (trainer.master) {
        const int64_t chunk = 1 << 20;
        std::vector<float> values(chunk);
        for (int64_t at = 0; at < trainer.master.size(); at += chunk) {
            const int64_t count = std::min(chunk, trainer.master.size() - at);
            download_values(*model.ops, values.data(), trainer.master, at, count);
            upload_values(*model.ops, weights, trainer.part().first + at, values.data(), count);
        }
        if (const Collectives* ranks = model.compute.ranks) ranks->all_gather(*ranks, weights);
    }
    refresh_weights(model.params, *model.ops);
}

Tensor whole_array(const Trainer& trainer, Tensor part) {
    const Collectives* ranks = trainer.model.compute.ranks;
    if (!ranks) return part;
    trainer.model.ops->copy(trainer.flat_grads.elements(trainer.part().first, part.size()), part);
    ranks->all_gather(*ranks, trainer.flat_grads);
    return trainer.flat_grads;
}

Params full_weights(const Trainer& trainer) {
    Params full;
    if (!trainer.master) {
        full.list = trainer.model.params.list;
        return full;
    }
    const Tensor all = whole_array(trainer, trainer.master);
    full.list = trainer.grads.list;
    for (size_t i = 0; i < full.list.size(); ++i) {
        Tensor& tensor = full.list[i].tensor;
        tensor.data = all.elements(trainer.place(i).first, tensor.size()).data;
    }
    return full;
}

void wait_for_ranks(Trainer& trainer) {
    const Collectives* ranks = trainer.model.compute.ranks;
    if (!ranks) return;
    ranks->all_reduce(*ranks, trainer.sums);
    double any = 0;
    trainer.model.ops->download(&any, trainer.sums.elements(0, 1));
}
