#include "credit/channel.h"

#include "base/check.h"

#include <algorithm>

double pooled(std::span<const double> scores, const std::string& pool) {
    CHECK(!scores.empty(), "a completion without tokens has no score");
    if (pool == "last") return scores.back();
    if (pool == "min") return *std::min_element(scores.begin(), scores.end());
    double sum = 0;
    for (double score : scores) sum += score;
    if (pool == "sum") return sum;
    CHECK(pool == "mean", "unknown pool \"%s\"; it must be mean, last, sum or min", pool.c_str());
    return sum / (double)scores.size();
}

std::vector<double> pooled_channel(const Channel& channel, const std::string& pool,
                                   std::span<const int64_t> offset) {
    if (channel.level == Level::completion) return channel.values;
    std::vector<double> scores(offset.size() - 1);
    for (size_t i = 0; i < scores.size(); ++i) {
        const size_t length = (size_t)(offset[i + 1] - offset[i]);
        if (length > 0) scores[i] = pooled({channel.values.data() + offset[i], length}, pool);
    }
    return scores;
}
