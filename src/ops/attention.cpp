// Attention over a ragged batch. Keys and values are first packed into blocks of 64 as
// attention_rows.h wants them; then tasks of some query rows of one sequence and one key/value head
// run in any order. Backward sums dk and dv per task and adds the sums up in a fixed order afterwards, so
// that the gradient has the same bits whatever the number of threads.

#include "ops/attention_rows.h"
#include "ops/install.h"

#include <vector>

namespace cpu {
namespace {

constexpr int rows_at_once = 48;   // query rows worked on together: their state fits the L1 cache
constexpr int forward_rows = 128;  // positions per task of forward
constexpr int backward_rows = 512; // positions per task of backward, at least
constexpr int backward_parts = 4; // tasks per sequence and head at most: memory is linear in length

struct Sequence {
    int begin, rows;    // own rows in the batch
    int parent, shared; // the parent, and how many of its rows come first
    int prefix;         // tokens that see each other in both directions
    int first_block;    // where its own blocks are packed: those from block shared / 64 on

    int length() const { return shared + rows; }
    int blocks() const { return (length() + key_block - 1) / key_block; }
    int own_blocks() const { return blocks() - shared / key_block; }
    int limit(int position) const { return position < prefix ? prefix : position + 1; }
};

struct Task {
    int sequence, head, first, rows; // own rows first .. first+rows-1
    int64_t cost;
    int64_t sums = 0; // backward: where its dk and dv lie, in blocks
};

// The batch as read from `ragged`, and the tasks. Kept between calls so that its vectors only grow.
struct Plan {
    int H, K, D, group, width; // width: of a row of qkv
    int blocks;                // packed blocks per head
    std::vector<Sequence> sequences;
    std::vector<Task> tasks; // by sequence, head, first
    std::vector<int> order;  // tasks, the longest first
    std::vector<int> block_sequence;
    int threads;

    // Row of the batch that holds the sequence's token `position`.
    int row(const Sequence& s, int position) const {
        return position < s.shared ? sequences[s.parent].begin + position
                                   : s.begin + position - s.shared;
    }
    // Packed block b of a sequence: a block that holds parent rows only is the parent's.
    int block(const Sequence& s, int b) const {
        int shared = s.shared / key_block;
        return b < shared ? sequences[s.parent].first_block + b : s.first_block + b - shared;
    }
};

void read_ragged(Plan& plan, const char* op, const Ragged& ragged, int64_t N) {
    const int S = ragged.sequences;
    const int* begin = arg<int>(op, "begin", ragged.begin, {S + 1});
    const int* prefix = optional_arg<int>(op, "prefix", ragged.prefix, {S});
    const int* parent = optional_arg<int>(op, "parent", ragged.parent, {S});
    CHECK(begin[0] == 0 && begin[S] == N, "%s: sequences cover rows %d to %d, of %lld", op,
          begin[0], begin[S], (long long)N);
    plan.sequences.clear();
    plan.block_sequence.clear();
    for (int i = 0; i < S; ++i) {
        Sequence s{begin[i], begin[i + 1] - begin[i], parent ? parent[i] : -1, 0, 0, 0};
        CHECK(s.rows >= 0, "%s: sequence %d has %d rows", op, i, s.rows);
        CHECK(s.parent >= -1 && s.parent < i,
              "%s: sequence %d has parent %d, which must stand before it", op, i, s.parent);
        if (s.parent >= 0) {
            CHECK(plan.sequences[s.parent].parent < 0,
                  "%s: the parent of sequence %d has a parent itself", op, i);
            s.shared = plan.sequences[s.parent].rows;
        }
        s.prefix = prefix ? prefix[i] : 0;
        CHECK(s.prefix <= (s.parent < 0 ? s.length() : s.shared),
              "%s: sequence %d has a prefix of %d tokens, but only %d may see each other", op, i,
              s.prefix, s.parent < 0 ? s.length() : s.shared);
        s.first_block = (int)plan.block_sequence.size();
        plan.sequences.push_back(s);
        for (int b = 0; b < s.own_blocks(); ++b) plan.block_sequence.push_back(i);
    }
    plan.blocks = (int)plan.block_sequence.size();
}

// Cuts every sequence into tasks; `rows_per_task` says how.
template <class F> void make_tasks(Plan& plan, F rows_per_task) {
    plan.tasks.clear();
    plan.order.clear();
    for (int i = 0; i < (int)plan.sequences.size(); ++i) {
        const Sequence& s = plan.sequences[i];
        const int step = rows_per_task(s);
        for (int head = 0; head < plan.K; ++head)
            for (int first = 0; first < s.rows; first += step) {
                int rows = std::min(step, s.rows - first);
                int64_t cost = (int64_t)rows *
                               (s.limit(s.shared + first) + s.limit(s.shared + first + rows - 1));
                plan.order.push_back((int)plan.tasks.size());
                plan.tasks.push_back({i, head, first, rows, cost});
            }
    }
    int64_t cost = 0;
    for (const Task& task : plan.tasks) cost += task.cost;
    plan.threads = team_size(cost * plan.group * plan.D);
    std::sort(plan.order.begin(), plan.order.end(), [&](int a, int b) {
        int64_t x = plan.tasks[a].cost, y = plan.tasks[b].cost;
        return x != y ? x > y : a < b;
    });
}

Plan& make_plan(const char* op, const Tensor& qkv, const Ragged& ragged, int H, int K) {
    static Plan plan;
    CHECK(K > 0 && H > 0 && H % K == 0, "%s: %d query heads are no multiple of %d key heads", op, H,
          K);
    const int width = (int)qkv.shape[1];
    CHECK(qkv.rank == 2 && width > 0 && width % (H + 2 * K) == 0,
          "%s: qkv is %s, wanted %d heads side by side", op, shape_text(qkv).c_str(), H + 2 * K);
    plan.H = H, plan.K = K, plan.group = H / K;
    plan.width = width, plan.D = width / (H + 2 * K);
    read_ragged(plan, op, ragged, qkv.shape[0]);
    return plan;
}

// Positions worked on together: those whose heads make about rows_at_once query rows.
int positions_at_once(const Plan& plan) { return std::max(1, rows_at_once / plan.group); }

// ---- packing ------------------------------------------------------------------------------------

// One head's block of keys or values (x points at the head in row 0 of qkv).
template <class T>
void pack_rows(const Plan& plan, const Sequence& s, int b, const T* x, T* packed, int stride) {
    const int count = std::min(key_block, s.length() - b * key_block);
    for (int j = 0; j < count; ++j) {
        const T* from = x + (int64_t)plan.row(s, b * key_block + j) * plan.width;
        std::copy_n(from, plan.D, packed + j * stride);
        std::fill(packed + j * stride + plan.D, packed + (j + 1) * stride, T(0));
    }
}
template <class T>
void pack_columns(const Plan& plan, const Sequence& s, int b, const T* x, T* packed) {
    const int count = std::min(key_block, s.length() - b * key_block);
    for (int j = 0; j < count; ++j) {
        const T* from = x + (int64_t)plan.row(s, b * key_block + j) * plan.width;
        for (int d = 0; d < plan.D; ++d) packed[d * key_block + j] = from[d];
    }
}

template <class T> struct Packed {
    T *keys_t, *values_t; // (K, blocks, D, 64)
    T *keys, *values;     // (K, blocks, 64, stride)
    int64_t rows_size, columns_size;

    void layout(Carver& memory, const Plan& plan, bool backward) {
        const int64_t count = (int64_t)plan.K * plan.blocks;
        rows_size = key_block * padded_width<T>(plan.D);
        columns_size = (int64_t)plan.D * key_block;
        keys_t = memory.take<T>(count * columns_size);
        values_t = backward ? memory.take<T>(count * columns_size) : nullptr;
        keys = backward ? memory.take<T>(count * rows_size) : nullptr;
        values = backward ? nullptr : memory.take<T>(count * rows_size);
    }
};

template <class T> void pack(const Packed<T>& packed, const Plan& plan, const T* qkv) {
    const int stride = padded_width<T>(plan.D), D = plan.D;
#pragma omp parallel for schedule(static) num_threads(plan.threads)
    for (int i = 0; i < plan.K * plan.blocks; ++i) {
        const int head = i / plan.blocks, block = i % plan.blocks;
        const Sequence& s = plan.sequences[plan.block_sequence[block]];
        const int b = s.shared / key_block + block - s.first_block;
        const T* key = qkv + (plan.H + head) * D;
        const T* value = qkv + (plan.H + plan.K + head) * D;
        pack_columns(plan, s, b, key, packed.keys_t + i * packed.columns_size);
        if (packed.values)
            pack_rows(plan, s, b, value, packed.values + i * packed.rows_size, stride);
        if (packed.values_t)
            pack_columns(plan, s, b, value, packed.values_t + i * packed.columns_size);
        if (packed.keys) pack_rows(plan, s, b, key, packed.keys + i * packed.rows_size, stride);
    }
}

// ---- forward ------------------------------------------------------------------------------------

template <class T>
void forward_task(const Plan& plan, const Task& task, const Packed<T>& packed, QueryRows<T> rows,
                  T* y, T* lse, const T* qkv, T scale) {
    const Sequence& s = plan.sequences[task.sequence];
    const int D = plan.D, group = plan.group, step = positions_at_once(plan);
    for (int first = task.first; first < task.first + task.rows; first += step) {
        const int positions = std::min(step, task.first + task.rows - first);
        rows.start();
        for (int i = first; i < first + positions; ++i)
            for (int g = 0; g < group; ++g)
                rows.add(qkv + (int64_t)(s.begin + i) * plan.width + (task.head * group + g) * D,
                         scale, s.limit(s.shared + i));
        for (int b = 0; b * key_block < rows.limit[rows.count - 1]; ++b) {
            const int64_t at = (int64_t)task.head * plan.blocks + plan.block(s, b);
            attend_block<T>(rows, b * key_block, packed.keys_t + at * packed.columns_size,
                            packed.values + at * packed.rows_size);
        }
        for (int r = 0; r < rows.count; ++r) {
            const int64_t row = s.begin + first + r / group;
            const int head = task.head * group + r % group;
            rows.finish(r, y + row * plan.H * D + head * D);
            lse[row * plan.H + head] = rows.lse(r);
        }
    }
}

template <class T>
void attention_forward(Tensor y_, Tensor lse_, Tensor qkv_, const Ragged& ragged, int H, int K,
                       double scale) {
    const char* op = "attention_forward";
    Plan& plan = make_plan(op, qkv_, ragged, H, K);
    const int64_t N = qkv_.shape[0];
    T* y = arg<T>(op, "y", y_, {N, (int64_t)H * plan.D});
    T* lse = arg<T>(op, "lse", lse_, {N, H});
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, plan.width});
    make_tasks(plan, [](const Sequence&) { return forward_rows; });

    const int threads = plan.threads, rows = positions_at_once(plan) * plan.group;
    Packed<T> packed;
    Carver count;
    packed.layout(count, plan, false);
    QueryRows<T> counted;
    for (int t = 0; t < threads; ++t) counted.layout(count, rows, plan.D);
    Carver carver{(uintptr_t)scratch(Slot::attention, count.at)};
    packed.layout(carver, plan, false);
    pack(packed, plan, qkv);
#pragma omp parallel num_threads(threads)
    {
        Carver own = carver;
        QueryRows<T> mine;
        for (int t = 0; t <= omp_get_thread_num(); ++t) mine.layout(own, rows, plan.D);
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < plan.tasks.size(); ++i)
            forward_task(plan, plan.tasks[plan.order[i]], packed, mine, y, lse, qkv, (T)scale);
    }
}

// ---- backward -----------------------------------------------------------------------------------

template <class T> struct GradRows {
    int count = 0, D = 0, stride = 0;
    int* limit;     // (count) as in QueryRows
    T *q, *dy, *dq; // (count, stride): q times scale; dq without it
    T *lse, *delta; // (count): delta = <dy, y>
    T *p, *ds;      // (count, 64) of the block in hand

    void layout(Carver& memory, int rows, int D_) {
        D = D_, stride = padded_width<T>(D);
        limit = memory.take<int>(rows);
        for (T** x : {&q, &dy, &dq}) *x = memory.take<T>((int64_t)rows * stride);
        for (T** x : {&lse, &delta}) *x = memory.take<T>(rows);
        for (T** x : {&p, &ds}) *x = memory.take<T>((int64_t)rows * key_block);
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
        limit[count] = row_limit, lse[count] = row_lse, delta[count] = reduce_add<T>(sum);
        ++count;
    }
};

// dq, dk and dv of one block of keys [Dao 2023, algorithm 2]. dk, dv: (64, stride)
template <class T>
void grad_block(const GradRows<T>& rows, int first, const T* keys_t, const T* values_t,
                const T* keys, T* dk, T* dv) {
    const int stride = rows.stride, keys_seen = seen(rows.limit[rows.count - 1], first);
    for (int r0 = 0; r0 < rows.count; r0 += tile_rows) {
        const int R = std::min(tile_rows, rows.count - r0);
        const int most = seen(rows.limit[r0 + R - 1], first), least = seen(rows.limit[r0], first);
        if (most == 0) continue;
        const int vectors = (most + lanes<T> - 1) / lanes<T>;
        T *p = rows.p + r0 * key_block, *ds = rows.ds + r0 * key_block, *dq = rows.dq + r0 * stride;
        multiply<T, false, false>(p, key_block, rows.q + r0 * stride, stride, keys_t, key_block, R,
                                  vectors * lanes<T>, rows.D);
        multiply<T, false, false>(ds, key_block, rows.dy + r0 * stride, stride, values_t, key_block,
                                  R, vectors * lanes<T>, rows.D);
        for (int r = 0; r < R; ++r) {
            const Vec<T> lse = broadcast(rows.lse[r0 + r]), delta = broadcast(rows.delta[r0 + r]);
            for (int at = r * key_block, v = 0; v < vectors; ++v, at += lanes<T>) {
                Vec<T> prob = exp(load(p + at) - lse);
                store(p + at, prob);
                store(ds + at, prob * (load(ds + at) - delta));
            }
        }
        multiply<T, false, true>(dq, stride, ds, key_block, keys, stride, R, stride, least);
        for (int r = 0; r < R; ++r)
            if (int n = seen(rows.limit[r0 + r], first); n > least)
                multiply<T, false, true>(dq + r * stride, stride, ds + r * key_block + least,
                                         key_block, keys + least * stride, stride, 1, stride,
                                         n - least);
    }
    // Key j is seen by the rows from some row on; `all` see every key of the tile.
    for (int j0 = 0, from = 0; j0 < keys_seen; j0 += tile_rows) {
        const int J = std::min(tile_rows, keys_seen - j0);
        int all = from;
        while (rows.limit[all] < first + j0 + J) ++all;
        for (int j = j0; j < j0 + J; ++j) {
            while (rows.limit[from] <= first + j) ++from;
            if (from == all) continue;
            multiply<T, true, true>(dk + j * stride, stride, rows.ds + from * key_block + j,
                                    key_block, rows.q + from * stride, stride, 1, stride,
                                    all - from);
            multiply<T, true, true>(dv + j * stride, stride, rows.p + from * key_block + j,
                                    key_block, rows.dy + from * stride, stride, 1, stride,
                                    all - from);
        }
        multiply<T, true, true>(dk + j0 * stride, stride, rows.ds + all * key_block + j0, key_block,
                                rows.q + all * stride, stride, J, stride, rows.count - all);
        multiply<T, true, true>(dv + j0 * stride, stride, rows.p + all * key_block + j0, key_block,
                                rows.dy + all * stride, stride, J, stride, rows.count - all);
    }
}

// sums: (blocks that the task sees, 2, 64, stride): dk, dv
template <class T>
void backward_task(const Plan& plan, const Task& task, const Packed<T>& packed, GradRows<T> rows,
                   T* sums, T* dqkv, const T* dy, const T* y, const T* lse, const T* qkv, T scale) {
    const Sequence& s = plan.sequences[task.sequence];
    const int D = plan.D, group = plan.group, step = positions_at_once(plan);
    const int last = s.limit(s.shared + task.first + task.rows - 1);
    std::fill_n(sums, (last + key_block - 1) / key_block * 2 * packed.rows_size, T(0));
    for (int first = task.first; first < task.first + task.rows; first += step) {
        const int positions = std::min(step, task.first + task.rows - first);
        rows.start();
        for (int i = first; i < first + positions; ++i)
            for (int g = 0; g < group; ++g) {
                const int head = task.head * group + g;
                const int64_t row = s.begin + i, at = row * plan.H * D + head * D;
                rows.add(qkv + row * plan.width + head * D, dy + at, y + at,
                         lse[row * plan.H + head], scale, s.limit(s.shared + i));
            }
        for (int b = 0; b * key_block < rows.limit[rows.count - 1]; ++b) {
            const int64_t at = (int64_t)task.head * plan.blocks + plan.block(s, b);
            T* dk = sums + b * 2 * packed.rows_size;
            grad_block<T>(rows, b * key_block, packed.keys_t + at * packed.columns_size,
                          packed.values_t + at * packed.columns_size,
                          packed.keys + at * packed.rows_size, dk, dk + packed.rows_size);
        }
        for (int r = 0; r < rows.count; ++r) {
            T* dq = dqkv + (int64_t)(s.begin + first + r / group) * plan.width +
                    (task.head * group + r % group) * D;
            for (int d = 0; d < D; d += lanes<T>)
                store_row(
                    dq,
                    fma(broadcast(scale), load(rows.dq + r * rows.stride + d), load_row(dq, d, D)),
                    d, D);
        }
    }
}

// Adds to dk and dv of the sequence's own rows, for one head, what `task` summed up for them.
template <class T>
void add_sums(const Plan& plan, const Sequence& s, const Task& task, const T* sums, int rows_size,
              T* dqkv) {
    const Sequence& from = plan.sequences[task.sequence]; // s itself or a child of it
    const int last = from.limit(from.shared + task.first + task.rows - 1);
    const int offset = &from == &s ? s.shared : 0, D = plan.D, stride = rows_size / key_block;
    for (int t = offset; t < std::min(last, offset + s.rows); ++t) {
        T* dk = dqkv + (int64_t)(s.begin + t - offset) * plan.width + (plan.H + task.head) * D;
        T* dv = dk + plan.K * D;
        const T* sum = sums + t / key_block * 2 * rows_size + t % key_block * stride;
        for (int d = 0; d < D; d += lanes<T>) {
            store_row(dk, load_row(dk, d, D) + load(sum + d), d, D);
            store_row(dv, load_row(dv, d, D) + load(sum + rows_size + d), d, D);
        }
    }
}

template <class T>
void attention_backward(Tensor dqkv_, Tensor dy_, Tensor y_, Tensor lse_, Tensor qkv_,
                        const Ragged& ragged, int H, int K, double scale) {
    const char* op = "attention_backward";
    Plan& plan = make_plan(op, qkv_, ragged, H, K);
    const int64_t N = qkv_.shape[0];
    T* dqkv = arg<T>(op, "dqkv", dqkv_, {N, plan.width});
    const T* dy = arg<T>(op, "dy", dy_, {N, (int64_t)H * plan.D});
    const T* y = arg<T>(op, "y", y_, {N, (int64_t)H * plan.D});
    const T* lse = arg<T>(op, "lse", lse_, {N, H});
    const T* qkv = arg<T>(op, "qkv", qkv_, {N, plan.width});
    make_tasks(plan, [](const Sequence& s) {
        return std::max(backward_rows, (s.rows + backward_parts - 1) / backward_parts);
    });
    int64_t blocks = 0;
    for (Task& task : plan.tasks) {
        const Sequence& s = plan.sequences[task.sequence];
        task.sums = blocks;
        blocks += (s.limit(s.shared + task.first + task.rows - 1) + key_block - 1) / key_block;
    }

    const int threads = plan.threads, rows = positions_at_once(plan) * plan.group;
    Packed<T> packed;
    T* sums = nullptr;
    auto layout = [&](Carver& memory) {
        packed.layout(memory, plan, true);
        sums = memory.take<T>(blocks * 2 * packed.rows_size);
    };
    Carver count;
    layout(count);
    GradRows<T> counted;
    for (int t = 0; t < threads; ++t) counted.layout(count, rows, plan.D);
    Carver carver{(uintptr_t)scratch(Slot::attention, count.at)};
    layout(carver);
    pack(packed, plan, qkv);
#pragma omp parallel num_threads(threads)
    {
        Carver own = carver;
        GradRows<T> mine;
        for (int t = 0; t <= omp_get_thread_num(); ++t) mine.layout(own, rows, plan.D);
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < plan.tasks.size(); ++i) {
            const Task& task = plan.tasks[plan.order[i]];
            backward_task(plan, task, packed, mine, sums + task.sums * 2 * packed.rows_size, dqkv,
                          dy, y, lse, qkv, (T)scale);
        }
        // Own rows of a sequence and head: first its own tasks, then its children's, all in order.
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < (int)plan.sequences.size() * K; ++i) {
            const int sequence = i / K, head = i % K;
            const Sequence& s = plan.sequences[sequence];
            for (const Task& task : plan.tasks)
                if (task.head == head &&
                    (task.sequence == sequence || plan.sequences[task.sequence].parent == sequence))
                    add_sums(plan, s, task, sums + task.sums * 2 * packed.rows_size,
                             (int)packed.rows_size, dqkv);
        }
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
