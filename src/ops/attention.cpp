// Attention over a ragged batch. Tasks of some query rows of one sequence and one key/value head run in
// any order: a task packs block after block of 64 keys as attention_rows.h wants them, and does all its
// rows while the block lies in the cache. Backward sums dk and dv per task and adds the sums up in a
// fixed order afterwards, so that the gradient has the same bits whatever the number of threads.

#include "ops/attention_rows.h"
#include "ops/install.h"

#include <vector>

namespace cpu {
namespace {

constexpr int rows_at_once = 48;   // of backward: what they need of a block fits the L1 cache
constexpr int forward_rows = 256;  // positions per task of forward
constexpr int backward_rows = 512; // positions per task of backward, at least
constexpr int backward_parts = 4; // tasks per sequence and head at most: memory is linear in length

struct Sequence {
    int begin, rows;    // own rows in the batch
    int parent, shared; // the parent, and how many of its rows come first
    int prefix;         // tokens that see each other in both directions

    int length() const { return shared + rows; }
    int limit(int position) const { return position < prefix ? prefix : position + 1; }
};

struct Task {
    int sequence, head, first, rows; // own rows first .. first+rows-1
    int blocks;                      // of keys that it sees
    int64_t cost;
    int64_t sums = 0; // backward: where its dk and dv lie, in blocks
};

// The batch as read from `ragged`, and the tasks. Kept between calls so that its vectors only grow.
struct Plan {
    int H, K, D, group, width; // width: of a row of qkv
    std::vector<Sequence> sequences;
    std::vector<Task> tasks; // by sequence, head, first
    std::vector<int> order;  // tasks, the longest first
    int most_rows;           // query rows of a task
    int threads;
    const int* place; // (N) of the batch's rows in the tensors; null: in order

    // Row of the tensors that holds the sequence's own row i.
    int64_t row(const Sequence& s, int i) const { return place ? place[s.begin + i] : s.begin + i; }
    // ... its token `position`, the parent's rows counted.
    int64_t row_at(const Sequence& s, int position) const {
        return position < s.shared ? row(sequences[s.parent], position)
                                   : row(s, position - s.shared);
    }
};

void read_ragged(Plan& plan, const char* op, const Ragged& ragged, int64_t N) {
    const int S = ragged.sequences;
    const int* begin = arg<int>(op, "begin", ragged.begin, {S + 1});
    const int* prefix = optional_arg<int>(op, "prefix", ragged.prefix, {S});
    const int* parent = optional_arg<int>(op, "parent", ragged.parent, {S});
    CHECK(begin[0] == 0 && begin[S] == N, "%s: sequences cover rows %d to %d, of %lld", op,
          begin[0], begin[S], (long long)N);
    plan.place = optional_arg<int>(op, "row", ragged.row, {N});
    for (int64_t n = 0; plan.place && n < N; ++n)
        CHECK(plan.place[n] >= 0 && plan.place[n] < N, "%s: row %lld stands at %d, of %lld", op,
              (long long)n, plan.place[n], (long long)N);
    plan.sequences.clear();
    for (int i = 0; i < S; ++i) {
        Sequence s{begin[i], begin[i + 1] - begin[i], parent ? parent[i] : -1, 0, 0};
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
        plan.sequences.push_back(s);
    }
}

// Cuts every sequence into tasks; `rows_per_task` says how.
template <class F> void make_tasks(Plan& plan, F rows_per_task) {
    plan.tasks.clear();
    plan.order.clear();
    plan.most_rows = 0;
    for (int i = 0; i < (int)plan.sequences.size(); ++i) {
        const Sequence& s = plan.sequences[i];
        const int step = rows_per_task(s);
        for (int head = 0; head < plan.K; ++head)
            for (int first = 0; first < s.rows; first += step) {
                const int rows = std::min(step, s.rows - first);
                const int keys = s.limit(s.shared + first + rows - 1);
                const int64_t cost = (int64_t)rows * (s.limit(s.shared + first) + keys);
                plan.order.push_back((int)plan.tasks.size());
                plan.tasks.push_back(
                    {i, head, first, rows, (keys + key_block - 1) / key_block, cost});
                plan.most_rows = std::max(plan.most_rows, rows * plan.group);
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

// ---- packing ------------------------------------------------------------------------------------

// One head's block of keys and values.
template <class T> struct KeyBlock {
    T *keys, *values;     // (64, stride)
    T *keys_t, *values_t; // (D, 64)

    void layout(Carver& memory, int D) {
        for (T** x : {&keys, &values}) *x = memory.take<T>(key_block * padded_width<T>(D));
        for (T** x : {&keys_t, &values_t}) *x = memory.take<T>(D * key_block);
    }
};

// Calls f(j, row j of block b); x points at the head in row 0 of qkv.
template <class T, class F>
void for_rows(const Plan& plan, const Sequence& s, int b, const T* x, const F& f) {
    const int count = std::min(key_block, s.length() - b * key_block);
    for (int j = 0; j < count; ++j) f(j, x + plan.row_at(s, b * key_block + j) * plan.width);
}
template <class T>
void pack_rows(const Plan& plan, const Sequence& s, int b, const T* x, T* packed) {
    const int D = plan.D, stride = padded_width<T>(D);
    for_rows(plan, s, b, x, [&](int j, const T* from) {
        std::copy_n(from, D, packed + j * stride);
        std::fill(packed + j * stride + D, packed + (j + 1) * stride, T(0));
    });
}
template <class T>
void pack_columns(const Plan& plan, const Sequence& s, int b, const T* x, T* packed) {
    for_rows(plan, s, b, x, [&](int j, const T* from) {
        for (int d = 0; d < plan.D; ++d) packed[d * key_block + j] = from[d];
    });
}

// What a thread works with: its rows and the block in hand.
template <class T, template <class> class Rows> struct Work {
    Rows<T> rows;
    KeyBlock<T> block;

    void layout(Carver& memory, const Plan& plan) {
        rows.layout(memory, plan.most_rows, plan.D);
        block.layout(memory, plan.D);
    }
    static size_t bytes(const Plan& plan) {
        Carver count;
        Work().layout(count, plan);
        return count.at;
    }
};

// ---- forward ------------------------------------------------------------------------------------

template <class T>
void forward_task(const Plan& plan, const Task& task, Work<T, QueryRows>& work, T* y, T* lse,
                  const T* qkv, T scale) {
    const Sequence& s = plan.sequences[task.sequence];
    const int D = plan.D, group = plan.group;
    QueryRows<T>& rows = work.rows;
    rows.start();
    for (int i = task.first; i < task.first + task.rows; ++i)
        for (int g = 0; g < group; ++g)
            rows.add(qkv + plan.row(s, i) * plan.width + (task.head * group + g) * D, scale,
                     s.limit(s.shared + i));
    const T* key = qkv + (plan.H + task.head) * D;
    for (int b = 0; b < task.blocks; ++b) {
        pack_columns(plan, s, b, key, work.block.keys_t);
        pack_rows(plan, s, b, key + plan.K * D, work.block.values);
        attend_block<T>(rows, b * key_block, work.block.keys_t, work.block.values);
    }
    for (int r = 0; r < rows.count; ++r) {
        const int64_t row = plan.row(s, task.first + r / group);
        const int head = task.head * group + r % group;
        rows.finish(r, y + row * plan.H * D + head * D);
        lse[row * plan.H + head] = rows.lse(r);
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

    const size_t bytes = Work<T, QueryRows>::bytes(plan);
    const uintptr_t memory = (uintptr_t)scratch(Slot::attention, bytes * plan.threads);
#pragma omp parallel num_threads(plan.threads)
    {
        Carver own{memory + bytes * omp_get_thread_num()};
        Work<T, QueryRows> work;
        work.layout(own, plan);
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < plan.tasks.size(); ++i)
            forward_task(plan, plan.tasks[plan.order[i]], work, y, lse, qkv, (T)scale);
    }
}

// ---- backward -----------------------------------------------------------------------------------

template <class T> struct GradRows {
    int count = 0, D = 0, stride = 0;
    int* limit;     // (count) as in QueryRows
    T *q, *dy, *dq; // (count, stride): q times scale; dq without it
    T *lse, *delta; // (count): delta = <dy, y>
    T *p, *ds;      // (rows_at_once, 64) of the block in hand

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
        x.count = rows, x.limit += first, x.lse += first, x.delta += first;
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
        limit[count] = row_limit, lse[count] = row_lse, delta[count] = reduce_add<T>(sum);
        ++count;
    }
};

// dq, dk and dv of one block of keys [Dao 2023, algorithm 2] for at most rows_at_once rows.
// dk, dv: (64, stride)
template <class T>
void grad_block(const GradRows<T>& rows, int first, const KeyBlock<T>& block, T* dk, T* dv) {
    const int stride = rows.stride, keys = seen(rows.limit[rows.count - 1], first);
    for (int r0 = 0; r0 < rows.count; r0 += tile_rows) {
        const int R = std::min(tile_rows, rows.count - r0);
        int keys_seen[tile_rows];
        for (int r = 0; r < R; ++r) keys_seen[r] = seen(rows.limit[r0 + r], first);
        const int most = keys_seen[R - 1];
        if (most == 0) continue;
        const int vectors = (most + lanes<T> - 1) / lanes<T>;
        T *p = rows.p + r0 * key_block, *ds = rows.ds + r0 * key_block;
        multiply<T, false, false>(p, key_block, rows.q + r0 * stride, stride, block.keys_t,
                                  key_block, R, vectors * lanes<T>, rows.D);
        multiply<T, false, false>(ds, key_block, rows.dy + r0 * stride, stride, block.values_t,
                                  key_block, R, vectors * lanes<T>, rows.D);
        for (int r = 0; r < R; ++r) {
            const Vec<T> lse = broadcast(rows.lse[r0 + r]), delta = broadcast(rows.delta[r0 + r]);
            T *p_row = p + r * key_block, *ds_row = ds + r * key_block;
            for (int v = 0; v < vectors; ++v) {
                const int at = v * lanes<T>;
                Vec<T> prob = exp(load(p_row + at) - lse),
                       grad = prob * (load(ds_row + at) - delta);
                if (keys_seen[r] < at + lanes<T>) {
                    const Mask<T> sees = before<T>(v, keys_seen[r]);
                    prob = sees ? prob : Vec<T>{}, grad = sees ? grad : Vec<T>{};
                }
                store(p_row + at, prob);
                store(ds_row + at, grad);
            }
            for (int at = vectors * lanes<T>; at < keys; at += lanes<T>) {
                store(p_row + at, Vec<T>{});
                store(ds_row + at, Vec<T>{});
            }
        }
        multiply<T, false, true>(rows.dq + r0 * stride, stride, ds, key_block, block.keys, stride,
                                 R, stride, most, keys_seen);
    }
    // Tiles of keys with all rows from the first that sees one of them: p and ds of the others are 0.
    for (int j0 = 0, from = 0; j0 < keys; j0 += tile_rows) {
        const int J = std::min(tile_rows, keys - j0);
        while (rows.limit[from] <= first + j0) ++from;
        multiply<T, true, true>(dk + j0 * stride, stride, rows.ds + from * key_block + j0,
                                key_block, rows.q + from * stride, stride, J, stride,
                                rows.count - from);
        multiply<T, true, true>(dv + j0 * stride, stride, rows.p + from * key_block + j0, key_block,
                                rows.dy + from * stride, stride, J, stride, rows.count - from);
    }
}

// sums: (blocks that the task sees, 2, 64, stride): dk, dv
template <class T>
void backward_task(const Plan& plan, const Task& task, Work<T, GradRows>& work, T* sums, T* dqkv,
                   const T* dy, const T* y, const T* lse, const T* qkv, T scale) {
    const Sequence& s = plan.sequences[task.sequence];
    const int D = plan.D, group = plan.group;
    GradRows<T>& rows = work.rows;
    rows.start();
    for (int i = task.first; i < task.first + task.rows; ++i)
        for (int g = 0; g < group; ++g) {
            const int head = task.head * group + g;
            const int64_t row = plan.row(s, i), at = row * plan.H * D + head * D;
            rows.add(qkv + row * plan.width + head * D, dy + at, y + at, lse[row * plan.H + head],
                     scale, s.limit(s.shared + i));
        }
    const T *key = qkv + (plan.H + task.head) * D, *value = key + plan.K * D;
    const int64_t size = (int64_t)key_block * rows.stride;
    std::fill_n(sums, task.blocks * 2 * size, T(0));
    for (int b = 0; b < task.blocks; ++b, sums += 2 * size) {
        pack_rows(plan, s, b, key, work.block.keys);
        pack_columns(plan, s, b, key, work.block.keys_t);
        pack_columns(plan, s, b, value, work.block.values_t);
        for (int r = 0; r < rows.count; r += rows_at_once)
            grad_block(rows.part(r, std::min(rows_at_once, rows.count - r)), b * key_block,
                       work.block, sums, sums + size);
    }
    for (int r = 0; r < rows.count; ++r) {
        T* dq = dqkv + plan.row(s, task.first + r / group) * plan.width +
                (task.head * group + r % group) * D;
        for (int d = 0; d < D; d += lanes<T>)
            store_row(
                dq, fma(broadcast(scale), load(rows.dq + r * rows.stride + d), load_row(dq, d, D)),
                d, D);
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
        T* dk = dqkv + plan.row(s, t - offset) * plan.width + (plan.H + task.head) * D;
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
    for (Task& task : plan.tasks) task.sums = blocks, blocks += task.blocks;

    const size_t bytes = Work<T, GradRows>::bytes(plan);
    const int64_t size = (int64_t)key_block * padded_width<T>(plan.D);
    T* sums = nullptr;
    auto layout = [&](Carver& memory) { sums = memory.take<T>(blocks * 2 * size); };
    Carver count;
    layout(count);
    Carver carver{(uintptr_t)scratch(Slot::attention, count.at + bytes * plan.threads)};
    layout(carver);
#pragma omp parallel num_threads(plan.threads)
    {
        Carver own{carver.at + bytes * omp_get_thread_num()};
        Work<T, GradRows> work;
        work.layout(own, plan);
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < plan.tasks.size(); ++i) {
            const Task& task = plan.tasks[plan.order[i]];
            backward_task(plan, task, work, sums + task.sums * 2 * size, dqkv, dy, y, lse, qkv,
                          (T)scale);
        }
        // Own rows of a sequence and head: first its own tasks, then its children's, all in order.
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < (int)plan.sequences.size() * K; ++i) {
            const int sequence = i / K, head = i % K;
            const Sequence& s = plan.sequences[sequence];
            for (const Task& task : plan.tasks)
                if (task.head == head &&
                    (task.sequence == sequence || plan.sequences[task.sequence].parent == sequence))
                    add_sums(plan, s, task, sums + task.sums * 2 * size, (int)size, dqkv);
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
