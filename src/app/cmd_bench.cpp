// rlhf bench train|generate|rl|ops model.path=DIR: how fast, and how near to what the machine can do.
//
// Work of one training step over N fed tokens of which R are targets, multiply and add counted as two:
//   FLOP = 3 (2 N P + 2 R V C + 4 L H D A)       forward, and twice that in backward
//   P = L (C (H+2K) D + H D C + 3 C F)           weights of the layers' matrices
//   A = sum over sequences of T (T+1) / 2        pairs of a query and a key it sees
// Generation does a third of it: every token is fed once, forward only. Recomputation is not counted as work.
// The GEMM peak is measured here and now: the model's own matrices through the same linear op, each shape
// weighted as often as the step uses it. MFU is the share of a data sheet's peak. Memory is measured by a copy.
//
// With bench.card=H100 nothing is computed: the same commands go through ops that only count their work, and
// every second printed is the least that the card's data sheet allows, as if each op reached its limit.
// Otherwise rates are those of undisturbed runs; the table of ops is made by one more.

#include "app/bench/bench.h"
#include "app/commands.h"

static int cmd_bench(const Args& args) {
    Args rest = args;
    rest.config_path.clear();
    BenchConfig config;
    load_config(config, rest);
    CHECK(!config.model.path.empty(), "bench needs a model: model.path=DIR");
    if (args.config_path == "train") return bench_train(config);
    if (args.config_path == "generate") return bench_generate(config);
    if (args.config_path == "rl") return bench_rl(config);
    if (args.config_path == "ops") return bench_ops(config);
    fail("rlhf bench needs to know what: train, generate, rl or ops, found \"%s\"",
         args.config_path.c_str());
}

static void bench_fields(Fields& fields) {
    static BenchConfig config;
    config.visit(fields);
}

extern const Command bench_command;
const Command bench_command = {"bench",
                               "bench train|generate|rl|ops: rates, shares of the peaks, op by op",
                               cmd_bench, bench_fields};
