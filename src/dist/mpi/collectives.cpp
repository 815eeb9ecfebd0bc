// Collectives of the CPU's ranks by MPI. What is summed is sent as it is and added up in the order of the
// ranks by whoever keeps the sum, so that the bits do not depend on the library's choice of algorithm.
// Every wait is a poll that soon sleeps: a rank that waits leaves its core to the others.

#include "base/beat.h"
#include "dist/processes.h"

#define OMPI_SKIP_MPICXX 1 // the old C++ interface
#include <mpi.h>
#include <numeric>
#include <unistd.h>

static constexpr int64_t stretch_bytes = 1 << 18; // of each rank's part, sent at once

// Until all of them are done.
static void wait_for(std::vector<MPI_Request>& requests) {
    int done = 0;
    for (int polls = 0;; ++polls) {
        CHECK(MPI_Testall((int)requests.size(), requests.data(), &done, MPI_STATUSES_IGNORE) ==
                  MPI_SUCCESS,
              "MPI_Testall failed");
        if (done) return;
        beat(); // it is others that are waited for
        if (polls > 20) ::usleep(polls > 500 ? 1000 : 100);
    }
}

static void wait_for(MPI_Request request) {
    std::vector<MPI_Request> one = {request};
    wait_for(one);
}

// A stretch of `n` elements of every part, on its way to the ranks that keep them: the others' of this rank's
// part arrive, one behind the other by rank.
template <class T> struct Arriving {
    std::vector<T> others;
    std::vector<MPI_Request> requests;

    void begin(const Collectives& ranks, const T* x, int64_t part, int64_t at, int64_t n) {
        others.resize((size_t)(n * ranks.ranks));
        requests.clear();
        const int bytes = (int)(n * (int64_t)sizeof(T));
        for (int k = 1; k < ranks.ranks; ++k) {
            const int from = (ranks.rank + k) % ranks.ranks;
            MPI_Irecv(others.data() + from * n, bytes, MPI_BYTE, from, 0, MPI_COMM_WORLD,
                      &requests.emplace_back());
        }
        for (int k = 1; k < ranks.ranks; ++k) {
            const int to = (ranks.rank + k) % ranks.ranks;
            MPI_Isend(x + to * part + at, bytes, MPI_BYTE, to, 0, MPI_COMM_WORLD,
                      &requests.emplace_back());
        }
    }
};

// x is `ranks` equal parts of count / ranks elements; part number `rank` becomes the sum. One stretch is
// on its way while the one before is added up.
template <class T> static void add_up(const Collectives& ranks, T* x, int64_t count) {
    const int64_t part = count / ranks.ranks, stretch = stretch_bytes / (int64_t)sizeof(T);
    Arriving<T> arriving[2];
    auto begin = [&](int which, int64_t at) {
        arriving[which].begin(ranks, x, part, at, std::min(stretch, part - at));
    };
    std::vector<T> sum;
    if (part > 0) begin(0, 0);
    for (int64_t at = 0, which = 0; at < part; at += stretch, which ^= 1) {
        const int64_t n = std::min(stretch, part - at);
        wait_for(arriving[which].requests);
        if (at + stretch < part) begin((int)which ^ 1, at + stretch);
        T* own = x + ranks.rank * part + at;
        sum.assign((size_t)n, T(0));
        for (int r = 0; r < ranks.ranks; ++r) {
            const T* term = r == ranks.rank ? own : arriving[which].others.data() + r * n;
            if (r == 0)
                std::copy_n(term, n, sum.data());
            else
                for (int64_t i = 0; i < n; ++i) sum[i] += term[i];
        }
        std::copy_n(sum.data(), n, own);
    }
}

static void check_parts(const char* op, const Collectives& ranks, int64_t count) {
    CHECK(count % ranks.ranks == 0, "%s: %lld elements do not divide into %d parts", op,
          (long long)count, ranks.ranks);
}

static void reduce_scatter(const Collectives& ranks, Tensor x) {
    check_parts("reduce_scatter", ranks, x.size());
    if (x.dtype == DType::f64) return add_up(ranks, x.as<double>(), x.size());
    add_up(ranks, x.as<float>(), x.size());
}

static void sum_integers(const Collectives& ranks, int64_t* x, int64_t count) {
    check_parts("sum_integers", ranks, count);
    add_up(ranks, x, count);
}

static void all_gather(const Collectives& ranks, Tensor x) {
    check_parts("all_gather", ranks, x.size());
    const int64_t part = (int64_t)x.bytes() / ranks.ranks;
    char* bytes = static_cast<char*>(x.data);
    // Counts of a message are ints.
    for (int64_t at = 0; at < part; at += INT32_MAX) {
        const int n = (int)std::min<int64_t>(INT32_MAX, part - at);
        std::vector<MPI_Request> requests;
        for (int k = 1; k < ranks.ranks; ++k) {
            const int from = (ranks.rank + k) % ranks.ranks;
            MPI_Irecv(bytes + from * part + at, n, MPI_BYTE, from, 0, MPI_COMM_WORLD,
                      &requests.emplace_back());
        }
        for (int k = 1; k < ranks.ranks; ++k) {
            const int to = (ranks.rank + k) % ranks.ranks;
            MPI_Isend(bytes + ranks.rank * part + at, n, MPI_BYTE, to, 0, MPI_COMM_WORLD,
                      &requests.emplace_back());
        }
        wait_for(requests);
    }
}

static std::vector<std::string> gather(const Collectives& ranks, const std::string& mine) {
    const int N = ranks.ranks;
    std::vector<int64_t> size((size_t)N);
    const int64_t own = (int64_t)mine.size();
    MPI_Request request;
    MPI_Iallgather(&own, 1, MPI_INT64_T, size.data(), 1, MPI_INT64_T, MPI_COMM_WORLD, &request);
    wait_for(request);
    std::vector<std::string> all((size_t)N);
    for (int r = 0; r < N; ++r) all[r].reserve((size_t)size[r]);
    // Counts of a message are ints, so that long ones go in pieces.
    const int64_t longest = *std::max_element(size.begin(), size.end());
    const int64_t piece = std::max<int64_t>(1, INT32_MAX / 2 / N);
    std::vector<int> count((size_t)N), place((size_t)N);
    std::vector<char> in;
    for (int64_t at = 0; at < longest; at += piece) {
        int total = 0;
        for (int r = 0; r < N; ++r) {
            count[r] = (int)std::clamp<int64_t>(size[r] - at, 0, piece);
            place[r] = total;
            total += count[r];
        }
        in.resize((size_t)total);
        MPI_Iallgatherv(mine.data() + std::min(at, own), count[ranks.rank], MPI_BYTE, in.data(),
                        count.data(), place.data(), MPI_BYTE, MPI_COMM_WORLD, &request);
        wait_for(request);
        for (int r = 0; r < N; ++r) all[r].append(in.data() + place[r], (size_t)count[r]);
    }
    return all;
}

static void all_reduce(const Collectives& ranks, Tensor x) {
    const std::string mine(static_cast<const char*>(x.data), x.bytes());
    const std::vector<std::string> all = gather(ranks, mine);
    auto add = [&](auto* sum) {
        using T = std::remove_pointer_t<decltype(sum)>;
        std::fill_n(sum, x.size(), T(0));
        for (const std::string& bytes : all)
            for (int64_t i = 0; i < x.size(); ++i) sum[i] += ((const T*)bytes.data())[i];
    };
    if (x.dtype == DType::f64) return add(x.as<double>());
    add(x.as<float>());
}

Collectives host_collectives() {
    int started = 0;
    MPI_Initialized(&started);
    if (!started) return one_rank();
    Collectives ranks;
    MPI_Comm_rank(MPI_COMM_WORLD, &ranks.rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks.ranks);
    ranks.reduce_scatter = reduce_scatter;
    ranks.all_gather = all_gather;
    ranks.all_reduce = all_reduce;
    ranks.gather = gather;
    ranks.sum_integers = sum_integers;
    return ranks;
}

std::vector<std::string> exchange_bytes(const std::vector<std::string>& to) {
    const Collectives ranks = host_collectives();
    const int N = ranks.ranks, own = ranks.rank;
    std::vector<std::string> from((size_t)N);
    from[own] = to[own];
    if (N == 1) return from;
    std::vector<int64_t> sent((size_t)N), come((size_t)N);
    for (int r = 0; r < N; ++r) sent[r] = (int64_t)to[r].size();
    MPI_Request sizes;
    MPI_Ialltoall(sent.data(), 1, MPI_INT64_T, come.data(), 1, MPI_INT64_T, MPI_COMM_WORLD, &sizes);
    wait_for(sizes);
    std::vector<MPI_Request> requests;
    auto pieces = [&](int64_t bytes, auto message) { // counts of a message are ints
        for (int64_t at = 0; at < bytes; at += INT32_MAX)
            message(at, (int)std::min<int64_t>(INT32_MAX, bytes - at));
    };
    for (int k = 1; k < N; ++k) {
        const int r = (own + k) % N;
        from[r].resize((size_t)come[r]);
        pieces(come[r], [&](int64_t at, int n) {
            MPI_Irecv(from[r].data() + at, n, MPI_BYTE, r, 0, MPI_COMM_WORLD,
                      &requests.emplace_back());
        });
    }
    for (int k = 1; k < N; ++k) {
        const int r = (own + k) % N;
        pieces(sent[r], [&](int64_t at, int n) {
            MPI_Isend(to[r].data() + at, n, MPI_BYTE, r, 0, MPI_COMM_WORLD,
                      &requests.emplace_back());
        });
    }
    wait_for(requests);
    return from;
}
