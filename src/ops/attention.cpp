// Attention over a ragged batch; attention_formula.h says what it computes, in plain loops: read
// that first.
//
// A task (attention_tasks.h) packs block after block of 64 keys as attention_rows.h wants them, and
// does all its rows while the block lies in the cache. Rows of keys that several tasks see (a
// parent's, or those of a sequence of several tasks) get their dk and dv afterwards, from sums per
// task in a fixed order, so that the gradient has the same bits whatever the number of threads.

#include "ops/attention_rows.h"
#include "ops/attention_tasks.h"
#include "ops/install.h"

namespace cpu {
namespace {

constexpr int rows_at_once = 48; // of backward: what they need of a block fits the L1 cache

// ---- packing ------------------------------------------------------------------------------------

// One head's block of keys and values.
template <class T> struct KeyBlock {
    T *keys, *values;     // (64, stride)
    T *keys_t, *values_t; // (64 / lanes, D, lanes)

    void layout(Carver& memory, int D) {
        for (T** x : {&keys, &values}) *x = memory.take<T>(key_block * padded_width<T>(D));
        for (T** x : {&keys_t, &values_t}) *x = memory.take<T>(D * key_block);
    }
};

// Keys first .. first+count-1 of a sequence; x points at the head in row 0 of qkv.
template <class T>
void pack_rows(const AttentionTasks& all, const AttentionSequence& s, int first, int count,
               const T* x, T* packed) {
    const int D = all.D, stride = padded_width<T>(D);
    for (int j = 0; j < count; ++j) {
        std::copy_n(x + all.row_at(s, first + j) * all.width, D, packed + j * stride);
        std::fill(packed + j * stride + D, packed + (j + 1) * stride, T(0));
    }
}
template <class T>
void pack_strips(const AttentionTasks& all, const AttentionSequence& s, int first, int count,
                 const T* x, T* packed) {
    const int D = all.D;
    for (int j0 = 0; j0 < count; j0 += lanes<T>, packed += D * lanes<T>) {
        const T* row[lanes<T>];
        const int rows = std::min(lanes<T>, count - j0);
        for (int j = 0; j < rows; ++j) row[j] = x + all.row_at(s, first + j0 + j) * all.width;
        for (int d = 0; d < D; d += lanes<T>) {
            Vec<T> square[lanes<T>] = {};
            for (int j = 0; j < rows; ++j) square[j] = load_row(row[j], d, D);
            transpose<T>(square);
            for (int i = 0; i < std::min(lanes<T>, D - d); ++i)
                store(packed + (d + i) * lanes<T>, square[i]);
        }
    }
}

// What a thread works with: its rows and the block in hand.
template <class T, template <class> class Rows> struct Work {
    Rows<T> rows;
    KeyBlock<T> block;

    void layout(Carver& memory, const AttentionTasks& all) {
        rows.layout(memory, all.most_rows, all.D);
        block.layout(memory, all.D);
    }
    static size_t bytes(const AttentionTasks& all) {
        Carver count;
        Work().layout(count, all);
        return count.at;
    }
};

// ---- forward ------------------------------------------------------------------------------------

template <class T>
void add_queries(QueryRows<T>& rows, const AttentionTasks& all, const AttentionTask& task,
                 const T* qkv, T scale) {
    const AttentionSequence& s = all.sequences[task.sequence];
    const int D = all.D, group = all.group;
    rows.start();
    for (int i = task.first; i < task.first + task.rows; ++i)
        for (int g = 0; g < group; ++g)
            rows.add(qkv + all.row(s, i) * all.width + (task.head * group + g) * D, scale,
                     s.limit(s.shared + i));
}

template <class T>
void store_results(const QueryRows<T>& rows, const AttentionTasks& all, const AttentionTask& task,
                   T* y, T* lse) {
    const AttentionSequence& s = all.sequences[task.sequence];
    const int group = all.group;
    for (int r = 0; r < rows.count; ++r) {
        const int64_t row = all.row(s, task.first + r / group);
        const int head = task.head * group + r % group;
        rows.finish(r, y + row * all.H * all.D + head * all.D);
        lse[row * all.H + head] = rows.lse(r);
    }
}

template <class T>
void forward_task(const AttentionTasks& all, const AttentionTask& task, Work<T, QueryRows>& work,
                  T* y, T* lse, const T* qkv, T scale) {
    const AttentionSequence& s = all.sequences[task.sequence];
    const T *key = qkv + (all.H + task.head) * all.D, *value = key + all.K * all.D;
    QueryRows<T>& rows = work.rows;
    add_queries(rows, all, task, qkv, scale);
    for (int first = 0; first < rows.limit[rows.count - 1]; first += key_block) {
        const int count = std::min(key_block, s.length() - first);
        pack_strips(all, s, first, count, key, work.block.keys_t);
        pack_rows(all, s, first, count, value, work.block.values);
        attend_block<T>(rows, first, work.block.keys_t, work.block.values);
    }
    store_results(rows, all, task, y, lse);
}

template <class T>
void attention_forward(Tensor y_, Tensor lse_, Tensor qkv_, const Ragged& ragged, int H, int K,
                       double scale) {
    const char* op = "attention_forward";
    const AttentionTasks all = forward_tasks(op, qkv_, ragged, H, K);
    const int64_t N = qkv_.shape[0];
    T* y = arg<T>(op, "y", y_, {N, (int64_t)H * all.D});
    T* lse = arg<T>(op, "lse", lse_, {N, H});
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, all.width});

    const size_t bytes = Work<T, QueryRows>::bytes(all);
    const uintptr_t memory = (uintptr_t)scratch(Slot::attention, bytes * all.threads);
#pragma omp parallel num_threads(all.threads)
    {
        Carver own{memory + bytes * omp_get_thread_num()};
        Work<T, QueryRows> work;
        work.layout(own, all);
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < all.tasks.size(); ++i)
            forward_task(all, all.tasks[all.order[i]], work, y, lse, qkv, (T)scale);
    }
}

// ---- backward -----------------------------------------------------------------------------------

template <class T> struct GradRows {
    int count = 0, D = 0, stride = 0;
    int* limit;     // (count) as in QueryRows
    T *q, *dy, *dq; // (count, stride): q times scale; dq without it
    T *lse, *delta; // (count): delta = <dy, y>
    T *p, *ds;      // (rows_at_once, 64) P and dS of the block in hand; before that S and dP

    void layout(Carver& memory, int rows, int D_) {
        D = D_, stride = padded_width<T>(D);
        limit = memory.take<int>(rows);
        for (T** x : {&q, &dy, &dq}) *x = memory.take<T>((int64_t)rows * stride);
        for (T** x : {&lse, &delta}) *x = memory.take<T>(rows);
        for (T** x : {&p, &ds}) *x = memory.take<T>(rows_at_once * key_block);
    }
    // Rows first .. first+rows-1 alone.
    GradRows part(int first, int rows) const {
        GradRows x = *this;
        x.count = rows;
        x.limit += first;
        x.lse += first;
        x.delta += first;
        for (T** at : {&x.q, &x.dy, &x.dq}) *at += first * stride;
        return x;
    }
    void start() { count = 0; }
    void add(const T* q_row, const T* dy_row, const T* y_row, T row_lse, T scale, int row_limit) {
        Vec<T> sum{};
        for (int d = 0; d < stride; d += lanes<T>) {
            const int at = count * stride + d;
            const Vec<T> grad = load_row(dy_row, d, D);
            store(q + at, load_row(q_row, d, D) * broadcast(scale));
            store(dy + at, grad);
            store(dq + at, Vec<T>{});
            sum = fma(grad, load_row(y_row, d, D), sum);
        }
        limit[count] = row_limit;
        lse[count] = row_lse;
        delta[count] = reduce_add<T>(sum);
        ++count;
    }
};

// dq, dk and dv of the keys first .. first+count-1 [Dao 2023, algorithm 2] for at most rows_at_once
// rows. dk, dv: (count, stride)
template <class T>
void grad_block(const GradRows<T>& rows, int first, int count, const KeyBlock<T>& block, T* dk,
                T* dv) {
    auto seen_by = [&](int row) { return std::clamp(rows.limit[row] - first, 0, count); };
    const int stride = rows.stride, keys = seen_by(rows.count - 1);
    for (int r0 = 0; r0 < rows.count; r0 += tile_rows) {
        const int R = std::min(tile_rows, rows.count - r0);
        int keys_seen[tile_rows];
        for (int r = 0; r < R; ++r) keys_seen[r] = seen_by(r0 + r);
        const int most = keys_seen[R - 1];
        if (most == 0) continue;
        const int vectors = (most + lanes<T> - 1) / lanes<T>;
        T *p = rows.p + r0 * key_block, *ds = rows.ds + r0 * key_block;
        multiply<T, false, false, true>(p, key_block, rows.q + r0 * stride, stride, block.keys_t, 0,
                                        R, vectors * lanes<T>, rows.D);
        multiply<T, false, false, true>(ds, key_block, rows.dy + r0 * stride, stride,
                                        block.values_t, 0, R, vectors * lanes<T>, rows.D);
        for (int r = 0; r < R; ++r) {
            const Vec<T> lse = broadcast(rows.lse[r0 + r]), delta = broadcast(rows.delta[r0 + r]);
            T *p_row = p + r * key_block, *ds_row = ds + r * key_block;
            for (int v = 0; v < vectors; ++v) {
                const int at = v * lanes<T>;
                const Vec<T> score = load(p_row + at), dp_v = load(ds_row + at);
                Vec<T> p_v = exp(score - lse), ds_v = p_v * (dp_v - delta);
                if (keys_seen[r] < at + lanes<T>) {
                    const Mask<T> sees = before<T>(v, keys_seen[r]);
                    p_v = sees ? p_v : Vec<T>{};
                    ds_v = sees ? ds_v : Vec<T>{};
                }
                store(p_row + at, p_v);
                store(ds_row + at, ds_v);
            }
            for (int at = vectors * lanes<T>; at < keys; at += lanes<T>) {
                store(p_row + at, Vec<T>{});
                store(ds_row + at, Vec<T>{});
            }
        }
        multiply<T, false, true>(rows.dq + r0 * stride, stride, ds, key_block, block.keys, stride,
                                 R, stride, most, keys_seen);
    }
    // Tiles of keys with all rows from the first that sees one of them: p and ds of the others are
    // 0.
    for (int j0 = 0, from = 0; j0 < keys; j0 += tile_rows) {
        const int J = std::min(tile_rows, keys - j0);
        while (seen_by(from) <= j0) ++from;
        multiply<T, true, true>(dk + j0 * stride, stride, rows.ds + from * key_block + j0,
                                key_block, rows.q + from * stride, stride, J, stride,
                                rows.count - from);
        multiply<T, true, true>(dv + j0 * stride, stride, rows.p + from * key_block + j0, key_block,
                                rows.dy + from * stride, stride, J, stride, rows.count - from);
    }
}

// Adds one row of dk and dv, at[0] and at[1] of `width`, to that of a key.
template <class T>
void add_key_grads(const AttentionTasks& all, int64_t row, int head, const T* dk_sum,
                   const T* dv_sum, T* dqkv) {
    T* dk = dqkv + row * all.width + (all.H + head) * all.D;
    T* dv = dk + all.K * all.D;
    for (int d = 0; d < all.D; d += lanes<T>) {
        store_row(dk, load_row(dk, d, all.D) + load(dk_sum + d), d, all.D);
        store_row(dv, load_row(dv, d, all.D) + load(dv_sum + d), d, all.D);
    }
}

// Calls f(row of the tensors, query head, sequence, own row) for the task's rows in order.
template <class F> void for_rows(const AttentionTasks& all, const AttentionTask& task, const F& f) {
    for (int c = 0; c < task.siblings; ++c) {
        const AttentionSequence& s = all.sequences[task.sequence + c];
        for (int i = task.first; i < task.first + task.rows_of(s); ++i)
            for (int g = 0; g < all.group; ++g) f(all.row(s, i), task.head * all.group + g, s, i);
    }
}

// What backward reads and adds to, as rows of the tensors.
template <class T> struct BackwardArrays {
    T* dqkv;
    const T *dy, *y, *lse, *qkv;
};

template <class T>
void add_rows(GradRows<T>& rows, const AttentionTasks& all, const AttentionTask& task,
              const BackwardArrays<T>& x, T scale) {
    rows.start();
    for_rows(all, task, [&](int64_t row, int head, const AttentionSequence& s, int i) {
        const int64_t at = (row * all.H + head) * all.D;
        rows.add(x.qkv + row * all.width + head * all.D, x.dy + at, x.y + at,
                 x.lse[row * all.H + head], scale, s.limit(s.shared + i));
    });
}

template <class T>
void store_dq(const GradRows<T>& rows, const AttentionTasks& all, const AttentionTask& task,
              T* dqkv, T scale) {
    const T* dq = rows.dq;
    for_rows(all, task, [&](int64_t row, int head, const AttentionSequence&, int) {
        T* to = dqkv + row * all.width + head * all.D;
        for (int d = 0; d < all.D; d += lanes<T>)
            store_row(to, fma(broadcast(scale), load(dq + d), load_row(to, d, all.D)), d, all.D);
        dq += rows.stride;
    });
}

// Keys first .. last-1 of a sequence with `rows`, that see them: adds to the rows' dq, and dk and
// dv to the gradient or, where other tasks have a share in them, to this task's sums.
//   block_sums: (2, 64, stride) scratch   sums: (task.kept, 2, stride): dk, dv
template <class T>
void backward_keys(const AttentionTasks& all, const AttentionTask& task, const AttentionSequence& s,
                   int first, int last, const GradRows<T>& rows, const KeyBlock<T>& block,
                   T* block_sums, T* sums, const BackwardArrays<T>& x) {
    const T *key = x.qkv + (all.H + task.head) * all.D, *value = key + all.K * all.D;
    const int stride = rows.stride;
    T *dk = block_sums, *dv = block_sums + key_block * stride;
    for (; first < last; first += key_block) {
        const int count = std::min(key_block, last - first);
        std::fill_n(dk, count * stride, T(0));
        std::fill_n(dv, count * stride, T(0));
        pack_rows(all, s, first, count, key, block.keys);
        pack_strips(all, s, first, count, key, block.keys_t);
        pack_strips(all, s, first, count, value, block.values_t);
        for (int r = 0; r < rows.count; r += rows_at_once)
            grad_block(rows.part(r, std::min(rows_at_once, rows.count - r)), first, count, block,
                       dk, dv);
        for (int j = 0; j < count; ++j) {
            const int t = first + j;
            if (t < task.kept) {
                std::copy_n(dk + j * stride, stride, sums + 2 * t * stride);
                std::copy_n(dv + j * stride, stride, sums + (2 * t + 1) * stride);
            } else {
                add_key_grads(all, all.row_at(s, t), task.head, dk + j * stride, dv + j * stride,
                              x.dqkv);
            }
        }
    }
}

// The parent's keys with all rows, then each child's own keys with its rows.
template <class T>
void backward_task(const AttentionTasks& all, const AttentionTask& task, Work<T, GradRows>& work,
                   T* block_sums, T* sums, const BackwardArrays<T>& x, T scale) {
    GradRows<T>& rows = work.rows;
    add_rows(rows, all, task, x, scale);
    const AttentionSequence& one = all.sequences[task.sequence];
    backward_keys(all, task, one, 0, one.shared, rows, work.block, block_sums, sums, x);
    for (int c = 0, at = 0; c < task.siblings; ++c) {
        const AttentionSequence& s = all.sequences[task.sequence + c];
        const int count = task.rows_of(s) * all.group;
        if (count > 0)
            backward_keys(all, task, s, s.shared, rows.limit[at + count - 1], rows.part(at, count),
                          work.block, block_sums, sums, x);
        at += count;
    }
    store_dq(rows, all, task, x.dqkv, scale);
}

// Own rows of a sequence and head: first its own tasks, then its children's, all in order.
template <class T>
void add_sums(const AttentionTasks& all, int sequence, int head, const T* sums, int stride,
              T* dqkv) {
    const AttentionSequence& s = all.sequences[sequence];
    for (int number : all.adds[sequence]) {
        const AttentionTask& task = all.tasks[number];
        if (task.head != head) continue;
        // the rows of s are the first that a child sees, and the last that its own tasks do
        const bool child = all.sequences[task.sequence].parent == sequence;
        const int begin = child ? 0 : s.shared, end = child ? s.rows : task.kept;
        for (int t = begin; t < end; ++t) {
            const T* sum = sums + (task.sums + t) * 2 * stride;
            add_key_grads(all, all.row(s, t - begin), head, sum, sum + stride, dqkv);
        }
    }
}

template <class T>
void attention_backward(Gradient dqkv_, Tensor dy_, Tensor y_, Tensor lse_, Tensor qkv_,
                        const Ragged& ragged, int H, int K, double scale) {
    const char* op = "attention_backward";
    const AttentionTasks all = backward_tasks(op, qkv_, ragged, H, K);
    const int64_t N = qkv_.shape[0];
    const BackwardArrays<T> x = {arg<T>(op, "dqkv", dqkv_.to, {N, all.width}),
                                 arg<T>(op, "dy", dy_, {N, (int64_t)H * all.D}),
                                 arg<T>(op, "y", y_, {N, (int64_t)H * all.D}),
                                 arg<T>(op, "lse", lse_, {N, H}),
                                 arg<T>(op, "qkv", qkv_, {N, all.width})};
    if (!dqkv_.add) std::fill(x.dqkv, x.dqkv + N * all.width, T(0)); // a key has many terms
    const int stride = padded_width<T>(all.D);
    const size_t bytes =
        Work<T, GradRows>::bytes(all) + (size_t)round_up(2 * key_block * stride * sizeof(T), 64);
    T* sums = nullptr;
    auto layout = [&](Carver& memory) { sums = memory.take<T>(all.kept * 2 * stride); };
    Carver count;
    layout(count);
    Carver carver{(uintptr_t)scratch(Slot::attention, count.at + bytes * all.threads)};
    layout(carver);
#pragma omp parallel num_threads(all.threads)
    {
        Carver own{carver.at + bytes * omp_get_thread_num()};
        Work<T, GradRows> work;
        work.layout(own, all);
        T* block_sums = own.take<T>(2 * key_block * stride);
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < all.tasks.size(); ++i) {
            const AttentionTask& task = all.tasks[all.order[i]];
            backward_task(all, task, work, block_sums, sums + task.sums * 2 * stride, x, (T)scale);
        }
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < (int)all.sequences.size() * K; ++i)
            add_sums(all, i / K, i % K, sums, stride, x.dqkv);
    }
}

} // namespace

template <class T> void install_attention(Ops& ops) {
    ops.attention_forward = attention_forward<T>;
    ops.attention_backward = attention_backward<T>;
}
template void install_attention<float>(Ops&);
template void install_attention<double>(Ops&);

} // namespace cpu
