#pragma once
// What the measurements of rlhf bench share: the configuration, the machine with its limits, rows, the FLOP
// count, the measured GEMM peak and the report. The measurements are train.cpp, generate.cpp, rl.cpp and
// ops.cpp.

#include "app/inputs.h"
#include "ops/timed.h"

#include <functional>
#include <vector>

struct BenchSettings {
    int batch = 8, group = 8, prompt_tokens = 128, new_tokens = 64, repeats = 5, copy_mib = 256;
    double peak_tflops = 0;
    std::string card;
    void visit(Fields& v) {
        v.field("batch", batch, 1, 1e5,
                "B: rows of a training step, sequences in flight, or completions of an RL step");
        v.field("group", group, 1, 1e5, "G of rl: completions per prompt; divides bench.batch");
        v.field("prompt_tokens", prompt_tokens, 1, 1e6, "tokens of a random prompt");
        v.field("new_tokens", new_tokens, 2, 1e6, "tokens trained or drawn behind each prompt");
        v.field("repeats", repeats, 1, 1e4, "measured steps or runs, after one that is not");
        v.field("copy_mib", copy_mib, 1, 1e6, "MiB of the copy by which memory is measured");
        v.field(
            "card", card,
            "a GPU that need not be there, as H100: nothing is run, what is printed is computed");
        v.field(
            "peak_tflops", peak_tflops, 0, 1e6,
            "peak that the utilisation (MFU) is a share of; 0: the data sheet's of a known GPU");
    }
};

struct BenchDataSettings {
    std::string train, template_name = "none";
    bool add_eos = true;
    void visit(Fields& v) {
        v.field("train", train, "JSON Lines file of real rows; empty: random tokens");
        v.choice("template", template_name, {"none", "chat"},
                 "chat renders prompt and completion by the model's chat template");
        v.field("add_eos", add_eos, "end a completion string with the end-of-sequence token");
    }
};

struct BenchTrainSettings {
    int tokens_per_micro_batch = 2048;
    void visit(Fields& v) {
        v.field("tokens_per_micro_batch", tokens_per_micro_batch, 1, 1e8,
                "tokens in memory at once");
    }
};

struct BenchConfig {
    ModelSettings model;
    ComputeSettings compute;
    BenchDataSettings data;
    BenchTrainSettings train;
    BenchSettings bench;
    std::string format = "text";
    void visit(Fields& v) {
        v.object("model", model, "the model to measure");
        v.object("compute", compute, "the machine");
        v.object("data", data, "rows");
        v.object("train", train, "memory");
        v.object("bench", bench, "the work");
        v.choice("format", format, {"text", "json"}, "json: one object on standard output");
    }
};

double median(std::vector<double> values);

// Where it runs: here, or on a card of which only the data sheet is there. Then nothing is computed, and the
// clock goes on by the least time that every op takes within the card's limits (ops/timed.h).
struct Machine {
    bool computed = false;
    std::string peak_from; // whose peak, for the report
    Limits limits;         // of the data sheet; memory: as copied here, if it is here
    ComputeConfig compute;
    double clock() const; // seconds; on a GPU all that was launched is done
};
Machine find_machine(const BenchConfig& config);
std::unique_ptr<Model> open_model(const BenchConfig& config, const Machine& machine, bool packed);

// One run through timed ops. Each of them waits for the device, which undoes graphs and overlap: rates come
// from other runs.
struct TimedRun {
    std::vector<OpRecord> ops;
    double seconds = 0;
};
// Calls run(r) for r = 0 .. repeats as any command would; run 0 warms up. Then run(repeats + 1), timed. Of a
// card that is not there every run is one of counted ops.
TimedRun measure(Model& model, const Machine& machine, int repeats,
                 const std::function<void(int)>& run);

// What is measured: sequences with targets; a prompt is what stands before the first target.
std::vector<TrainSequence> make_sequences(const BenchConfig& config, const Model& model,
                                          size_t count);

std::vector<std::vector<int32_t>> make_prompts(const BenchConfig& config, const Model& model,
                                               size_t count);

// Sizes that the FLOP count depends on.
struct Work {
    double N = 0, R = 0, A = 0;
    void add(double length, double targets) {
        N += length, R += targets, A += length * (length + 1) / 2;
    }
};

double layer_weights(const ModelConfig& m); // P / L
double forward_flop(const ModelConfig& m, const Work& work);

// FLOP per second over the model's matrices: `rows` at a time in the layers, `head_rows` in the head.
// head_share: head rows per row of the layers. Of a card that is not there: its peak.
double gemm_peak(const Model& model, const Machine& machine, int64_t rows, int64_t head_rows,
                 double head_share, bool backward);

Json describe(const BenchConfig& config, const Machine& machine, const char* what);
// rate, peak: FLOP per second.
void add_rates(Json& report, const Machine& machine, double seconds, double rate, double peak);
// Seconds by part, and work and rates op by op. ops_seconds / step_seconds above 1 is what the waits cost,
// below 1 what passes between the ops.
void add_ops(Json& report, const Machine& machine, const TimedRun& timed);
void print_report(const BenchConfig& config, const Json& report, const std::string& formula);

// One file each.
int bench_train(const BenchConfig& config);
int bench_generate(const BenchConfig& config);
int bench_rl(const BenchConfig& config);
int bench_ops(const BenchConfig& config);
