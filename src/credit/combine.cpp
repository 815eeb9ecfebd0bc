#include "credit/combine.h"

#include <algorithm>
#include <cmath>
#include <numeric>

// In place, over the entries with counts[k] = 1.
static void normalise(std::vector<double>& x, const std::vector<uint8_t>& counts,
                      const std::string& how) {
    if (how == "none") return;
    double n = 0, mean = 0, square = 0;
    for (size_t k = 0; k < x.size(); ++k) n += counts[k], mean += counts[k] * x[k];
    if (n == 0) return;
    mean /= n;
    for (size_t k = 0; k < x.size(); ++k) square += counts[k] * (x[k] - mean) * (x[k] - mean);
    const double centre = how == "mean_std" ? mean : 0;
    for (double& v : x) v = (v - centre) / (std::sqrt(square / n) + 1e-8);
}

static void eos_gets_mean(std::vector<double>& x, std::span<const int64_t> offset) {
    for (size_t i = 0; i + 1 < offset.size(); ++i) {
        const int64_t length = offset[i + 1] - offset[i];
        if (length == 0) continue;
        double* row = x.data() + offset[i];
        row[length - 1] = std::accumulate(row, row + length, 0.0) / (double)length;
    }
}

Credit combine(const std::vector<Channel>& channels, const std::vector<SourceConfig>& sources,
               std::span<const int64_t> offset) {
    const size_t rows = offset.size() - 1, N = (size_t)offset.back();
    Credit credit;
    credit.reward.assign(rows, 0);
    for (size_t k = 0; k < sources.size(); ++k) {
        const SourceConfig& source = sources[k];
        const Channel& channel = channels[k];
        std::vector<uint8_t> valid = channel.valid;
        if (valid.empty()) valid.assign(rows, 1);
        for (double v : channel.values)
            CHECK(std::isfinite(v), "a score of credit source \"%s\" is not finite (%g)",
                  channel.name.c_str(), v);

        const bool tokens_stay = channel.level == Level::token && source.pool == "none";
        std::vector<double> x =
            tokens_stay ? channel.values : pooled_channel(channel, source.pool, offset);
        const bool to_tokens = source.to == "tokens";
        std::vector<uint8_t> counts = valid;
        if (to_tokens) {
            std::vector<double> of_row = tokens_stay ? std::vector<double>() : x;
            x.resize(N), counts.resize(N);
            for (size_t i = 0; i < rows; ++i)
                for (int64_t n = offset[i]; n < offset[i + 1]; ++n) {
                    counts[n] = valid[i];
                    if (!tokens_stay) x[n] = of_row[i];
                }
        }
        normalise(x, counts, source.normalise);
        if (source.eos == "mean") eos_gets_mean(x, offset);

        if (to_tokens && credit.token.empty()) credit.token.assign(N, 0);
        std::vector<double>& sum = to_tokens ? credit.token : credit.reward;
        for (size_t n = 0; n < x.size(); ++n) {
            double part = source.weight * x[n];
            if (source.clip > 0) part = std::clamp(part, -source.clip, source.clip);
            if (counts[n]) sum[n] += part;
        }
    }
    return credit;
}
