#include "app/simulate/emulated.h"

#include "base/beat.h"
#include "base/file.h"
#include "dist/emulate.h"
#include "dist/processes.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace {

constexpr Scheme emulated_schemes[] = {Scheme::share, Scheme::split_half, Scheme::split_best,
                                       Scheme::fluid, Scheme::auto_};

struct Compared {
    std::vector<SchemeIteration> real, simulated;
    double off() const { // largest relative difference of an iteration's seconds
        double most = 0;
        for (size_t k = 0; k < real.size(); ++k)
            most =
                std::max(most, std::abs(real[k].played.seconds / simulated[k].played.seconds - 1));
        return most;
    }
};

Compared compare(const Cluster& cluster, const Collectives& ranks, Emulator& emulator,
                 Scheme scheme) {
    Compared rows;
    double share = cluster.config.valid_share;
    Chooser chooser;
    chooser.settings.dwell = cluster.config.dwell, chooser.settings.gain = cluster.config.gain;
    if (scheme == Scheme::auto_)
        check_same(ranks, chooser.begin(cluster.expected(), cluster.demand));
    Experiences experiences;
    for (int k = 0; k < cluster.config.iterations; ++k) {
        const IterationWork work = cluster.work(k, share);
        RoleLayout layout = chooser.layout;
        if (scheme == Scheme::split_half) layout = {Placement::split, ranks.ranks / 2, 0};
        if (scheme == Scheme::fluid) layout = {Placement::fluid, 0, 0};
        if (scheme == Scheme::split_best)
            for (const Candidate& each : predict(cluster.costs, work, cluster.demand))
                if (each.layout.placement == Placement::split) {
                    layout = each.layout;
                    break;
                }
        SchemeIteration real{layout, {}}, simulated{layout, {}};
        Experience own;
        real.played = emulator.play(cluster.costs, work, layout, &own);
        simulated.played = play(cluster.costs, work, layout, ranks.ranks);
        share += 0.3 * (valid_of(work, real.played) - share);
        if (scheme == Scheme::auto_) {
            own.seconds = real.played.seconds;
            experiences.add(ranks, own);
            Measured measured = experiences.measured();
            measured.costs.slots = cluster.costs.slots;
            measured.costs.ticket = cluster.costs.ticket;
            // Nobody has swapped who has not been told to: until then it is what is configured.
            if (measured.costs.swap == 0) measured.costs.swap = cluster.costs.swap;
            measured.valid_share = share;
            measured.valid_lately = valid_of(work, real.played);
            real.predicted = chooser.predicted;
            const Decision decision =
                chooser.decide(measured, cluster.demand, experiences.seconds());
            check_same(ranks, decision);
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
    const Cluster cluster(own);
    int most_groups = 0;
    for (int k = 0; k < own.iterations; ++k)
        most_groups = std::max(most_groups, cluster.work(k, 0.01).groups());
    Emulator emulator(ranks.collectives, most_groups);
    enter_phase("emulate");
    if (ranks.speaks())
        std::printf("emulated: %d ranks that wait instead of computing, %d groups of %d answers, "
                    "%d iterations\n%-12s %9s %9s %7s | %6s %6s | %5s %5s %5s %7s %9s | moves\n",
                    ranks.count(), cluster.demand.target, own.answers, own.iterations, "layout",
                    "s/iter.", "simulated", "off %", "idle %", "sim. %", "swap", "tail", "queue",
                    "barrier", "imbalance");
    std::string rows, best_name;
    double most_off = 0, best_fixed = HUGE_VAL, chosen = 0;
    for (Scheme scheme : emulated_schemes) {
        const bool splits = scheme == Scheme::split_half || scheme == Scheme::split_best;
        if (ranks.count() == 1 && splits) continue;
        const Compared compared = compare(cluster, ranks.collectives, emulator, scheme);
        const SchemeTotals real = totals(cluster, compared.real),
                           simulated = totals(cluster, compared.simulated);
        if (!ranks.speaks()) continue;
        auto share = [&](double part) { return 100 * part / real.spent.total(); };
        const Spent& s = real.spent;
        std::printf("%-12s %9.2f %9.2f %7.1f | %6.1f %6.1f | %5.1f %5.1f %5.1f %7.1f %9.1f | %5d\n",
                    scheme_names[(int)scheme], real.seconds / own.iterations,
                    simulated.seconds / own.iterations,
                    100 * (real.seconds / simulated.seconds - 1), share(s.idle()),
                    100 * simulated.idle_share(), share(s.swap), share(s.tail), share(s.queue),
                    share(s.barrier), share(s.imbalance), real.moves);
        most_off = std::max(most_off, compared.off());
        if (scheme == Scheme::auto_) chosen = real.seconds;
        if (is_fixed(scheme) && real.seconds < best_fixed)
            best_fixed = real.seconds, best_name = scheme_names[(int)scheme];
        for (int k = 0; k < own.iterations; ++k) {
            Json row = iteration_row(scheme_names[(int)scheme], k, compared.real[k]);
            row["simulated"] = false, row["emulated"] = true, row["ranks"] = ranks.count();
            row["simulated_seconds"] = compared.simulated[k].played.seconds;
            rows += dump_row(row) + "\n";
        }
    }
    if (!ranks.speaks()) return;
    std::printf("emulated: auto takes %+.1f %% of the time of the best fixed layout, %s\n",
                100 * (chosen / best_fixed - 1), best_name.c_str());
    std::printf("the simulator is at most %.1f %% off, of %d iterations in each layout\n",
                100 * most_off, own.iterations);
    if (!config.out.empty()) write_file(config.out, rows);
}
