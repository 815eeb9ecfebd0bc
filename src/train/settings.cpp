#include "train/settings.h"

#include "base/config.h"
#include "ops/gpu.h"
#include "train/schedule.h"

#include <omp.h>

void ModelSettings::visit(Fields& v) {
    v.field("path", path, "directory of a model, or of a run: its newest checkpoint");
}

void RunSettings::visit(Fields& v) {
    v.field("dir", dir, "directory that the run writes: config, metrics, checkpoints");
    v.field("seed", seed, 0, 9e15, "seed of every random number of the run");
    v.field("save_every", save_every, 0, 1e9,
            "steps between checkpoints; 0: only after the last step");
    v.field("keep", keep, 1, 1e9, "newest checkpoints that stay");
    v.field("resume", resume, "continue from the newest checkpoint, or start if there is none");
    v.choice("save_dtype", save_dtype, {"f32", "bf16", "f16"}, "element type of saved weights");
}

void ComputeSettings::visit(Fields& v) {
    v.choice("device", device, {"auto", "cpu", "cuda"},
             "where to compute; auto: the best there is");
    v.choice("dtype", dtype, {"auto", "f32", "f64", "bf16"},
             "of weights and activations; auto: f32 on the CPU, bf16 on a GPU");
    v.choice("gemm", gemm, {"f32", "bf16"},
             "inputs of matrix products on the CPU; bf16 rounds them and accumulates in f32");
    v.field("threads", threads, 0, 4096, "CPU threads; 0: one per core");
    v.field("recompute", recompute,
            "keep one activation per layer and compute the rest again in the backward pass");
}

void DataSettings::visit(Fields& v) {
    v.input("train", train, "JSON Lines file of the rows to train on");
    v.input("eval", eval, "JSON Lines file of held-out rows; empty: none");
    v.field("eval_rows", eval_rows, 0, 1e9, "rows of data.eval that are used; 0: all");
    v.field("shuffle", shuffle, "visit the rows in another order in every epoch");
    v.choice("template", template_name, {"none", "chat"},
             "chat renders prompt and completion by the model's chat template; none: raw strings");
    v.field("add_eos", add_eos, "end a completion string with the end-of-sequence token");
}

void TrainSettings::visit(Fields& v) {
    v.field("steps", steps, 1, 9e15, "S: optimiser steps of the run");
    v.field("rows_per_step", rows_per_step, 1, 1e6, "rows that make one optimiser step");
    v.field("tokens_per_micro_batch", tokens_per_micro_batch, 1, 1e8,
            "tokens in memory at once; changes speed and memory, not the result");
    v.field("eval_every", eval_every, 0, 1e9,
            "steps between losses on data.eval; 0: before the first and after the last only");
    v.field(
        "goal_loss", goal_loss, 0, 1e9,
        "held-out loss that has to be reached: the run ends with the evaluation that finds it, and "
        "fails if none of its steps does; the schedule goes by steps all the same. 0: none");
}

void OptimSettings::visit(Fields& v) {
    v.field("lr", adamw.lr, 0, 10, "eta: peak learning rate");
    v.field("beta1", adamw.beta1, 0, 1 - 1e-9, "decay of the gradient's mean m");
    v.field("beta2", adamw.beta2, 0, 1 - 1e-9, "decay of the gradient's square v");
    v.field("eps", adamw.eps, 1e-20, 1, "added to sqrt(v)");
    v.field("weight_decay", adamw.weight_decay, 0, 10,
            "lambda: decoupled decay, p -= lr lambda p; none on norms and biases");
    v.field("grad_clip", adamw.grad_clip, 0, 1e9,
            "largest global norm of the gradient; 0: no clipping");
    v.choice("schedule", schedule, {"constant", "linear", "cosine"},
             "of the learning rate after the warm-up");
    v.field("warmup_steps", warmup_steps, 0, 9e15, "W: steps of linear warm-up from 0");
}

double OptimSettings::lr(int64_t step, int64_t steps) const {
    return learning_rate(schedule, adamw.lr, step, steps, warmup_steps);
}

// Whether there is a GPU that "auto" can take.
static bool gpu_found() {
    if (!gpu_in_build()) return false;
    try {
        return gpu_count() > 0;
    } catch (const Error&) {
        return false;
    }
}

static DType dtype_of_name(const std::string& name, DType automatic) {
    return name == "f32"    ? DType::f32
           : name == "f64"  ? DType::f64
           : name == "bf16" ? DType::bf16
                            : automatic;
}

ComputeConfig compute_config(const ComputeSettings& settings) {
    ComputeConfig compute;
    const bool for_cpu = settings.dtype == "f64" || settings.gemm == "bf16";
    compute.gpu =
        settings.device == "cuda" || (settings.device == "auto" && !for_cpu && gpu_found());
    compute.dtype = dtype_of_name(settings.dtype, compute.gpu ? DType::bf16 : DType::f32);
    compute.gemm = settings.gemm == "bf16" ? DType::bf16 : DType::f32;
    compute.recompute = settings.recompute;
    if (compute.gpu) {
        CHECK(compute.dtype != DType::f64,
              "compute.dtype=f64 is for the CPU; on a GPU use bf16 or f32, or set "
              "compute.device=cpu");
        CHECK(compute.gemm == DType::f32,
              "compute.gemm=bf16 is for the CPU; on a GPU set compute.dtype=bf16, which is the "
              "default there");
    } else {
        CHECK(compute.dtype != DType::bf16,
              "compute.dtype=bf16 needs a GPU; on the CPU set compute.gemm=bf16, which keeps "
              "weights and sums in f32");
        CHECK(compute.dtype != DType::f64 || compute.gemm == DType::f32,
              "compute.gemm=%s goes with compute.dtype=f32, not f64; leave one of them out",
              settings.gemm.c_str());
    }
    return compute;
}

ComputeConfig apply_compute(const ComputeSettings& settings) {
    if (settings.threads) omp_set_num_threads(settings.threads);
    ComputeConfig compute = compute_config(settings);
    if (compute.gpu) gpu_count(); // says why there is none
    return compute;
}
