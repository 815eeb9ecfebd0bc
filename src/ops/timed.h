#pragma once
// Where a step's time goes, op by op, without a timer in any op: a copy of an ops table whose every entry
// calls the original and adds up the time it took, the work it had and the least time that this work takes.
//
//     const Ops* plain = model.ops;
//     model.ops = &timed_ops(*plain);
//     reset_op_records();
//     ... a step ...
//     for (const OpRecord& record : op_records()) ...

#include "ops/ops.h"

#include <string>
#include <vector>

// What a machine can do at most: the roofline [Williams et al. 2009].
struct Limits {
    double flop_per_s = 0, bytes_per_s = 0; // 0: not known
};

// Since the last reset.
//   flop   multiply and add counted as two; attention's backward with the scores it computes again
//   bytes  that pass between the processor and its memory if no argument stays in a cache: each read or
//          written once, those of += both; the keys and values of all sequences in decoding
//   bound  sum over the calls of max(flop / flop_per_s, bytes / bytes_per_s), seconds
struct OpRecord {
    std::string name;
    const char* part = "";
    int64_t calls = 0;
    double seconds = 0, flop = 0, bytes = 0, bound = 0;
};

// A table that times the ops of `ops`. There is one per process: a second call replaces the first.
const Ops& timed_ops(const Ops& ops, const Limits& limits = {});
void reset_op_records();
std::vector<OpRecord> op_records(); // of the ops that were called

// The parts of a step, and the sum of a member of the records over one of them, or over all ("").
extern const std::vector<const char*> op_parts;
double sum_of(const std::vector<OpRecord>& records, double OpRecord::*member,
              const std::string& part = "");

// Ops that do nothing, with memory that is promised and not taken: what goes through timed_ops(idle_ops(..))
// is counted without being computed, whatever the size of the model. Uploads and downloads are real.
const Ops& idle_ops(DType dtype);
