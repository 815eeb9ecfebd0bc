#pragma once
// A ragged batch as attention kernels see it (Ragged of ops.h): tokens of a sequence are counted from its
// parent's first, own rows come after the parent's.

#include "device.cuh"

namespace gpu {

struct RaggedView {
    const int *begin, *prefix, *parent; // prefix and parent may be null
    int sequences;
};

inline RaggedView ragged_view(const char* op, const Ragged& ragged) {
    const int S = ragged.sequences;
    CHECK(!ragged.row, "%s: rows in another order are the CPU's only", op);
    return {arg<int>(op, "begin", ragged.begin, {S + 1}),
            optional_arg<int>(op, "prefix", ragged.prefix, {S}),
            optional_arg<int>(op, "parent", ragged.parent, {S}), S};
}

struct Sequence {
    int begin, rows;          // own rows in the batch
    int shared, parent_begin; // how many of the parent's rows come first, and where they are
    int prefix;               // tokens that see each other in both directions

    __device__ __forceinline__ int length() const { return shared + rows; }
    // Token `position` sees the tokens 0 .. limit-1.
    __device__ __forceinline__ int limit(int position) const {
        return position < prefix ? prefix : position + 1;
    }
    // Row of the batch that holds it.
    __device__ __forceinline__ int64_t row(int position) const {
        return position < shared ? parent_begin + position : begin + position - shared;
    }
};

__device__ __forceinline__ Sequence sequence_at(const RaggedView& ragged, int s) {
    Sequence sequence = {ragged.begin[s], ragged.begin[s + 1] - ragged.begin[s], 0, 0, 0};
    const int parent = ragged.parent ? ragged.parent[s] : -1;
    if (parent >= 0) {
        sequence.parent_begin = ragged.begin[parent];
        sequence.shared = ragged.begin[parent + 1] - ragged.begin[parent];
    }
    if (ragged.prefix) sequence.prefix = ragged.prefix[s];
    return sequence;
}

// The largest s with place(s) <= at; place(0) = 0 and place never falls.
template <class F>
__device__ __forceinline__ int last_at_or_before(int sequences, int at, F place) {
    int low = 0, high = sequences; // place(low) <= at < place(high)
    while (high - low > 1) {
        const int middle = (low + high) / 2;
        if (place(middle) <= at)
            low = middle;
        else
            high = middle;
    }
    return low;
}

// The sequence that owns row n.
__device__ __forceinline__ int sequence_of_row(const RaggedView& ragged, int n) {
    return last_at_or_before(ragged.sequences, n, [&](int s) { return ragged.begin[s]; });
}

// Tiles of `rows` own rows. The tiles of sequence s are numbered from begin_s / rows + s on, which leaves
// room for all of them, so that a block finds its tile without a list: numbers are 0 .. N / rows + S - 1,
// and some stand for no tile (first >= sequence.rows).
struct Tile {
    int s, first; // sequence, first own row
};
inline unsigned tile_count(int64_t N, int rows, int sequences) {
    return (unsigned)(N / rows + sequences);
}
__device__ __forceinline__ Tile tile_at(const RaggedView& ragged, int rows, int number) {
    auto place = [&](int s) { return ragged.begin[s] / rows + s; };
    const int s = last_at_or_before(ragged.sequences, number, place);
    return {s, (number - place(s)) * rows};
}

} // namespace gpu
