#include "train/order_free.h"

#include "base/rng.h"

#include <algorithm>
#include <cmath>
#include <gtest/gtest.h>

namespace {

// Values over `decades` powers of ten, of both signs.
std::vector<float> wild(int count, double decades, uint64_t seed) {
    Rng rng(seed);
    std::vector<float> values;
    for (int i = 0; i < count; ++i)
        values.push_back((float)(rng.normal() * std::pow(10, decades * (rng.uniform() - 0.5))));
    return values;
}

Tensor of(std::vector<float>& values) {
    return Tensor(values.data(), DType::f32, {(int64_t)values.size()});
}

FixedPointSum sum_of(std::vector<std::vector<float>>& terms, const std::vector<int>& order) {
    FixedPointSum sum;
    sum.begin((int64_t)terms[0].size());
    for (int i : order) EXPECT_EQ(sum.add(of(terms[i])), -1);
    return sum;
}

} // namespace

TEST(FixedPointSum, IsTheSameBitsInAnyOrderAndAnyTree) {
    const int terms = 40, elements = 257;
    std::vector<std::vector<float>> all;
    std::vector<int> order;
    for (int i = 0; i < terms; ++i) all.push_back(wild(elements, 12, i)), order.push_back(i);
    const FixedPointSum straight = sum_of(all, order);
    Rng rng(1);
    rng.shuffle(order);
    const FixedPointSum shuffled = sum_of(all, order);
    // Two halves, as two ranks have them.
    FixedPointSum left = sum_of(all, {order.begin(), order.begin() + 7}),
                  right = sum_of(all, {order.begin() + 7, order.end()});
    for (size_t i = 0; i < left.parts.size(); ++i) left.parts[i] += right.parts[i];
    bool plain_differs = false;
    for (int64_t e = 0; e < elements; ++e) {
        EXPECT_EQ(shuffled.value(e), straight.value(e));
        EXPECT_EQ(left.value(e), straight.value(e));
        long double exact = 0;
        float forward = 0, backward = 0;
        for (int i = 0; i < terms; ++i)
            exact += all[i][e], forward += all[i][e], backward += all[terms - 1 - i][e];
        EXPECT_NEAR(straight.value(e), (double)exact, std::fabs((double)exact) * 0x1p-52 + 1e-17);
        plain_differs |= forward != backward;
    }
    EXPECT_TRUE(plain_differs); // what it is for
}

TEST(FixedPointSum, LosesNothingOfAnOrdinaryGradientAndOnlyDustOfATinyOne) {
    for (float x : {1.f, -1.f, 0x1p-44f, -0x1.fffffep-22f, 1e5f, -3e-7f, 0.f}) {
        std::vector<float> term = {x};
        FixedPointSum sum;
        sum.begin(1);
        EXPECT_EQ(sum.add(of(term)), -1);
        EXPECT_EQ((float)sum.value(0), x);
    }
    for (float x : {1e-15f, -1e-18f, 1e-30f}) {
        std::vector<float> term = {x};
        FixedPointSum sum;
        sum.begin(1);
        sum.add(of(term));
        EXPECT_NEAR(sum.value(0), (double)x, FixedPointSum::low_unit) << x;
    }
}

// At the bound itself the integers hold; what is above is found.
TEST(FixedPointSum, DoesNotOverflowBelowItsBound) {
    const float largest = (float)(FixedPointSum::most / 1024) * 0.999f;
    for (float sign : {1.f, -1.f}) {
        FixedPointSum sum;
        sum.begin(1);
        std::vector<float> term = {sign * largest};
        for (int i = 0; i < 1024; ++i) sum.add(of(term));
        EXPECT_LT(sum.largest, FixedPointSum::most);
        EXPECT_EQ(sum.value(0), 1024.0 * (double)term[0]);
    }
    // The low integers' worst case: as many terms as are allowed, each with all of its low bits set.
    FixedPointSum sum;
    sum.begin(1);
    std::vector<float> term = {-0x1p-68f};
    sum.add(of(term));
    const int64_t low = sum.parts[1];
    EXPECT_LT((double)low * (double)FixedPointSum::most_terms, 0x1p63);
    for (float bad : {(float)FixedPointSum::most, -INFINITY, NAN}) {
        std::vector<float> terms = {1, bad, 2};
        FixedPointSum other;
        other.begin(3);
        EXPECT_EQ(other.add(of(terms)), 1) << bad;
    }
}

TEST(ExactSum, IsTheSameBitsInAnyOrderWhateverTheSizes) {
    std::vector<double> values;
    Rng rng(3);
    for (int i = 0; i < 3000; ++i)
        values.push_back(rng.normal() * std::ldexp(1, rng.below(600) - 300));
    values.insert(values.end(), {1e308, -1e308, 5e-324, -5e-324, 0x1p-1022});
    ExactSum straight, reverse, left, right;
    for (double x : values) straight.add(x);
    for (size_t i = values.size(); i-- > 0;) reverse.add(values[i]);
    for (size_t i = 0; i < values.size(); ++i) (i % 3 ? left : right).add(values[i]);
    left.add(right);
    EXPECT_EQ(straight.value(), reverse.value());
    EXPECT_EQ(straight.value(), left.value());
    double forward = 0, backward = 0;
    for (double x : values) forward += x;
    for (size_t i = values.size(); i-- > 0;) backward += values[i];
    EXPECT_NE(forward, backward);
}

TEST(ExactSum, CancelsToTheLastBit) {
    ExactSum sum;
    for (double x : {1e300, 1.0, -1e300, 0x1p-60}) sum.add(x);
    EXPECT_EQ(sum.value(), 1.0); // 1 + 2^-60, rounded
    sum.add(-1.0);
    EXPECT_EQ(sum.value(), 0x1p-60);
    sum.add(-0x1p-59);
    EXPECT_EQ(sum.value(), -0x1p-60);
}
