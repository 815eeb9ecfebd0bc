#include "credit/channel.h"

#include "base/check.h"

#include <algorithm>

const char* level_name(Level level) {
    if (level == Level::completion) return "completion";
    return level == Level::segment ? "segment" : "token";
}

const char* const pool_names[] = {"auto", "mean", "last", "sum", "min", "none"};
const char* name_of(Pool pool) { return pool_names[(int)pool]; }

double pooled(std::span<const double> scores, Pool pool) {
    CHECK(!scores.empty(), "a completion without tokens has no score");
    if (pool == Pool::last) return scores.back();
    if (pool == Pool::min) return *std::min_element(scores.begin(), scores.end());
    double sum = 0;
    for (double score : scores) sum += score;
    if (pool == Pool::sum) return sum;
    CHECK(pool == Pool::mean, "pool = %s makes no number", name_of(pool));
    return sum / (double)scores.size();
}

std::vector<double> pooled_channel(const Channel& channel, Pool pool,
                                   std::span<const int64_t> offset) {
    if (channel.level == Level::completion) return channel.values;
    const std::span<const int64_t> first =
        channel.level == Level::segment ? channel.segments.first : offset;
    std::vector<double> scores(first.size() - 1);
    for (size_t i = 0; i < scores.size(); ++i) {
        const size_t count = (size_t)(first[i + 1] - first[i]);
        if (count > 0) scores[i] = pooled({channel.values.data() + first[i], count}, pool);
    }
    return scores;
}
