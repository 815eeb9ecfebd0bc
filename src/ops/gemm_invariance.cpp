// Whether GEMMs on this machine give a row the same bits in any batch: found out by running them.
// Where they do not, what a rollout records and what the trainer computes may differ in the last bits.

#include "ops/ops.h"

#include <cstdlib>
#include <cstring>
#include <omp.h>
#include <utility>
#include <vector>

// A few shapes: batches cut out of a larger one, plain and packed, on all threads and on one alone.
static bool run_invariance_check(DType inputs) {
    const Ops& ops = cpu_ops(DType::f32, inputs);
    const int all_threads = omp_get_max_threads();
    for (auto [O, C] : {std::pair<int64_t, int64_t>{960, 576}, {576, 1536}, {1001, 70}}) {
        const int64_t N = 300, first = 3; // the batches begin at an odd place
        std::vector<float> w(O * C), x(N * C), together(N * O), apart(N * O);
        std::vector<uint16_t> copy(O * C);
        uint32_t state = 1; // any numbers do
        for (std::vector<float>* list : {&w, &x})
            for (float& value : *list) {
                state = state * 1664525 + 1013904223;
                value = (float)(int32_t)state * 0x1p-31f;
            }

        const size_t bytes = ops.packed_bytes(O, C, inputs);
        Weight plain = {Tensor(w.data(), DType::f32, {O, C}), {}, {}};
        if (inputs == DType::bf16) plain.copy = Tensor(copy.data(), DType::bf16, {O, C});
        Weight packed = plain;
        packed.packed =
            Tensor(std::aligned_alloc(64, (bytes + 63) / 64 * 64), DType::u8, {(int64_t)bytes});
        ops.refresh_weight(packed);

        Tensor rows(x.data(), DType::f32, {N, C});
        ops.linear_forward(Tensor(together.data(), DType::f32, {N, O}), rows, plain, {});
        bool same = true;
        for (int threads : {all_threads, 1}) {
            omp_set_num_threads(threads);
            for (const Weight& form : {plain, packed})
                for (int64_t count : {1, 2, 7, 33, 150}) {
                    Tensor y(apart.data(), DType::f32, {count, O});
                    ops.linear_forward(y, rows.rows(first, count), form, {});
                    same = same && !std::memcmp(together.data() + first * O, y.data, y.bytes());
                }
        }
        omp_set_num_threads(all_threads);
        std::free(packed.packed.data);
        if (!same) return false;
    }
    return true;
}

bool cpu_gemm_is_batch_invariant(DType gemm) {
    if (gemm == DType::bf16) {
        static const bool bf16 = run_invariance_check(DType::bf16);
        return bf16;
    }
    static const bool f32 = run_invariance_check(DType::f32);
    return f32;
}
