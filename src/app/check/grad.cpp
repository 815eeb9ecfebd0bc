// rlhf check grad: every op that has a backward, every loss (losses.cpp), whole models of every family,
// and every reward model (rewards.cpp), against central differences in f64.
//
// For an op with outputs y, the loss is <y, dy> with a random dy, so that dLoss/dy = dy. The gradient of
// an input x is compared along random directions u:  d(h) = (loss(x + h u) - loss(x - h u)) / 2h  with
// <dx, u>, relative to the length of dx. (4 d(h) - d(2h)) / 3 cancels the error in h^2, which whole models
// need. With h = 1e-5 a right gradient shows an error near 1e-10, one that is wrong by a factor of 1.001
// in one term about 1e-3.

#include "app/check/check.h"
#include "base/rng.h"
#include "train/step.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <omp.h>

namespace {

constexpr double small_step = 1e-5; // h
constexpr int directions = 3;

// Tensors of one check, filled with random values.
struct Workbench {
    Arena arena{"gradient check"};
    Rng rng{1234};
    const Ops& ops = cpu_ops(DType::f64);

    Workbench() {
        arena.take("all", DType::u8, {(int64_t)64 << 20});
        arena.allocate();
    }
    Tensor zeros(std::initializer_list<int64_t> shape) {
        Tensor x = arena.take("x", DType::f64, shape);
        ops.fill_zero(x);
        return x;
    }
    Tensor randn(std::initializer_list<int64_t> shape) {
        Tensor x = arena.take("x", DType::f64, shape);
        for (int64_t i = 0; i < x.size(); ++i) x.as<double>()[i] = rng.normal();
        return x;
    }
    Tensor ids(const std::vector<int32_t>& values) {
        Tensor x = arena.take("ids", DType::i32, {(int64_t)values.size()});
        ops.upload(x, values.data());
        return x;
    }
};

double dot(Tensor a, Tensor b) {
    double sum = 0;
    for (int64_t i = 0; i < a.size(); ++i) sum += a.as<double>()[i] * b.as<double>()[i];
    return sum;
}

struct Input {
    const char* name;
    Tensor x, dx;
};
struct Output {
    Tensor y, dy;
};

// dx starts at zero and must be accumulated into.
void check_op(GradientTable& report, Workbench& bench, const std::string& op,
              std::vector<Input> inputs, std::vector<Output> outputs,
              const std::function<void()>& run, const std::function<void()>& back) {
    auto loss = [&] {
        run();
        double sum = 0;
        for (const Output& out : outputs) sum += dot(out.y, out.dy);
        return sum;
    };
    loss();
    back();
    for (const Input& input : inputs)
        report.row(op + "  d" + input.name, direction_error(input.x, input.dx, loss, bench.rng));
    bench.arena.rewind(0);
}

// A repeated id and one that does not occur.
void check_embedding(GradientTable& report, Workbench& b) {
    const Ops& ops = b.ops;
    Tensor w = b.randn({7, 5}), dw = b.zeros({7, 5}), y = b.zeros({4, 5}), dy = b.randn({4, 5});
    Tensor ids = b.ids({3, 0, 3, 6});
    check_op(
        report, b, "embedding", {{"w", w, dw}}, {{y, dy}},
        [&] { ops.embedding_forward(y, w, ids); }, [&] { ops.embedding_backward(dw, dy, ids); });
}

void check_gather_rows(GradientTable& report, Workbench& b) {
    const Ops& ops = b.ops;
    Tensor x = b.randn({6, 5}), dx = b.zeros({6, 5}), y = b.zeros({3, 5}), dy = b.randn({3, 5});
    Tensor rows = b.ids({5, 0, 2});
    check_op(
        report, b, "gather_rows", {{"x", x, dx}}, {{y, dy}}, [&] { ops.gather_rows(y, x, rows); },
        [&] { ops.scatter_rows(dx, dy, rows); });
}

void check_linear(GradientTable& report, Workbench& b) {
    const Ops& ops = b.ops;
    const int N = 5, O = 7, C = 9;
    Weight w{b.randn({O, C}), {}, {}};
    Tensor dw = b.zeros({O, C}), x = b.randn({N, C}), dx = b.zeros({N, C}), bias = b.randn({O});
    Tensor dbias = b.zeros({O}), y = b.zeros({N, O}), dy = b.randn({N, O});
    check_op(
        report, b, "linear", {{"x", x, dx}, {"w", w.w, dw}, {"bias", bias, dbias}}, {{y, dy}},
        [&] { ops.linear_forward(y, x, w, bias); },
        [&] { ops.linear_backward(dx, dw, dbias, dy, x, w); });
}

void check_rmsnorm(GradientTable& report, Workbench& b) {
    const Ops& ops = b.ops;
    const int N = 3, C = 17;
    Tensor x = b.randn({N, C}), dx = b.zeros({N, C}), w = b.randn({C}), dw = b.zeros({C});
    Tensor y = b.zeros({N, C}), s = b.zeros({N}), dy = b.randn({N, C});
    check_op(
        report, b, "rmsnorm", {{"x", x, dx}, {"w", w, dw}}, {{y, dy}},
        [&] { ops.rmsnorm_forward(y, s, x, w, 1e-5); },
        [&] { ops.rmsnorm_backward(dx, dw, s, dy, x, w); });
}

// Dz is both the gradient that arrives at z and the one that leaves for x and delta.
void check_residual_rmsnorm(GradientTable& report, Workbench& b) {
    const Ops& ops = b.ops;
    const int N = 3, C = 17;
    Tensor x = b.randn({N, C}), delta = b.randn({N, C}), w = b.randn({C}), dw = b.zeros({C});
    Tensor z = b.zeros({N, C}), y = b.zeros({N, C}), s = b.zeros({N});
    Tensor dy = b.randn({N, C}), dz = b.randn({N, C}), dz_above = b.zeros({N, C});
    ops.copy(dz_above, dz);
    check_op(
        report, b, "residual_rmsnorm", {{"x", x, dz}, {"delta", delta, dz}, {"w", w, dw}},
        {{y, dy}, {z, dz_above}}, [&] { ops.residual_rmsnorm_forward(z, y, s, x, delta, w, 1e-5); },
        [&] { ops.rmsnorm_backward(dz, dw, s, dy, z, w); });
}

void check_head_norm(GradientTable& report, Workbench& b) {
    const Ops& ops = b.ops;
    const int N = 3, H = 4, K = 2, D = 6, W = (H + 2 * K) * D;
    Tensor x = b.randn({N, W}), dx = b.zeros({N, W}), y = b.zeros({N, W}), dy = b.randn({N, W});
    Tensor wq = b.randn({D}), wk = b.randn({D}), dwq = b.zeros({D}), dwk = b.zeros({D});
    Tensor s = b.zeros({N, H + K});
    check_op(
        report, b, "head_norm", {{"x", x, dx}, {"wq", wq, dwq}, {"wk", wk, dwk}}, {{y, dy}},
        [&] { ops.head_norm_forward(y, s, x, wq, wk, H, K, 1e-6); },
        [&] { ops.head_norm_backward(dx, dwq, dwk, s, dy, x, wq, wk, H, K); });
}

// In place: the input's gradient is the output's, rotated back.
void check_rope(GradientTable& report, Workbench& b) {
    const Ops& ops = b.ops;
    const int N = 4, H = 3, K = 1, D = 6, W = (H + 2 * K) * D;
    Tensor x = b.randn({N, W}), y = b.zeros({N, W}), dy = b.randn({N, W}), dx = b.zeros({N, W});
    Tensor table = b.randn({9, D}), position = b.ids({0, 8, 3, 3});
    for (int i = 0; i < 9 * D / 2; ++i) { // cos and sin of a random angle
        double angle = table.as<double>()[i / (D / 2) * D + i % (D / 2)];
        table.as<double>()[i / (D / 2) * D + i % (D / 2)] = std::cos(angle);
        table.as<double>()[i / (D / 2) * D + D / 2 + i % (D / 2)] = std::sin(angle);
    }
    check_op(
        report, b, "rope", {{"qkv", x, dx}}, {{y, dy}},
        [&] {
            ops.copy(y, x);
            ops.rope_forward(y, position, table, H, K);
        },
        [&] {
            ops.copy(dx, dy);
            ops.rope_backward(dx, position, table, H, K);
        });
}

void check_attention(GradientTable& report, Workbench& b) {
    const Ops& ops = b.ops;
    struct AttentionCase {
        const char* name;
        std::vector<int32_t> begin, prefix, parent;
        int H, K, D;
    };
    const AttentionCase attention_cases[] = {
        {"attention, causal", {0, 1, 8, 79}, {0, 0, 0}, {-1, -1, -1}, 2, 2, 5},
        {"attention, grouped queries", {0, 3, 70}, {0, 0}, {-1, -1}, 6, 2, 8},
        {"attention, bidirectional prefix", {0, 9, 75}, {4, 66}, {-1, -1}, 3, 1, 6},
        {"attention, shared prompt", {0, 67, 70, 75}, {3, 0, 0}, {-1, 0, 0}, 4, 2, 6},
    };
    for (const AttentionCase& c : attention_cases) {
        const int N = c.begin.back(), W = (c.H + 2 * c.K) * c.D, S = (int)c.prefix.size();
        Tensor qkv = b.randn({N, W}), dqkv = b.zeros({N, W}), lse = b.zeros({N, c.H});
        Tensor y = b.zeros({N, c.H * c.D}), dy = b.randn({N, c.H * c.D});
        Ragged ragged;
        ragged.sequences = S;
        ragged.max_length = N;
        ragged.begin = b.ids(c.begin);
        ragged.prefix = b.ids(c.prefix);
        ragged.parent = b.ids(c.parent);
        check_op(
            report, b, c.name, {{"qkv", qkv, dqkv}}, {{y, dy}},
            [&] { ops.attention_forward(y, lse, qkv, ragged, c.H, c.K, 0.4); },
            [&] { ops.attention_backward(dqkv, dy, y, lse, qkv, ragged, c.H, c.K, 0.4); });
    }
}

void check_swiglu(GradientTable& report, Workbench& b) {
    const Ops& ops = b.ops;
    const int N = 4, F = 7;
    Tensor x = b.randn({N, 2 * F}), dx = b.zeros({N, 2 * F}), y = b.zeros({N, F});
    Tensor dy = b.randn({N, F});
    check_op(
        report, b, "swiglu", {{"gate_up", x, dx}}, {{y, dy}}, [&] { ops.swiglu_forward(y, x); },
        [&] { ops.swiglu_backward(dx, dy, x); });
}

void check_token_logprob(GradientTable& report, Workbench& b) {
    const Ops& ops = b.ops;
    for (double temperature : {1.0, 0.7}) {
        const int R = 5, V = 33;
        Tensor z = b.randn({R, V}), dz = b.zeros({R, V}), logp = b.zeros({R}), lse = b.zeros({R});
        Tensor entropy = b.zeros({R}), dlogp = b.randn({R}), dentropy = b.randn({R});
        Tensor target = b.ids({0, 32, 7, 7, 19});
        check_op(
            report, b, temperature == 1 ? "token_logprob" : "token_logprob, temperature 0.7",
            {{"logits", z, dz}}, {{logp, dlogp}, {entropy, dentropy}},
            [&] { ops.token_logprob_forward(logp, entropy, lse, z, target, temperature); },
            [&] {
                ops.copy(dz, z);
                ops.token_logprob_backward(dz, dlogp, dentropy, entropy, lse, target, temperature);
            });
    }
}

void check_ops(GradientTable& report) {
    Workbench b;
    for (auto check :
         {check_embedding, check_gather_rows, check_linear, check_rmsnorm, check_residual_rmsnorm,
          check_head_norm, check_rope, check_attention, check_swiglu, check_token_logprob})
        check(report, b);
}

// ---- whole models ----

struct ModelCase {
    const char* name;
    ModelConfig config;
};

std::vector<ModelCase> model_cases() {
    ModelConfig llama; // sizes that divide nothing, grouped queries
    llama.L = 2, llama.C = 15, llama.H = 4, llama.K = 2, llama.D = 6, llama.F = 21, llama.V = 37;
    llama.max_positions = 128;
    ModelConfig llama3 = llama;
    llama3.tied_embeddings = true;
    llama3.rope_scaling = {8, 1, 4, 32};
    ModelConfig qwen2 = llama;
    qwen2.family = "qwen2", qwen2.qkv_bias = true, qwen2.tied_embeddings = true;
    ModelConfig qwen3 = llama;
    qwen3.family = "qwen3", qwen3.head_norm = true, qwen3.D = 8;
    ModelConfig reward = llama;
    reward.head = Head::token_classification, reward.score_bias = true;
    ModelConfig both = llama;
    both.value_head = true;
    return {{"llama", llama},
            {"llama 3.1 rope, tied", llama3},
            {"qwen2", qwen2},
            {"qwen3", qwen3},
            {"llama, classification head", reward},
            {"llama, LM and value head", both}};
}

// Loss: sum over targets of a logp + b entropy + c value, with random a, b, c.
void check_model(GradientTable& report, const ModelCase& c) {
    ComputeConfig compute;
    compute.dtype = DType::f64;
    auto model = make_model(c.config, compute, false);
    Rng rng(99);
    randomise(*model, rng);
    const bool speaks = c.config.head == Head::lm, values = !speaks || c.config.value_head;

    std::vector<TrainSequence> sequences;
    for (int length : {2, 70, 5}) {
        TrainSequence sequence;
        for (int t = 0; t < length; ++t) sequence.ids.push_back(rng.below(c.config.V));
        for (int t = 1; t < length; t += 1 + rng.below(3)) sequence.target.push_back(t);
        sequences.push_back(sequence);
    }
    sequences[2].prefix = 3;
    std::vector<std::vector<double>> a, b, d;
    for (const TrainSequence& sequence : sequences)
        for (auto* weights : {&a, &b, &d}) {
            weights->emplace_back();
            for (size_t i = 0; i < sequence.target.size(); ++i)
                weights->back().push_back(rng.normal());
        }

    Objective objective;
    objective.wants.logp = objective.wants.entropy = speaks;
    objective.wants.value = values;
    objective.wants.value_at_own_token = true;
    objective.wants.temperature = 0.8;
    auto share = [&](int s, std::span<const double> logp, std::span<const double> entropy,
                     std::span<const double> value) {
        double sum = 0;
        for (size_t i = 0; i < a[s].size(); ++i)
            sum += (speaks ? a[s][i] * logp[i] + b[s][i] * entropy[i] : 0) +
                   (values ? d[s][i] * value[i] : 0);
        return sum;
    };
    objective.loss = [&](std::span<const TokenOutputs> outputs, std::span<TokenGrads> grads) {
        double loss = 0;
        for (size_t j = 0; j < outputs.size(); ++j) {
            const int s = outputs[j].index;
            loss += share(s, outputs[j].logp, outputs[j].entropy, outputs[j].value);
            for (size_t i = 0; i < a[s].size(); ++i) {
                if (speaks) grads[j].dlogp[i] = a[s][i], grads[j].dentropy[i] = b[s][i];
                if (values) grads[j].dvalue[i] = d[s][i];
            }
        }
        return loss;
    };

    Trainer trainer(*model, 1000, 8);
    accumulate_gradients(trainer, sequences, objective);
    auto loss = [&] {
        refresh_weights(model->params, *model->ops);
        auto outputs = evaluate_sequences(trainer.pass, sequences, 1000, objective.wants);
        double sum = 0;
        for (size_t s = 0; s < sequences.size(); ++s)
            sum += share((int)s, outputs[s].logp, outputs[s].entropy, outputs[s].value);
        return sum;
    };
    double worst = 0;
    std::string where;
    for (size_t i = 0; i < model->params.list.size(); ++i) {
        double error =
            direction_error(model->params.list[i].tensor, trainer.grads.list[i].tensor, loss, rng);
        if (!(error <= worst)) worst = error, where = model->params.list[i].name;
    }
    report.row(format("model, %s, %zu parameters", c.name, model->params.list.size()), worst);
    if (!(worst <= report.tolerance)) std::printf("  worst: %s\n", where.c_str());
}

} // namespace

// x += h u
static void move(Tensor x, const std::vector<double>& u, double h) {
    for (int64_t i = 0; i < x.size(); ++i) x.as<double>()[i] += h * u[i];
}

double direction_error(Tensor x, Tensor dx, const std::function<double()>& loss, Rng& rng) {
    double worst = 0;
    std::vector<double> u(x.size());
    std::vector<double> saved(x.as<double>(), x.as<double>() + x.size());
    for (int direction = 0; direction < directions; ++direction) {
        double want = 0, length = 0;
        for (int64_t i = 0; i < x.size(); ++i) {
            u[i] = rng.normal();
            want += dx.as<double>()[i] * u[i];
            length += dx.as<double>()[i] * dx.as<double>()[i];
        }
        auto at = [&](double h) {
            move(x, u, h);
            double value = loss();
            std::memcpy(x.data, saved.data(), x.bytes());
            return value;
        };
        double near = (at(small_step) - at(-small_step)) / (2 * small_step);
        double far = (at(2 * small_step) - at(-2 * small_step)) / (4 * small_step);
        double error = std::abs((4 * near - far) / 3 - want) / (std::sqrt(length) + 1e-3);
        if (!(error <= worst)) worst = error; // a NaN stays
    }
    return worst;
}

void randomise(const Model& model, Rng& rng) {
    for (const Param& param : model.params.list)
        for (int64_t i = 0; i < param.tensor.size(); ++i)
            param.tensor.as<double>()[i] = 0.3 * rng.normal() + (param.init == Init::one);
    refresh_weights(model.params, *model.ops);
}

void GradientTable::row(const std::string& name, double error) {
    bool passed = error <= tolerance; // false for NaN
    std::printf("%-44s %9.1e  %s\n", name.c_str(), error, passed ? "ok" : "FAILED");
    std::fflush(stdout);
    ++rows, failed += !passed;
}

int check_grad(const Args& args) {
    CHECK(args.overrides.empty(), "check grad takes no keys, found %s", args.overrides[0].c_str());
    omp_set_num_threads(1); // tiny tensors: threads would wait for one another more than they work
    auto start = std::chrono::steady_clock::now();
    GradientTable report;
    std::printf("%-44s %9s  verdict (at most %g)\n", "gradient", "error", report.tolerance);
    check_ops(report);
    check_losses(report);
    for (const ModelCase& c : model_cases()) check_model(report, c);
    check_rewards(report);
    double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    std::printf("%d gradients checked, %d failed, %.1f s\n", report.rows, report.failed, seconds);
    return report.failed ? 2 : 0;
}
