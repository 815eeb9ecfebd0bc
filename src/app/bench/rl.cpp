// rlhf bench rl: a GRPO step on random rewards. `batch` completions in groups draw new_tokens tokens each (EOS
// is barred), and one optimiser step trains on all of them. Prompts of a group are computed once, in both.
//
// The line of stations is that of app/cmd_rl.cpp without what a measurement has not: prompts are random ids and
// the reward is a coin, so there is no task, no credit and nobody to consult.

#include "app/bench/bench.h"
#include "app/rl_learner.h"
#include "base/rng.h"
#include "rl/advantage.h"
#include "rl/select.h"

#include <algorithm>
#include <cmath>

namespace {
struct Drawn {
    Rollouts r;
    RolloutTexts texts;
};
// Of one step.
struct RlWork {
    Work drawing, training;
};
} // namespace

static Drawn draw(Model& model, const std::vector<std::vector<int32_t>>& prompts,
                  const SampleConfig& sample, uint32_t step, Recording& recording, Rng& rng) {
    Drawn drawn{{}, {prompts, {}}};
    for (Completion& completion : generate(model, prompts, sample, step, nullptr, {}, &recording)) {
        add_completion(drawn.r, drawn.texts.completion, std::move(completion));
        drawn.r.reward.push_back(rng.below(2));
    }
    return drawn;
}

static RlWork work_of(const std::vector<std::vector<int32_t>>& prompts, int G, double n) {
    RlWork work;
    for (const auto& prompt : prompts) {
        const double T = (double)prompt.size();
        work.drawing.add(T,
                         1); // the prompt once, then each sample's tokens; the last one is not fed
        work.training.add(T - 1, 0);
        for (int g = 0; g < G; ++g) {
            work.drawing.N += n - 1;
            work.drawing.R += n;
            work.drawing.A += (n - 1) * (T + n / 2);
            work.training.N += n;
            work.training.R += n;
            work.training.A += n * (T - 1 + (n + 1) / 2);
        }
    }
    return work;
}

int bench_rl(const BenchConfig& config) {
    const int G = config.bench.group, P = config.bench.batch / G, repeats = config.bench.repeats;
    CHECK(
        P * G == config.bench.batch,
        "bench.batch=%d is not a multiple of bench.group=%d: a step is whole groups of completions",
        config.bench.batch, G);
    const Machine machine = find_machine(config);
    auto model = open_model(config, machine, true);
    const ModelConfig& m = model->config;
    const int budget = config.train.tokens_per_micro_batch;
    Trainer trainer(*model, budget, config.bench.batch + P);
    SampleConfig sample;
    sample.n = G, sample.batch = config.bench.batch;
    sample.max_new_tokens = sample.min_new_tokens = config.bench.new_tokens;
    const AlgoConfig algo = preset_algorithm("grpo");
    const auto prompts = make_prompts(config, *model, (size_t)P);

    Rng rng(1);
    std::vector<double> seconds, decode, train;
    bool recorded = false; // training has no forward pass of its own
    const TimedRun timed = measure(*model, machine, repeats, [&](int step) {
        const double start = machine.clock();
        Recording recording(trainer.pass, budget);
        const auto [r, texts] = draw(*model, prompts, sample, (uint32_t)step, recording, rng);
        const double drawn = machine.clock();
        const Advantages A = advantages(r, algo);
        const Selection kept = select(r, A, algo, SelectConfig(), step);
        UpdateSettings settings;
        settings.recording = &recording;
        recorded = recording.holds();
        update_policy(trainer, r, texts, kept, algo, settings);
        const double end = machine.clock();
        if (step == 0 || step > repeats) return;
        seconds.push_back(end - start);
        decode.push_back(drawn - start), train.push_back(end - drawn);
    });

    const auto [drawing, training] = work_of(prompts, G, config.bench.new_tokens);
    const int passes = recorded ? 2 : 3; // of training, each as much work as a forward pass
    const double flop = forward_flop(m, drawing) + passes * forward_flop(m, training);
    const double step = median(seconds);
    const int64_t rows = std::max<int64_t>(1, std::llround(std::min(training.N, (double)budget)));
    Json report = describe(config, machine, "rl");
    report["group"] = G;
    report["new_tokens"] = config.bench.new_tokens;
    report["recorded"] = recorded;
    report["tokens_per_s"] = (double)config.bench.batch * config.bench.new_tokens / step;
    report["generate_seconds"] = median(decode);
    report["train_seconds"] = median(train);
    add_rates(report, machine, step, flop / step,
              gemm_peak(*model, machine, rows, std::min<int64_t>(rows, trainer.pass.chunk),
                        training.R / training.N, true));
    add_ops(report, machine, timed);
    print_report(
        config, report,
        format("FLOP/step = (2 N P + 2 R V C + 4 L H D A) drawing, N = %.0f, R = %.0f, A = "
               "%.0f,\nand %d (...) training, N = %.0f, R = %.0f, A = %.0f; P = %.0f, V = %d, "
               "C = %d, L = %d, H = %d, D = %d;\ntokens_per_s counts new tokens; the GEMM "
               "peak is that of training",
               drawing.N, drawing.R, drawing.A, passes, training.N, training.R, training.A,
               m.L * layer_weights(m), m.V, m.C, m.L, m.H, m.D));
    return 0;
}
