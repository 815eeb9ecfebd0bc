#include "ops/attention_tasks.h"

#include "ops/attention_rows.h"
#include "ops/install.h"

#include <algorithm>

namespace cpu {

constexpr int forward_rows = 256;  // positions per task of forward
constexpr int backward_rows = 512; // positions per task of backward, at least
constexpr int backward_parts = 4;  // tasks per sequence and head: memory is linear in length
constexpr int sibling_rows = 256;  // positions of a parent's children that a task takes together

static void read_ragged(AttentionTasks& all, const char* op, const Ragged& ragged, int64_t N) {
    const int S = ragged.sequences;
    const int* begin = arg<int>(op, "begin", ragged.begin, {S + 1});
    const int* prefix = optional_arg<int>(op, "prefix", ragged.prefix, {S});
    const int* parent = optional_arg<int>(op, "parent", ragged.parent, {S});
    CHECK(begin[0] == 0 && begin[S] == N, "%s: sequences cover rows %d to %d, of %lld", op,
          begin[0], begin[S], (long long)N);
    all.place = optional_arg<int>(op, "row", ragged.row, {N});
    for (int64_t n = 0; all.place && n < N; ++n)
        CHECK(all.place[n] >= 0 && all.place[n] < N, "%s: row %lld stands at %d, of %lld", op,
              (long long)n, all.place[n], (long long)N);
    for (int i = 0; i < S; ++i) {
        AttentionSequence s{begin[i], begin[i + 1] - begin[i], parent ? parent[i] : -1, 0, 0};
        CHECK(s.rows >= 0, "%s: sequence %d has %d rows", op, i, s.rows);
        CHECK(s.parent >= -1 && s.parent < i,
              "%s: sequence %d has parent %d, which must stand before it", op, i, s.parent);
        if (s.parent >= 0) {
            CHECK(all.sequences[s.parent].parent < 0,
                  "%s: the parent of sequence %d has a parent itself", op, i);
            s.shared = all.sequences[s.parent].rows;
        }
        s.prefix = prefix ? prefix[i] : 0;
        CHECK(s.prefix <= (s.parent < 0 ? s.length() : s.shared),
              "%s: sequence %d has a prefix of %d tokens, but only %d may see each other", op, i,
              s.prefix, s.parent < 0 ? s.length() : s.shared);
        all.sequences.push_back(s);
    }
}

static AttentionTasks read_batch(const char* op, const Tensor& qkv, const Ragged& ragged, int H,
                                 int K) {
    CHECK(K > 0 && H > 0 && H % K == 0, "%s: %d query heads are no multiple of %d key heads", op, H,
          K);
    const int width = (int)qkv.shape[1];
    CHECK(qkv.rank == 2 && width > 0 && width % (H + 2 * K) == 0,
          "%s: qkv is %s, wanted %d heads side by side", op, shape_text(qkv).c_str(), H + 2 * K);
    AttentionTasks all;
    all.H = H;
    all.K = K;
    all.group = H / K;
    all.width = width;
    all.D = width / (H + 2 * K);
    read_ragged(all, op, ragged, qkv.shape[0]);
    return all;
}

// Cuts every sequence into tasks; `rows_per_task` says how. Children of one parent that have at
// most `together` rows become one.
template <class F> static void make_tasks(AttentionTasks& all, int together, F rows_per_task) {
    auto cost_of = [](const AttentionSequence& s, int first, int rows) {
        return (int64_t)rows * (s.limit(s.shared + first) + s.limit(s.shared + first + rows - 1));
    };
    const int S = (int)all.sequences.size();
    for (int i = 0, siblings = 1; i < S; i += siblings) {
        const AttentionSequence& s = all.sequences[i];
        int rows = s.rows;
        int64_t cost = cost_of(s, 0, s.rows);
        for (siblings = 1; s.parent >= 0 && i + siblings < S; ++siblings) {
            const AttentionSequence& next = all.sequences[i + siblings];
            if (next.parent != s.parent || rows + next.rows > together) break;
            rows += next.rows;
            cost += cost_of(next, 0, next.rows);
        }
        const int step = siblings > 1 ? rows : rows_per_task(s);
        for (int head = 0; head < all.K; ++head)
            for (int first = 0; first < rows; first += step) {
                const int count = std::min(step, rows - first);
                all.order.push_back((int)all.tasks.size());
                all.tasks.push_back({i, head, first, count, siblings,
                                     siblings > 1 ? cost : cost_of(s, first, count)});
                all.most_rows = std::max(all.most_rows, count * all.group);
            }
    }
    int64_t total = 0;
    for (const AttentionTask& task : all.tasks) total += task.cost;
    all.threads = team_size(total * all.group * all.D);
    std::sort(all.order.begin(), all.order.end(), [&](int a, int b) {
        int64_t x = all.tasks[a].cost, y = all.tasks[b].cost;
        return x != y ? x > y : a < b;
    });
}

// Which sums the tasks keep, and for whom.
static void plan_sums(AttentionTasks& all) {
    const size_t S = all.sequences.size();
    std::vector<char> several(S, 0); // whether its rows are seen by several tasks of a head
    for (const AttentionSequence& s : all.sequences)
        if (s.parent >= 0) several[s.parent] = 1;
    for (const AttentionTask& task : all.tasks)
        if (task.rows < all.sequences[task.sequence].rows) several[task.sequence] = 1;
    all.adds.resize(S);
    for (size_t i = 0; i < all.tasks.size(); ++i) {
        AttentionTask& task = all.tasks[i];
        const AttentionSequence& s = all.sequences[task.sequence];
        const int keys = s.limit(s.shared + task.first + task.rows - 1);
        task.kept = several[task.sequence] ? keys : s.shared;
        task.sums = all.kept;
        all.kept += task.kept;
        if (several[task.sequence]) all.adds[task.sequence].push_back((int)i);
        if (s.parent >= 0) all.adds[s.parent].push_back((int)i);
    }
}

AttentionTasks forward_tasks(const char* op, const Tensor& qkv, const Ragged& ragged, int H,
                             int K) {
    AttentionTasks all = read_batch(op, qkv, ragged, H, K);
    make_tasks(all, 0, [](const AttentionSequence&) { return forward_rows; });
    return all;
}

AttentionTasks backward_tasks(const char* op, const Tensor& qkv, const Ragged& ragged, int H,
                              int K) {
    AttentionTasks all = read_batch(op, qkv, ragged, H, K);
    make_tasks(all, sibling_rows, [](const AttentionSequence& s) {
        return std::max(backward_rows, (s.rows + backward_parts - 1) / backward_parts);
    });
    plan_sums(all);
    return all;
}

} // namespace cpu
