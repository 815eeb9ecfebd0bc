#pragma once
// Where a step's time goes, by kind of op, without a timer in any op: a copy of an ops table whose every
// entry calls the original and adds the time it took.
//
//     const Ops* plain = model.ops;
//     model.ops = &timed_ops(*plain);
//     reset_timed_parts();
//     ... a step ...
//     TimedParts parts = timed_parts();

#include "ops/ops.h"

// Seconds since the last reset. memory: fill, copy, upload, download. Data movement of rows (embedding,
// gather, scatter) counts as memory; weight packing as gemm; the softmax over the vocabulary as head.
struct TimedParts {
    double gemm = 0, attention = 0, norm = 0, rope = 0, feed_forward = 0, head = 0, optimiser = 0,
           memory = 0;
    double sum() const {
        return gemm + attention + norm + rope + feed_forward + head + optimiser + memory;
    }
};

// A table that times the ops of `ops`. There is one per process: a second call replaces the first, and
// its ops are called from one thread.
const Ops& timed_ops(const Ops& ops);
void reset_timed_parts();
TimedParts timed_parts();
