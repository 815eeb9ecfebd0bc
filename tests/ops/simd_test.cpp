#include "ops/simd.h"
#include "testing.h"

#include <bit>

using namespace cpu;

TEST(Simd, ExpIsWithinOneUlp) {
    double worst = 0;
    for (uint64_t bits = 0; bits < 1ull << 32; bits += lanes<float> * 4099) {
        float x[lanes<float>], y[lanes<float>];
        for (int i = 0; i < lanes<float>; ++i)
            x[i] = std::bit_cast<float>((uint32_t)(bits + i * 4099));
        store(y, exp(load(x)));
        for (int i = 0; i < lanes<float>; ++i) {
            if (std::isnan(x[i]))
                EXPECT_TRUE(std::isnan(y[i]));
            else if (x[i] < -87.33f)
                EXPECT_EQ(y[i], 0) << x[i];
            else if (x[i] > 88.72f)
                EXPECT_EQ(y[i], INFINITY) << x[i];
            else {
                double want = std::exp((double)x[i]);
                worst = std::max(worst, std::abs(y[i] - want) /
                                            std::ldexp(1.0, std::ilogb((float)want) - 23));
            }
        }
    }
    EXPECT_LT(worst, 1);
    EXPECT_GT(worst, 0.5); // it was compared with something
    for (auto [x, want] :
         {std::pair{0.f, 1.f}, {-0.f, 1.f}, {-INFINITY, 0.f}, {INFINITY, INFINITY}})
        EXPECT_EQ(exp(broadcast(x))[0], want);
}

template <class T> static void check_reductions() {
    T x[lanes<T>], sum = 0;
    for (int i = 0; i < lanes<T>; ++i) x[i] = (T)((i * 5 + 3) % lanes<T>), sum += x[i];
    EXPECT_EQ(reduce_add<T>(load(x)), sum);
    EXPECT_EQ(reduce_max<T>(load(x)), lanes<T> - 1);
    for (int n = 0; n <= lanes<T>; ++n) {
        T y[lanes<T>] = {};
        store_first(y, load_first(x, n, (T)7) + broadcast((T)1), n);
        Vec<T> filled = load_first(x, n, (T)7);
        for (int i = 0; i < lanes<T>; ++i) {
            EXPECT_EQ(filled[i], i < n ? x[i] : 7);
            EXPECT_EQ(y[i], i < n ? x[i] + 1 : 0);
        }
    }
}
TEST(Simd, ReductionsAndPartsOfARegister) {
    check_reductions<float>();
    check_reductions<double>();
}

template <class T> static void check_transpose() {
    Vec<T> x[lanes<T>];
    for (int i = 0; i < lanes<T>; ++i)
        for (int j = 0; j < lanes<T>; ++j) x[i][j] = (T)(i * 100 + j);
    transpose<T>(x);
    for (int i = 0; i < lanes<T>; ++i)
        for (int j = 0; j < lanes<T>; ++j) EXPECT_EQ(x[i][j], j * 100 + i);
}

TEST(Simd, TransposesASquareOfRegisters) {
    check_transpose<float>();
    check_transpose<double>();
}
