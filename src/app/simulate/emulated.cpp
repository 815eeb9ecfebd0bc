#include "app/simulate/emulated.h"

#include "base/beat.h"
#include "base/file.h"
#include "dist/emulate.h"
#include "dist/processes.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace {

constexpr Arm emulated_arms[] = {Arm::share, Arm::split_half, Arm::split_best, Arm::fluid,
                                 Arm::auto_};

struct Compared {
    std::vector<ArmIteration> real, simulated;
    double off() const { // largest relative difference of an iteration's seconds
        double most = 0;
        for (size_t k = 0; k < real.size(); ++k)
            most =
                std::max(most, std::abs(real[k].played.seconds / simulated[k].played.seconds - 1));
        return most;
    }
};

// All ranks have decided alike.
void check_decision(const Collectives& ranks, const Decision& decision) {
    if (!ranks.share_work()) return;
    const std::string own =
        format("%016llx: %s", (unsigned long long)decision.hash(), decision.layout.name().c_str());
    const std::vector<std::string> all = ranks.gather(ranks, own);
    for (size_t r = 0; r < all.size(); ++r)
        CHECK(all[r] == all[0], "rank %zu decides for %s, rank 0 for %s", r, all[r].c_str(),
              all[0].c_str());
}

Compared compare(const World& world, const Collectives& ranks, Emulator& emulator, Arm arm) {
    Compared rows;
    double share = world.config.valid_share;
    Chooser chooser;
    chooser.settings.dwell = world.config.dwell, chooser.settings.gain = world.config.gain;
    Experiences experiences;
    for (int k = 0; k < world.config.iterations; ++k) {
        const Work work = world.work(k, share);
        Layout layout = chooser.layout;
        if (arm == Arm::split_half) layout = {Placement::split, ranks.ranks / 2, 0};
        if (arm == Arm::fluid) layout = {Placement::fluid, 0, 0};
        if (arm == Arm::split_best)
            for (const Candidate& each : predict(world.costs, work, world.demand))
                if (each.layout.placement == Placement::split) {
                    layout = each.layout;
                    break;
                }
        ArmIteration real{layout, {}}, simulated{layout, {}};
        Experience own;
        real.played = emulator.play(world.costs, work, layout, &own);
        simulated.played = play(world.costs, work, layout, ranks.ranks);
        const double valid =
            (double)std::count(work.valid.begin(), work.valid.begin() + real.played.issued, 1);
        share += 0.3 * (valid / real.played.issued - share);
        if (arm == Arm::auto_) {
            experiences.add(ranks, own);
            Measured measured = experiences.measured();
            measured.costs.slots = world.costs.slots, measured.costs.ticket = world.costs.ticket;
            // Nobody has swapped who has not been told to: until then it is what is configured.
            if (measured.costs.swap == 0) measured.costs.swap = world.costs.swap;
            measured.valid_share = share;
            real.predicted = chooser.predicted;
            // The first rank's clock is everybody's.
            double seconds = real.played.seconds;
            broadcast_bytes(&seconds, sizeof seconds);
            const Decision decision = chooser.decide(measured, world.demand, seconds);
            check_decision(ranks, decision);
            real.why = decision.why;
        }
        rows.real.push_back(real), rows.simulated.push_back(simulated);
    }
    return rows;
}

} // namespace

void emulate(const SimulateConfig& config) {
    ComputeConfig compute;
    const Ranks ranks(compute, {});
    SimulateConfig own = config;
    own.devices = ranks.count();
    const World world(own);
    int most_groups = 0;
    for (int k = 0; k < own.iterations; ++k)
        most_groups = std::max(most_groups, world.work(k, 0.01).groups());
    Emulator emulator(ranks.collectives, most_groups);
    enter_phase("emulate");
    if (ranks.speaks())
        std::printf("emulated: %d ranks that wait instead of computing, %d groups of %d answers, "
                    "%d iterations\n%-12s %9s %9s %7s | %6s %6s | %5s %5s %5s %7s %9s | moves\n",
                    ranks.count(), world.demand.target, own.answers, own.iterations, "layout",
                    "s/iter.", "simulated", "off %", "idle %", "sim. %", "swap", "tail", "queue",
                    "barrier", "imbalance");
    std::string rows;
    double most_off = 0;
    for (Arm arm : emulated_arms) {
        const bool splits = arm == Arm::split_half || arm == Arm::split_best;
        if (ranks.count() == 1 && splits) continue;
        const Compared compared = compare(world, ranks.collectives, emulator, arm);
        const ArmTotals real = totals(world, compared.real),
                        simulated = totals(world, compared.simulated);
        if (!ranks.speaks()) continue;
        auto share = [&](double part) { return 100 * part / real.spent.total(); };
        const Spent& s = real.spent;
        std::printf("%-12s %9.2f %9.2f %7.1f | %6.1f %6.1f | %5.1f %5.1f %5.1f %7.1f %9.1f | %5d\n",
                    arm_names[(int)arm], real.seconds / own.iterations,
                    simulated.seconds / own.iterations,
                    100 * (real.seconds / simulated.seconds - 1), share(s.idle()),
                    100 * simulated.idle_share(), share(s.swap), share(s.tail), share(s.queue),
                    share(s.barrier), share(s.imbalance), real.moves);
        most_off = std::max(most_off, compared.off());
        for (int k = 0; k < own.iterations; ++k) {
            Json row = iteration_row(arm_names[(int)arm], k, compared.real[k]);
            row["simulated"] = false, row["emulated"] = true;
            row["simulated_seconds"] = compared.simulated[k].played.seconds;
            rows += dump_row(row) + "\n";
        }
    }
    if (!ranks.speaks()) return;
    std::printf("the simulator is at most %.1f %% off, of %d iterations in each layout\n",
                100 * most_off, own.iterations);
    if (!config.out.empty()) write_file(config.out, rows);
}
