#include "written.h"

TEST(ops, what_backward_writes_is_what_it_adds_to_zeros) {
    for (DType dtype : {DType::f32, DType::f64})
        expect_written_is_added_to_zeros(
            cpu_ops(dtype), dtype, dtype,
            [](const TestTensor& x, DType to) {
                return x.view.dtype == DType::i32 ? x : converted(x, to);
            },
            [](const TestTensor& x) { return x; });
}
