// Attention over a ragged batch. Tasks of some query rows of one sequence and one key/value head run in
// any order: a task packs block after block of 64 keys as attention_rows.h wants them, and does all its
// rows while the block lies in the cache. Backward, where blocks may begin anywhere, takes the children of one parent
// together: their parent's keys are packed once for all of them. Rows of keys that several tasks see (a parent's, or those of a sequence
// of several tasks) get their dk and dv afterwards, from sums per task in a fixed order, so that the gradient has
// the same bits whatever the number of threads.

#include "ops/attention_rows.h"
#include "ops/install.h"

#include <vector>

namespace cpu {
namespace {

constexpr int rows_at_once = 48;   // of backward: what they need of a block fits the L1 cache
constexpr int forward_rows = 256;  // positions per task of forward
constexpr int backward_rows = 512; // positions per task of backward, at least
constexpr int backward_parts = 4; // tasks per sequence and head at most: memory is linear in length
constexpr int sibling_rows = 256; // positions of a parent's children that a task takes together

struct Sequence {
    int begin, rows;    // own rows in the batch
    int parent, shared; // the parent, and how many of its rows come first
    int prefix;         // tokens that see each other in both directions

    int length() const { return shared + rows; }
    int limit(int position) const { return position < prefix ? prefix : position + 1; }
};

struct Task {
    int sequence, head, first, rows; // own rows first .. first+rows-1
    int siblings;                    // sequences from the first on; more than one: all rows of each
    int64_t cost;
    // backward: of the keys that it sees, the first `kept` get a sum of their own, which starts at row `sums`; the
    // others are seen by no other task
    int kept = 0;
    int64_t sums = 0;

    int rows_of(const Sequence& s) const { return siblings > 1 ? s.rows : rows; }
};

// The batch as read from `ragged`, and the tasks. Kept between calls so that its vectors only grow.
struct Plan {
    int H, K, D, group, width; // width: of a row of qkv
    std::vector<Sequence> sequences;
    std::vector<Task> tasks; // by sequence, head, first
    std::vector<int> order;  // tasks, the longest first
    std::vector<std::vector<int>>
        adds;      // backward: per sequence, tasks with sums for its rows, in order
    int most_rows; // query rows of a task
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

// Cuts every sequence into tasks; `rows_per_task` says how. Children of one parent that have at most `together` rows
// become one.
template <class F> void make_tasks(Plan& plan, int together, F rows_per_task) {
    auto cost_of = [](const Sequence& s, int first, int rows) {
        return (int64_t)rows * (s.limit(s.shared + first) + s.limit(s.shared + first + rows - 1));
    };
    plan.tasks.clear();
    plan.order.clear();
    plan.most_rows = 0;
    const int S = (int)plan.sequences.size();
    for (int i = 0, siblings = 1; i < S; i += siblings) {
        const Sequence& s = plan.sequences[i];
        int rows = s.rows;
        int64_t all = cost_of(s, 0, s.rows);
        for (siblings = 1; s.parent >= 0 && i + siblings < S; ++siblings) {
            const Sequence& next = plan.sequences[i + siblings];
            if (next.parent != s.parent || rows + next.rows > together) break;
            rows += next.rows, all += cost_of(next, 0, next.rows);
        }
        const int step = siblings > 1 ? rows : rows_per_task(s);
        for (int head = 0; head < plan.K; ++head)
            for (int first = 0; first < rows; first += step) {
                const int count = std::min(step, rows - first);
                plan.order.push_back((int)plan.tasks.size());
                plan.tasks.push_back({i, head, first, count, siblings,
                                      siblings > 1 ? all : cost_of(s, first, count)});
                plan.most_rows = std::max(plan.most_rows, count * plan.group);
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
    T *keys_t, *values_t; // (64 / lanes, D, lanes)

    void layout(Carver& memory, int D) {
        for (T** x : {&keys, &values}) *x = memory.take<T>(key_block * padded_width<T>(D));
        for (T** x : {&keys_t, &values_t}) *x = memory.take<T>(D * key_block);
    }
};

// Keys first .. first+count-1 of a sequence; x points at the head in row 0 of qkv.
template <class T>
void pack_rows(const Plan& plan, const Sequence& s, int first, int count, const T* x, T* packed) {
    const int D = plan.D, stride = padded_width<T>(D);
    for (int j = 0; j < count; ++j) {
        std::copy_n(x + plan.row_at(s, first + j) * plan.width, D, packed + j * stride);
        std::fill(packed + j * stride + D, packed + (j + 1) * stride, T(0));
    }
}
template <class T>
void pack_strips(const Plan& plan, const Sequence& s, int first, int count, const T* x, T* packed) {
    const int D = plan.D;
    for (int j0 = 0; j0 < count; j0 += lanes<T>, packed += D * lanes<T>) {
        const T* row[lanes<T>];
        const int rows = std::min(lanes<T>, count - j0);
        for (int j = 0; j < rows; ++j) row[j] = x + plan.row_at(s, first + j0 + j) * plan.width;
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
    for (int first = 0; first < rows.limit[rows.count - 1]; first += key_block) {
        const int count = std::min(key_block, s.length() - first);
        pack_strips(plan, s, first, count, key, work.block.keys_t);
        pack_rows(plan, s, first, count, key + plan.K * D, work.block.values);
        attend_block<T>(rows, first, work.block.keys_t, work.block.values);
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
    make_tasks(plan, 0, [](const Sequence&) { return forward_rows; });

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

// dq, dk and dv of the keys first .. first+count-1 [Dao 2023, algorithm 2] for at most rows_at_once rows.
// dk, dv: (count, stride)
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
void add_key_grads(const Plan& plan, int64_t row, int head, const T* dk_sum, const T* dv_sum,
                   T* dqkv) {
    T* dk = dqkv + row * plan.width + (plan.H + head) * plan.D;
    T* dv = dk + plan.K * plan.D;
    for (int d = 0; d < plan.D; d += lanes<T>) {
        store_row(dk, load_row(dk, d, plan.D) + load(dk_sum + d), d, plan.D);
        store_row(dv, load_row(dv, d, plan.D) + load(dv_sum + d), d, plan.D);
    }
}

// sums: (task.kept, 2, stride): dk, dv.   block_sums: (2, 64, stride) scratch
template <class T>
void backward_task(const Plan& plan, const Task& task, Work<T, GradRows>& work, T* block_sums,
                   T* sums, T* dqkv, const T* dy, const T* y, const T* lse, const T* qkv, T scale) {
    const int D = plan.D, group = plan.group, width = plan.width;
    GradRows<T>& rows = work.rows;
    const int stride = padded_width<T>(D);
    // Calls f(row of the tensors, query head, sequence, own row) for the task's rows in order.
    auto for_rows = [&](const auto& f) {
        for (int c = 0; c < task.siblings; ++c) {
            const Sequence& s = plan.sequences[task.sequence + c];
            for (int i = task.first; i < task.first + task.rows_of(s); ++i)
                for (int g = 0; g < group; ++g) f(plan.row(s, i), task.head * group + g, s, i);
        }
    };
    rows.start();
    for_rows([&](int64_t row, int head, const Sequence& s, int i) {
        const int64_t at = row * plan.H * D + head * D;
        rows.add(qkv + row * width + head * D, dy + at, y + at, lse[row * plan.H + head], scale,
                 s.limit(s.shared + i));
    });

    const T *key = qkv + (plan.H + task.head) * D, *value = key + plan.K * D;
    T *dk = block_sums, *dv = block_sums + key_block * stride;
    // Keys first .. last-1 of a sequence with the rows that see them.
    auto for_keys = [&](const Sequence& s, int first, int last, const GradRows<T>& by) {
        for (; first < last; first += key_block) {
            const int count = std::min(key_block, last - first);
            std::fill_n(dk, count * stride, T(0)), std::fill_n(dv, count * stride, T(0));
            pack_rows(plan, s, first, count, key, work.block.keys);
            pack_strips(plan, s, first, count, key, work.block.keys_t);
            pack_strips(plan, s, first, count, value, work.block.values_t);
            for (int r = 0; r < by.count; r += rows_at_once)
                grad_block(by.part(r, std::min(rows_at_once, by.count - r)), first, count,
                           work.block, dk, dv);
            for (int j = 0; j < count; ++j) {
                const int t = first + j;
                if (t < task.kept) {
                    std::copy_n(dk + j * stride, stride, sums + 2 * t * stride);
                    std::copy_n(dv + j * stride, stride, sums + (2 * t + 1) * stride);
                } else {
                    add_key_grads(plan, plan.row_at(s, t), task.head, dk + j * stride,
                                  dv + j * stride, dqkv);
                }
            }
        }
    };
    for_keys(plan.sequences[task.sequence], 0, plan.sequences[task.sequence].shared, rows);
    for (int c = 0, at = 0; c < task.siblings; ++c) {
        const Sequence& s = plan.sequences[task.sequence + c];
        const int count = task.rows_of(s) * group;
        if (count > 0) for_keys(s, s.shared, rows.limit[at + count - 1], rows.part(at, count));
        at += count;
    }

    const T* dq = rows.dq;
    for_rows([&](int64_t row, int head, const Sequence&, int) {
        T* to = dqkv + row * width + head * D;
        for (int d = 0; d < D; d += lanes<T>)
            store_row(to, fma(broadcast(scale), load(dq + d), load_row(to, d, D)), d, D);
        dq += stride;
    });
}

// Which sums the tasks keep, and for whom; returns their rows in all.
int64_t plan_sums(Plan& plan) {
    const size_t S = plan.sequences.size();
    std::vector<char> several(S, 0); // whether its rows are seen by several tasks of a head
    for (const Sequence& s : plan.sequences)
        if (s.parent >= 0) several[s.parent] = 1;
    for (const Task& task : plan.tasks)
        if (task.rows < plan.sequences[task.sequence].rows) several[task.sequence] = 1;
    if (plan.adds.size() < S) plan.adds.resize(S);
    for (std::vector<int>& tasks : plan.adds) tasks.clear();
    int64_t rows = 0;
    for (size_t i = 0; i < plan.tasks.size(); ++i) {
        Task& task = plan.tasks[i];
        const Sequence& s = plan.sequences[task.sequence];
        const int keys = s.limit(s.shared + task.first + task.rows - 1);
        task.kept = several[task.sequence] ? keys : s.shared;
        task.sums = rows, rows += task.kept;
        if (several[task.sequence]) plan.adds[task.sequence].push_back((int)i);
        if (s.parent >= 0) plan.adds[s.parent].push_back((int)i);
    }
    return rows;
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
    make_tasks(plan, sibling_rows, [](const Sequence& s) {
        return std::max(backward_rows, (s.rows + backward_parts - 1) / backward_parts);
    });
    const int64_t kept = plan_sums(plan);

    const int stride = padded_width<T>(plan.D);
    const size_t bytes =
        Work<T, GradRows>::bytes(plan) + (size_t)round_up(2 * key_block * stride * sizeof(T), 64);
    T* sums = nullptr;
    auto layout = [&](Carver& memory) { sums = memory.take<T>(kept * 2 * stride); };
    Carver count;
    layout(count);
    Carver carver{(uintptr_t)scratch(Slot::attention, count.at + bytes * plan.threads)};
    layout(carver);
#pragma omp parallel num_threads(plan.threads)
    {
        Carver own{carver.at + bytes * omp_get_thread_num()};
        Work<T, GradRows> work;
        work.layout(own, plan);
        T* block_sums = own.take<T>(2 * key_block * stride);
#pragma omp for schedule(dynamic, 1)
        for (size_t i = 0; i < plan.tasks.size(); ++i) {
            const Task& task = plan.tasks[plan.order[i]];
            backward_task(plan, task, work, block_sums, sums + task.sums * 2 * stride, dqkv, dy, y,
                          lse, qkv, (T)scale);
        }
        // Own rows of a sequence and head: first its own tasks, then its children's, all in order.
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < (int)plan.sequences.size() * K; ++i) {
            const Sequence& s = plan.sequences[i / K];
            for (int number : plan.adds[i / K]) {
                const Task& task = plan.tasks[number];
                if (task.head != i % K) continue;
                // the rows of s are the first that a child sees, and the last that its own tasks do
                const bool child = plan.sequences[task.sequence].parent == i / K;
                for (int t = child ? 0 : s.shared; t < (child ? s.rows : task.kept); ++t) {
                    const T* sum = sums + (task.sums + t) * 2 * stride;
                    add_key_grads(plan, plan.row(s, child ? t : t - s.shared), task.head, sum,
                                  sum + stride, dqkv);
                }
            }
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
