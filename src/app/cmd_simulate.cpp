// rlhf simulate CONFIG: how long the iterations of a run take on a cluster that is not there, by who
// generates and who judges.

#include "app/commands.h"
#include "app/simulate/world.h"
#include "base/clock.h"
#include "base/file.h"

#include <algorithm>
#include <cstdio>

namespace {

Json iteration_row(const char* arm, int k, const ArmIteration& row) {
    const Iteration& it = row.played;
    const Spent& s = it.spent;
    Json line = {{"simulated", true},
                 {"arm", arm},
                 {"iteration", k},
                 {"layout", row.layout.name()},
                 {"seconds", it.seconds},
                 {"idle_share", s.idle() / s.total()},
                 {"device_seconds",
                  {{"generate", s.generate},
                   {"judge", s.judge},
                   {"train", s.train},
                   {"swap", s.swap},
                   {"tail", s.tail},
                   {"queue", s.queue},
                   {"barrier", s.barrier},
                   {"imbalance", s.imbalance}}},
                 {"waves", it.waves},
                 {"groups", it.issued},
                 {"valid_groups", it.accepted},
                 {"tokens", it.tokens}};
    if (row.predicted > 0) line["predicted_seconds"] = row.predicted;
    if (!row.why.empty()) line["next"] = row.why;
    return line;
}

void print_row(const char* name, const ArmTotals& sum, int iterations) {
    const Spent& s = sum.spent;
    auto share = [&](double part) { return 100 * part / s.total(); };
    std::printf("%-12s %9.1f %6.1f | %5.1f %5.1f %5.1f %7.1f %9.1f | %8.1f %6.2f %5d\n", name,
                sum.seconds / iterations, share(s.idle()), share(s.swap), share(s.tail),
                share(s.queue), share(s.barrier), share(s.imbalance), 100 * sum.occupied_share,
                sum.waves / iterations, sum.moves);
}

int simulate_cluster(SimulateConfig& config, const Args&) {
    const World world(config);
    const double start = now();
    std::printf("simulated: %d devices, %d groups of %d answers an iteration, %d iterations\n",
                config.devices, world.demand.target, config.answers, config.iterations);
    std::printf("%-12s %9s %6s | %5s %5s %5s %7s %9s | %8s %6s %5s\n", "layout", "s/iter.",
                "idle %", "swap", "tail", "queue", "barrier", "imbalance", "places %", "waves",
                "moves");
    std::string rows;
    double best_fixed = HUGE_VAL, chosen = 0;
    std::string best_name;
    for (int a = 0; a < arm_count; ++a) {
        const std::vector<ArmIteration> iterations = simulate(world, (Arm)a);
        const ArmTotals sum = totals(world, iterations);
        print_row(arm_names[a], sum, config.iterations);
        for (int k = 0; k < config.iterations; ++k)
            rows += dump_row(iteration_row(arm_names[a], k, iterations[k])) + "\n";
        if ((Arm)a == Arm::auto_) chosen = sum.seconds;
        if (is_fixed((Arm)a) && sum.seconds < best_fixed)
            best_fixed = sum.seconds, best_name = arm_names[a];
    }
    std::printf("simulated: auto takes %+.1f %% of the time of the best fixed layout, %s "
                "(computed in %.1f s)\n",
                100 * (chosen / best_fixed - 1), best_name.c_str(), now() - start);
    if (!config.out.empty()) write_file(config.out, rows);
    return 0;
}

} // namespace

extern const Command simulate_command;
const Command simulate_command = command<SimulateConfig, simulate_cluster>(
    "simulate", "how long a run would take on a cluster, by who generates and who judges");
