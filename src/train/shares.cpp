#include "train/shares.h"

#include "base/bytes.h"
#include "base/rng.h"

#include <algorithm>
#include <cstdlib>
#include <numeric>

// For tests: any plan must do.
static std::vector<int> deal_blindly(size_t pieces, int ranks, uint64_t seed) {
    static uint64_t calls = 0; // the same on every rank: all make the same plans
    Rng rng(mix64(seed), ++calls);
    std::vector<int> owner(pieces);
    for (int& rank : owner) rank = rng.below(ranks);
    return owner;
}

std::vector<int> deal(const std::vector<double>& cost, int ranks) {
    static const char* blindly = std::getenv("RLHF_DEAL_BLINDLY");
    if (blindly) return deal_blindly(cost.size(), ranks, (uint64_t)std::atoll(blindly));
    std::vector<int> order(cost.size()), owner(cost.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) { return cost[a] > cost[b]; });
    std::vector<double> load((size_t)ranks, 0.0);
    for (int piece : order) {
        const auto least = std::min_element(load.begin(), load.end());
        owner[piece] = (int)(least - load.begin());
        *least += cost[piece];
    }
    return owner;
}

void share_rows(const Collectives* ranks, const std::vector<int>& mine,
                std::vector<std::vector<double>>& rows) {
    if (!ranks || !ranks->share_work()) return;
    ByteWriter message;
    for (int i : mine) message.put(i), message.put(rows[i]);
    for (const std::string& bytes : ranks->gather(*ranks, message.bytes))
        for (ByteReader reader{bytes}; reader.more();) {
            int i = 0;
            reader.get(i);
            reader.get(rows.at((size_t)i));
        }
}

std::vector<double> sum_over_ranks(const Collectives* ranks, const std::vector<double>& mine) {
    if (!ranks || !ranks->share_work()) return mine;
    ByteWriter message;
    message.put(mine);
    std::vector<double> sum(mine.size(), 0.0), other;
    for (const std::string& bytes : ranks->gather(*ranks, message.bytes)) {
        ByteReader{bytes}.get(other);
        for (size_t i = 0; i < sum.size(); ++i) sum[i] += other[i];
    }
    return sum;
}
