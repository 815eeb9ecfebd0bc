// rlhf simulate CONFIG: how long the iterations of a run take on a cluster that is not there, by who
// generates and who judges.

#include "app/commands.h"
#include "app/simulate/curves.h"
#include "app/simulate/emulated.h"
#include "base/clock.h"
#include "base/file.h"
#include "dist/processes.h"

#include <algorithm>
#include <cstdio>

namespace {

std::string table_row(const char* name, const SchemeTotals& sum, int iterations) {
    const Spent& s = sum.spent;
    auto share = [&](double part) { return 100 * part / s.total(); };
    return format("%-12s %9.1f %6.1f | %5.1f %5.1f %5.1f %7.1f %9.1f | %8.1f %6.2f %5d\n", name,
                  sum.seconds / iterations, share(s.idle()), share(s.swap), share(s.tail),
                  share(s.queue), share(s.barrier), share(s.imbalance), 100 * sum.occupied_share,
                  sum.waves / iterations, sum.moves);
}

int simulate_cluster(SimulateConfig& config, const Args&) {
    if (config.emulate) {
        config.controllers ? measure_controllers(config) : emulate(config);
        return 0;
    }
    CHECK(launched_processes() <= 1,
          "%d processes were started, and to simulate is the work of one; with emulate=true they "
          "play the devices",
          launched_processes());
    const Cluster cluster(config);
    const double start = now();
    std::string text;
    auto say = [&](const std::string& line) {
        text += line;
        std::fputs(line.c_str(), stdout);
        std::fflush(stdout);
    };
    say(format("simulated: %d devices, %d groups of %d answers an iteration, %d iterations\n",
               config.devices, cluster.demand.target, config.answers, config.iterations));
    say(format("%-12s %9s %6s | %5s %5s %5s %7s %9s | %8s %6s %5s\n", "layout", "s/iter.", "idle %",
               "swap", "tail", "queue", "barrier", "imbalance", "places %", "waves", "moves"));
    std::string rows;
    double best_fixed = HUGE_VAL, chosen = 0;
    std::string best_name;
    for (int a = 0; a < scheme_count; ++a) {
        const std::vector<SchemeIteration> iterations = simulate(cluster, (Scheme)a);
        const SchemeTotals sum = totals(cluster, iterations);
        say(table_row(scheme_names[a], sum, config.iterations));
        for (int k = 0; k < config.iterations; ++k)
            rows += dump_row(iteration_row(scheme_names[a], k, iterations[k])) + "\n";
        if ((Scheme)a == Scheme::auto_) chosen = sum.seconds;
        if (is_fixed((Scheme)a) && sum.seconds < best_fixed)
            best_fixed = sum.seconds, best_name = scheme_names[a];
    }
    say(format("simulated: auto takes %+.1f %% of the time of the best fixed layout, %s\n",
               100 * (chosen / best_fixed - 1), best_name.c_str()));
    if (!config.out.empty()) write_file(config.out, rows);
    std::vector<SimulatedFigure> figures;
    if (config.curves)
        figures = simulated_figures(
            config, [](const char* name) { std::fprintf(stderr, "simulating: %s\n", name); });
    for (const SimulatedFigure& figure : figures) std::fputs(figure_text(figure).c_str(), stdout);
    if (!config.html.empty()) write_file(config.html, simulated_page(config, text, figures));
    std::fprintf(stderr, "computed in %.1f s\n", now() - start);
    return 0;
}

} // namespace

extern const Command simulate_command;
const Command simulate_command = command<SimulateConfig, simulate_cluster>(
    "simulate", "how long a run would take on a cluster, by who generates and who judges");
