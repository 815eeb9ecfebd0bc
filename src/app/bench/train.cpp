// rlhf bench train: training steps on rows of ids; the optimiser's rate is 0, so that they are alike.

#include "app/bench/bench.h"
#include "train/sft_loss.h"

#include <algorithm>
#include <cmath>

int bench_train(const BenchConfig& config) {
    const Machine machine = find_machine(config);
    auto model = open_model(config, machine, false);
    const ModelConfig& m = model->config;
    const int B = config.bench.batch, repeats = config.bench.repeats;
    const auto sequences = make_sequences(config, *model, (size_t)B * (repeats + 2));
    Trainer trainer(*model, config.train.tokens_per_micro_batch, B);

    std::vector<double> seconds, token_rates,
        flop_rates; // medians of these: steps differ in length
    Work all;
    int64_t micro_batches = 0, tokens = 0;
    const TimedRun timed = measure(*model, machine, repeats, [&](int r) {
        std::vector<TrainSequence> step(sequences.begin() + (size_t)r * B,
                                        sequences.begin() + (size_t)(r + 1) * B);
        double start = machine.clock();
        StepStats stats = accumulate_gradients(trainer, step, sft_loss(step));
        apply_update(trainer, OptimConfig(), 0, stats); // rate 0: the weights stay
        double elapsed = machine.clock() - start;
        if (r == 0 || r > repeats) return;
        Work work;
        for (const TrainSequence& sequence : step)
            if (!sequence.target.empty()) // tokens behind the last target are not fed
                work.add(sequence.target.back(), (double)sequence.target.size());
        all.N += work.N, all.R += work.R, all.A += work.A;
        seconds.push_back(elapsed);
        token_rates.push_back((double)stats.tokens / elapsed);
        flop_rates.push_back(3 * forward_flop(m, work) / elapsed);
        tokens += stats.tokens, micro_batches += stats.micro_batches;
    });

    const int64_t rows = std::max<int64_t>(1, std::llround(all.N / (double)micro_batches));
    const int64_t targets = std::max<int64_t>(1, std::llround(all.R / (double)micro_batches));
    double peak = gemm_peak(*model, machine, rows, std::min<int64_t>(targets, trainer.pass.chunk),
                            all.R / all.N, true);
    Json report = describe(config, machine, "train");
    report["tokens_per_step"] = (double)tokens / repeats;
    report["targets_per_step"] = all.R / repeats;
    report["tokens_per_s"] = median(token_rates);
    add_rates(report, machine, median(seconds), median(flop_rates), peak);
    report["gflop_per_token"] = 3 * forward_flop(m, all) / (double)tokens * 1e-9;
    add_ops(report, machine, timed);
    print_report(
        config, report,
        format(
            "FLOP/step = 3 (2 N P + 2 R V C + 4 L H D A): N = %.0f fed tokens, R = %.0f targets, "
            "P = %.0f,\nV = %d, C = %d, L = %d, H = %d, D = %d, A = sum T (T+1) / 2 = %.0f",
            all.N / repeats, all.R / repeats, m.L * layer_weights(m), m.V, m.C, m.L, m.H, m.D,
            all.A / repeats));
    return 0;
}
