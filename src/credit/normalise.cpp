#include "credit/normalise.h"

#include <cmath>
#include <map>

namespace {
struct Moments {
    double n = 0, mean = 0, std = 0;
};
} // namespace

template <class F> static Moments moments(const std::vector<double>& x, const F& counts) {
    Moments m;
    double square = 0;
    for (size_t k = 0; k < x.size(); ++k) {
        m.n += counts(k);
        m.mean += counts(k) * x[k];
    }
    if (m.n == 0) return m;
    m.mean /= m.n;
    for (size_t k = 0; k < x.size(); ++k) square += counts(k) * (x[k] - m.mean) * (x[k] - m.mean);
    m.std = std::sqrt(square / m.n);
    return m;
}

static std::vector<double> within_groups(const std::vector<double>& x,
                                         std::span<const uint8_t> counts,
                                         std::span<const int> group, double std_floor) {
    std::map<int, std::vector<size_t>> members;
    for (size_t k = 0; k < x.size(); ++k)
        if (counts[k]) members[group[k]].push_back(k);
    std::vector<double> out(x.size());
    for (const auto& [g, list] : members) {
        std::vector<double> own;
        bool equal = true;
        for (size_t k : list) {
            own.push_back(x[k]);
            equal &= x[k] == own[0];
        }
        const Moments m = moments(own, [](size_t) { return 1.0; });
        if (equal || m.std < std_floor) continue; // rounding noise is no spread
        for (size_t k : list) out[k] = (x[k] - m.mean) / m.std;
    }
    return out;
}

std::vector<double> normalised(std::vector<double> x, std::span<const uint8_t> counts,
                               std::span<const int> group, Normalise how, double std_floor) {
    if (how == Normalise::none) return x;
    if (how == Normalise::group) return within_groups(x, counts, group, std_floor);
    const Moments m = moments(x, [&](size_t k) { return (double)counts[k]; });
    if (m.n == 0) return x;
    const double centre = how == Normalise::mean_std ? m.mean : 0;
    for (double& v : x) v = (v - centre) / (m.std + 1e-8);
    return x;
}
