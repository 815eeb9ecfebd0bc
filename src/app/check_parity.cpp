// rlhf check parity model.path=DIR: the same numbers by different roads, on this model and machine.
//
//   cached decode     log-probabilities of sampled tokens, as drawn with the key/value cache among other
//                     sequences, against the full forward pass over each finished text alone
//   f32 vs f64        the same forward pass in double precision
//   bf16 GEMM vs f32  compute.gemm=bf16 against f32
//   micro-batches     the step's gradient with the sequences in 1, 2 and 4 micro-batches

#include "app/check.h"
#include "base/rng.h"
#include "model/hf.h"
#include "rollout/generate.h"
#include "train/settings.h"
#include "train/sft_loss.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace {

struct ThreadSettings {
    int threads = 0;
    void visit(Fields& v) { v.field("threads", threads, 0, 4096, "CPU threads; 0: one per core"); }
};

struct ParityConfig {
    ModelSettings model;
    ThreadSettings compute;
    void visit(Fields& v) {
        v.object("model", model, "the model to check");
        v.object("compute", compute, "the machine");
    }
};

struct Table {
    int failed = 0;
    void row(const char* name, double found, double limit, const char* unit) {
        bool passed = found <= limit; // false for NaN
        std::printf("%-42s %9.2e  limit %7.1e %-14s %s\n", name, found, limit, unit,
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
        logp.push_back(evaluate_sequences(pass, {sequence}, 1, OutputOptions())[0].logp);
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

std::vector<std::vector<float>> gradients(Trainer& trainer,
                                          const std::vector<TrainSequence>& sequences,
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
    std::vector<std::vector<float>> all;
    for (const Param& grad : trainer.grads.list)
        trainer.model.ops->download(all.emplace_back(grad.tensor.size()).data(), grad.tensor);
    return all;
}

void check_micro_batches(Table& table, Model& model, const std::vector<TrainSequence>& sequences) {
    Trainer trainer(model, 1, (int)sequences.size());
    double loss = 0;
    const auto whole = gradients(trainer, sequences, 1, loss);
    for (int cuts : {2, 4}) {
        double cut_loss = 0, difference = 0, norm = 0;
        const auto parts = gradients(trainer, sequences, cuts, cut_loss);
        for (size_t i = 0; i < whole.size(); ++i)
            for (size_t j = 0; j < whole[i].size(); ++j) {
                double d = (double)parts[i][j] - whole[i][j];
                difference += d * d, norm += (double)whole[i][j] * whole[i][j];
            }
        table.row(format("gradient of %d micro-batches vs 1", cuts).c_str(),
                  std::sqrt(difference / norm), 1e-5, "of its norm");
        table.row(format("loss of %d micro-batches vs 1", cuts).c_str(), std::abs(cut_loss - loss),
                  1e-6, "nats");
    }
}

} // namespace

int check_parity(const Args& args) {
    ParityConfig config;
    load_config(config, args);
    CHECK(!config.model.path.empty(), "check parity needs a model: model.path=DIR");
    ComputeSettings compute;
    compute.threads = config.compute.threads;
    apply_compute(compute);
    const std::string& path = config.model.path;
    Table table;

    Logp drawn, full;
    std::vector<TrainSequence> sequences;
    {
        auto model = load(path, DType::f32, DType::f32, true);
        CHECK(model->config.head == Head::lm,
              "%s is a reward model without a vocabulary head; check parity needs a language model",
              path.c_str());
        sequences = sample_texts(*model, drawn);
        full = full_forward(*model, sequences);
        check_decode(table, DType::f32, drawn, full);
        check_micro_batches(table, *model, sequences);
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
    std::printf("%s\n", table.failed ? format("%d checks FAILED", table.failed).c_str()
                                     : "every check passed");
    return table.failed ? 2 : 0;
}
