// The table of src/dist/controllers.h measured: samples that all pass through the first rank's hands,
// against samples that stay, are balanced by one exchange, or are shown to everybody.

#include "app/simulate/emulated.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "dist/processes.h"
#include "train/shares.h"

#include <algorithm>
#include <cstdio>

namespace {

struct Arm {
    const Collectives& ranks;
    std::vector<std::string> own; // this rank's samples
    std::vector<int> owner;       // (all samples, rank by rank) who trains it
    uint32_t sum = 0;             // so that nothing is optimised away

    void handle(const std::string& bytes) { sum = crc32c(bytes.data(), bytes.size(), sum); }
    std::string all() const {
        std::string bytes;
        for (const std::string& sample : own) bytes += sample;
        return bytes;
    }

    // Everything to the first rank, which looks at each and gives it to who trains it.
    void central() {
        std::vector<std::string> to((size_t)ranks.ranks);
        to[0] = all();
        const std::vector<std::string> come = exchange_bytes(to);
        for (std::string& bytes : to) bytes.clear();
        if (ranks.rank == 0) {
            const size_t size = own[0].size();
            for (size_t i = 0; i < owner.size(); ++i) {
                const std::string sample = come[i / own.size()].substr(i % own.size() * size, size);
                handle(sample);
                to[owner[i]] += sample;
            }
        }
        exchange_bytes(to);
    }
    // Every rank looks at its own; what another one trains goes there.
    void exchanged() {
        std::vector<std::string> to((size_t)ranks.ranks);
        for (size_t i = 0; i < own.size(); ++i) {
            handle(own[i]);
            const int goal = owner[ranks.rank * own.size() + i];
            if (goal != ranks.rank) to[goal] += own[i];
        }
        exchange_bytes(to);
    }
    void stays() {
        for (const std::string& sample : own) handle(sample);
    }
    // As rl does with texts: all ranks get all of them.
    void shown() {
        stays();
        ranks.gather(ranks, all());
    }
};

// Of the slowest rank, the best of three.
template <class F> double seconds_of(const Collectives& ranks, const F& arm) {
    double least = HUGE_VAL;
    for (int time = 0; time < 3; ++time) {
        ranks.gather(ranks, "");
        const double start = now();
        arm();
        ranks.gather(ranks, "");
        least = std::min(least, now() - start);
    }
    return least;
}

} // namespace

void measure_controllers(const SimulateConfig& config) {
    ComputeConfig compute;
    const Ranks ranks(compute, {});
    const Collectives& all = ranks.collectives;
    CHECK(all.gather, "start it with mpirun: one process has nobody to give a sample to");
    if (ranks.speaks())
        std::printf("measured: %d ranks, seconds of an iteration, best of 3\n"
                    "%-24s %9s %9s %9s %9s\n",
                    ranks.count(), "samples a rank", "central", "stays", "exchange", "to all");
    for (auto [name, samples, bytes] :
         {std::tuple{"text of 20 KB", 32, 20 << 10}, {"image of 5 MB", 4, 5 << 20}}) {
        const std::vector<int> lengths =
            draw_lengths((int64_t)samples * ranks.count(), 400, 1, 8192, (uint64_t)config.seed);
        Arm arm{all, std::vector<std::string>((size_t)samples, std::string((size_t)bytes, 'x')),
                deal({lengths.begin(), lengths.end()}, ranks.count())};
        const double central = seconds_of(all, [&] { arm.central(); }),
                     stays = seconds_of(all, [&] { arm.stays(); }),
                     exchange = seconds_of(all, [&] { arm.exchanged(); }),
                     shown = seconds_of(all, [&] { arm.shown(); });
        if (ranks.speaks())
            std::printf("%-24s %9.4f %9.4f %9.4f %9.4f\n", format("%d, %s", samples, name).c_str(),
                        central, stays, exchange, shown);
    }
}
