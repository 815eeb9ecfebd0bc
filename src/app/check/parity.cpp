// rlhf check parity model.path=DIR: the same numbers by different roads, on this model and machine.
//
//   cached decode     log-probabilities of sampled tokens, as drawn with the key/value cache among other
//                     sequences, against the full forward pass over each finished text alone
//   f32 vs f64        the same forward pass in double precision
//   bf16 GEMM vs f32  compute.gemm=bf16 against f32
//   micro-batches     the step's gradient with the sequences in 1, 2 and 4 micro-batches
//
// With compute.device=cuda the CPU's f32 is what the GPU is measured by, in f32 and in bf16:
//
//   cached decode, micro-batches   as above, on the GPU
//   cuda vs CPU                    log-probabilities, and the step's gradient
//   again                          the gradient a second time: the same bits

#include "app/check/check.h"
#include "base/rng.h"
#include "model/hf.h"
#include "rollout/generate.h"
#include "train/settings.h"
#include "train/sft_loss.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace {

struct ParityCompute {
    std::string device = "cpu";
    int threads = 0;
    void visit(Fields& v) {
        v.choice("device", device, {"cpu", "cuda"}, "what is checked; cuda: against the CPU");
        v.field("threads", threads, 0, 4096, "CPU threads; 0: one per core");
    }
};

struct ParityConfig {
    ModelSettings model;
    ParityCompute compute;
    void visit(Fields& v) {
        v.object("model", model, "the model to check");
        v.object("compute", compute, "the machine");
    }
};

struct Table {
    int failed = 0;
    void row(const std::string& name, double found, double limit, const char* unit) {
        bool passed = found <= limit; // false for NaN
        std::printf("%-44s %9.2e  limit %7.1e %-14s %s\n", name.c_str(), found, limit, unit,
                    passed ? "ok" : "FAILED");
        std::fflush(stdout);
        failed += !passed;
    }
};

using Logp = std::vector<std::vector<double>>; // per sequence, per completion token

std::unique_ptr<Model> load(const std::string& path, DType dtype, DType gemm, bool packed) {
    ComputeConfig compute;
    compute.dtype = dtype, compute.gemm = gemm;
    return load_model(path, compute, packed);
}
std::unique_ptr<Model> load_on_gpu(const std::string& path, DType dtype) {
    ComputeConfig compute;
    compute.dtype = dtype, compute.gpu = true;
    return load_model(path, compute, true);
}

// Prompts of random ids on both sides of a cache page's edge.
std::vector<std::vector<int32_t>> make_prompts(const ModelConfig& model) {
    Rng rng(17);
    std::vector<std::vector<int32_t>> prompts;
    for (int length : {1, 7, 63, 64, 90}) {
        auto& ids = prompts.emplace_back(std::min(length, model.max_positions / 2));
        for (int32_t& id : ids) id = rng.below(model.V);
    }
    return prompts;
}

// Texts of the model's own, two per prompt, as training sequences; their log-probabilities when drawn.
std::vector<TrainSequence> sample_texts(Model& model, Logp& drawn) {
    const auto prompts = make_prompts(model.config);
    SampleConfig sample;
    sample.n = 2;
    sample.max_new_tokens = std::min(24, model.config.max_positions / 2);
    std::vector<TrainSequence> sequences;
    for (const Completion& out : generate(model, prompts, sample)) {
        TrainSequence& sequence = sequences.emplace_back();
        sequence.ids = prompts[out.prompt];
        for (int32_t id : out.ids) {
            sequence.target.push_back((int)sequence.ids.size());
            sequence.ids.push_back(id);
        }
        drawn.emplace_back(out.logp.begin(), out.logp.end());
    }
    return sequences;
}

// By the full forward pass, one sequence at a time.
Logp full_forward(const Model& model, const std::vector<TrainSequence>& sequences) {
    Logp logp;
    Pass pass(model, 1, 1, false); // grows to the longest
    for (const TrainSequence& sequence : sequences)
        logp.push_back(evaluate_sequences(pass, {sequence}, 1, Wanted())[0].logp);
    return logp;
}

struct Difference {
    double largest = 0, mean = 0;
};
Difference compare(const Logp& a, const Logp& b) {
    Difference out;
    double sum = 0;
    int count = 0;
    for (size_t s = 0; s < std::min(a.size(), b.size()); ++s)
        for (size_t t = 0; t < a[s].size(); ++t, ++count) {
            double difference = std::abs(a[s][t] - b[s][t]);
            if (!(difference <= out.largest)) out.largest = difference; // a NaN stays
            sum += difference;
        }
    out.mean = sum / std::max(1, count);
    return out;
}

// With GEMMs that give a row the same bits in any batch, so must the rest: no difference at all.
void check_decode(Table& table, DType gemm, const Logp& drawn, const Logp& full) {
    const bool exact = cpu_gemm_is_batch_invariant(gemm);
    const char* name = gemm == DType::bf16 ? "cached decode vs full forward, bf16 GEMM"
                                           : "cached decode vs full forward, f32";
    table.row(name, compare(drawn, full).largest,
              exact                 ? 0
              : gemm == DType::bf16 ? 0.25
                                    : 1e-3,
              exact ? "nats, bitwise" : "nats");
}

using Gradients = std::vector<std::vector<float>>; // per parameter

Gradients gradients(Trainer& trainer, const std::vector<TrainSequence>& sequences,
                    int micro_batches, double& loss) {
    // Bundles force the cut: sequences first .. last-1 of a part stay together, and no two parts fit
    // into one budget.
    std::vector<TrainSequence> bundled = sequences;
    for (size_t s = 0; s < bundled.size(); ++s)
        bundled[s].bundle = (int)(s * (size_t)micro_batches / bundled.size());
    trainer.tokens_per_micro_batch = 1;
    StepStats stats = accumulate_gradients(trainer, bundled, sft_loss(sequences));
    CHECK(stats.micro_batches == micro_batches, "wanted %d micro-batches, made %d", micro_batches,
          stats.micro_batches);
    loss = stats.loss;
    Gradients all;
    for (const Param& grad : trainer.grads.list)
        trainer.model.ops->download(all.emplace_back(grad.tensor.size()).data(), grad.tensor);
    return all;
}

// |a - b| / |b|
double distance(const Gradients& a, const Gradients& b) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < b.size(); ++i)
        for (size_t j = 0; j < b[i].size(); ++j) {
            double d = (double)a[i][j] - b[i][j];
            difference += d * d, norm += (double)b[i][j] * b[i][j];
        }
    return std::sqrt(difference / norm);
}

// Cuts the step into 2 and 4 micro-batches. limit: of the gradient, as a part of its norm.
void check_micro_batches(Table& table, const std::string& what, Trainer& trainer,
                         const std::vector<TrainSequence>& sequences, const Gradients& whole,
                         double loss, double limit) {
    for (int cuts : {2, 4}) {
        double cut_loss = 0;
        const Gradients parts = gradients(trainer, sequences, cuts, cut_loss);
        table.row(format("%sgradient of %d micro-batches vs 1", what.c_str(), cuts),
                  distance(parts, whole), limit, "of its norm");
        table.row(format("%sloss of %d micro-batches vs 1", what.c_str(), cuts),
                  std::abs(cut_loss - loss), limit / 10, "nats");
    }
}

void check_cpu(Table& table, const std::string& path) {
    Logp drawn, full;
    std::vector<TrainSequence> sequences;
    {
        auto model = load(path, DType::f32, DType::f32, true);
        sequences = sample_texts(*model, drawn);
        full = full_forward(*model, sequences);
        check_decode(table, DType::f32, drawn, full);
        Trainer trainer(*model, 1, (int)sequences.size());
        double loss = 0;
        const Gradients whole = gradients(trainer, sequences, 1, loss);
        check_micro_batches(table, "", trainer, sequences, whole, loss, 1e-5);
    }
    try {
        auto model = load(path, DType::f32, DType::bf16, true);
        // bf16 keeps 8 bits; over a model's depth the rounding adds up to some hundredths of a nat.
        Difference rounding = compare(full_forward(*model, sequences), full);
        table.row("bf16 GEMM vs f32, mean over tokens", rounding.mean, 0.05, "nats");
        table.row("bf16 GEMM vs f32, largest", rounding.largest, 0.5, "nats");
        Logp drawn_bf16;
        auto texts = sample_texts(*model, drawn_bf16);
        check_decode(table, DType::bf16, drawn_bf16, full_forward(*model, texts));
    } catch (const Error& error) {
        std::printf("bf16 GEMM vs f32: skipped: %s\n", error.what());
    }
    {
        // The f64 GEMM is a plain loop: the two texts of the shortest prompt have to do.
        auto model = load(path, DType::f64, DType::f32, false);
        std::vector<TrainSequence> few(sequences.begin(),
                                       sequences.begin() + std::min<size_t>(2, sequences.size()));
        table.row("f32 vs f64, largest", compare(full_forward(*model, few), full).largest, 1e-3,
                  "nats");
    }
}

// bf16 rounds weights and activations to 8 bits: some hundredths of a nat, and a gradient of tiny models that is
// 0.1 of its norm away, as PyTorch's in bf16 is; up to 0.22 by the texts that were drawn.
void check_cuda(Table& table, const std::string& path) {
    for (DType dtype : {DType::f32, DType::bf16}) {
        const bool rounds = dtype == DType::bf16;
        const std::string name = std::string("cuda ") + dtype_name(dtype);
        Logp drawn, full;
        std::vector<TrainSequence> sequences;
        Gradients found;
        {
            auto model = load_on_gpu(path, dtype);
            sequences = sample_texts(*model, drawn);
            full = full_forward(*model, sequences);
            table.row(name + ", cached decode vs full forward", compare(drawn, full).largest,
                      rounds ? 0.25 : 1e-3, "nats");
            Trainer trainer(*model, 1, (int)sequences.size());
            double loss = 0;
            found = gradients(trainer, sequences, 1, loss);
            check_micro_batches(table, name + ", ", trainer, sequences, found, loss,
                                rounds ? 2e-2 : 1e-5);
            table.row(name + ", gradient again",
                      distance(gradients(trainer, sequences, 1, loss), found), 0, "bitwise");
        }
        auto model = load(path, DType::f32, DType::f32, true);
        const Difference off = compare(full, full_forward(*model, sequences));
        table.row(name + " vs CPU f32, mean over tokens", off.mean, rounds ? 0.05 : 1e-4, "nats");
        table.row(name + " vs CPU f32, largest", off.largest, rounds ? 0.5 : 1e-3, "nats");
        Trainer trainer(*model, 1, (int)sequences.size());
        double loss = 0;
        table.row(name + " vs CPU f32, gradient",
                  distance(found, gradients(trainer, sequences, 1, loss)), rounds ? 0.3 : 1e-3,
                  "of its norm");
    }
}

} // namespace

int check_parity(const Args& args) {
    ParityConfig config;
    load_config(config, args);
    CHECK(!config.model.path.empty(), "check parity needs a model: model.path=DIR");
    ComputeSettings compute;
    compute.device = config.compute.device, compute.threads = config.compute.threads;
    const bool gpu = apply_compute(compute).gpu;
    const std::string& path = config.model.path;
    CHECK(read_model_config(model_directory(path)).head == Head::lm,
          "%s is a reward model without a vocabulary head; check parity needs a language model",
          path.c_str());
    Table table;
    gpu ? check_cuda(table, path) : check_cpu(table, path);
    std::printf("%s\n", table.failed ? format("%d checks FAILED", table.failed).c_str()
                                     : "every check passed");
    return table.failed ? 2 : 0;
}
