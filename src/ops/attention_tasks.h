#pragma once
// How attention over a ragged batch is cut into tasks that threads take in any order. A task is
// some query rows of one sequence and one key/value head; it goes over all keys that they see.

#include "ops/ops.h"

#include <vector>

namespace cpu {

struct AttentionSequence {
    int begin, rows;    // own rows in the batch
    int parent, shared; // the parent, and how many of its rows come first
    int prefix;         // tokens that see each other in both directions

    int length() const { return shared + rows; }
    // The one place that says what a token sees: tokens 0 .. limit-1.
    int limit(int position) const { return position < prefix ? prefix : position + 1; }
};

struct AttentionTask {
    int sequence, head, first, rows; // own rows first .. first+rows-1
    int siblings;                    // sequences from the first on; more than one: all rows of each
    int64_t cost;
    // backward: of the keys that it sees, the first `kept` get a sum of their own, which starts at
    // row `sums`; the others are seen by no other task
    int kept = 0;
    int64_t sums = 0;

    int rows_of(const AttentionSequence& s) const { return siblings > 1 ? s.rows : rows; }
};

struct AttentionTasks {
    int H, K, D, group, width; // width: of a row of qkv
    std::vector<AttentionSequence> sequences;
    std::vector<AttentionTask> tasks; // by sequence, head, first
    std::vector<int> order;           // tasks, the longest first
    int most_rows = 0;                // query rows of a task
    int threads = 1;
    const int* place; // (N) of the batch's rows in the tensors; null: in order
    // backward: per sequence, tasks with sums for its rows, in order; rows of all sums together
    std::vector<std::vector<int>> adds;
    int64_t kept = 0;

    // Row of the tensors that holds the sequence's own row i.
    int64_t row(const AttentionSequence& s, int i) const {
        return place ? place[s.begin + i] : s.begin + i;
    }
    // ... its token `position`, the parent's rows counted.
    int64_t row_at(const AttentionSequence& s, int position) const {
        return position < s.shared ? row(sequences[s.parent], position)
                                   : row(s, position - s.shared);
    }
};

// Both check qkv and ragged, and fail in the op's name.
AttentionTasks forward_tasks(const char* op, const Tensor& qkv, const Ragged& ragged, int H, int K);
// Takes the children of one parent together: their parent's keys are packed once for all of them.
AttentionTasks backward_tasks(const char* op, const Tensor& qkv, const Ragged& ragged, int H,
                              int K);

} // namespace cpu
