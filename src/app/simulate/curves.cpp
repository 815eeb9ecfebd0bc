#include "app/simulate/curves.h"

#include "base/json.h"
#include "dist/controllers.h"
#include "report/page.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace {

constexpr double text_seconds = 0.69 / 1024; // a small text through one driver [verl, issue 2847]
constexpr double image_seconds = 0.005;      // 5 MB at 1 GB/s
constexpr double draws_per_second = 30000;   // of one counter over TCP
constexpr int devices_of_machine = 8;

std::string seconds(double x) { return format("%.3g", x); }

std::vector<int> powers_up_to(int devices) {
    std::vector<int> all;
    for (int n = 16; n < devices; n *= 4) all.push_back(n);
    all.push_back(devices);
    return all;
}

// A line per column behind the first, which is x.
Chart chart_of(const std::string& title, const std::string& unit, const std::string& x_name,
               const std::vector<std::string>& names,
               const std::vector<std::vector<double>>& rows) {
    Chart chart{title, unit, {}, "Simulated."};
    chart.x_name = x_name;
    for (size_t c = 1; c < names.size(); ++c) {
        Series series;
        series.name = names[c];
        for (const std::vector<double>& row : rows)
            series.x.push_back(row[0]), series.y.push_back(row[c]);
        chart.series.push_back(series);
    }
    return chart;
}

SimulatedFigure controllers(const SimulateConfig& config) {
    SimulatedFigure figure{
        "What controllers cost",
        "Seconds of an iteration that pass outside of devices, 32 samples a device, one hop: one "
        "driver that all samples go through (0.67 ms a text; 5 ms an image of 5 MB), every rank "
        "its "
        "own, and tickets, 4 a device, drawn from one counter (30 000 a second) or by machines of "
        "8 "
        "in chunks.",
        {"devices", "driver, text", "driver, images", "per rank, text", "per rank, images",
         "tickets, one counter", "tickets, two levels"},
        {},
        {}};
    std::vector<std::vector<double>> lines;
    for (int n : powers_up_to(config.devices)) {
        const int64_t samples = (int64_t)n * 32, tickets = (int64_t)n * 4;
        const int machines = std::max(1, n / devices_of_machine);
        const std::vector<double> row = {central_seconds(samples, text_seconds),
                                         central_seconds(samples, image_seconds),
                                         per_rank_seconds(samples, n, text_seconds),
                                         per_rank_seconds(samples, n, image_seconds),
                                         (double)tickets / draws_per_second,
                                         (double)chunk_draws(tickets, machines) / draws_per_second};
        std::vector<std::string> words = {std::to_string(n)};
        std::vector<double> line = {std::log2((double)n)};
        for (double x : row) words.push_back(seconds(x)), line.push_back(std::log10(x));
        figure.rows.push_back(words), lines.push_back(line);
    }
    figure.chart =
        chart_of(figure.title, "log10 of seconds", "log2 of devices", figure.names, lines);
    return figure;
}

SimulatedFigure idle_shares(const SimulateConfig& config) {
    SimulatedFigure figure{"Idle share by layout",
                           "Share of the devices' time in which they neither decode nor train, "
                           "over two iterations, the "
                           "chooser after two to learn from.",
                           {"devices", "share", "split half", "split best", "fluid", "auto"},
                           {},
                           {}};
    std::vector<std::vector<double>> lines;
    for (int n : powers_up_to(config.devices)) {
        SimulateConfig own = config;
        own.devices = n, own.iterations = 4, own.dwell = 1;
        own.answer.growth = own.judge_text.growth = 1, own.valid_share_end = own.valid_share;
        const Cluster cluster(own);
        std::vector<std::string> words = {std::to_string(n)};
        std::vector<double> line = {std::log2((double)n)};
        for (Scheme scheme : {Scheme::share, Scheme::split_half, Scheme::split_best, Scheme::fluid,
                              Scheme::auto_}) {
            std::vector<SchemeIteration> rows = simulate(cluster, scheme);
            rows.erase(rows.begin(), rows.begin() + 2);
            const double idle = totals(cluster, rows).idle_share();
            words.push_back(format("%.1f %%", 100 * idle)), line.push_back(idle);
        }
        figure.rows.push_back(words), lines.push_back(line);
    }
    figure.chart = chart_of(figure.title, "share of time", "log2 of devices", figure.names, lines);
    return figure;
}

SimulatedFigure boundary(const SimulateConfig& config) {
    const int answers[] = {8, 32, 128};
    SimulatedFigure figure{
        "Which layout is the fastest",
        "On 32 devices, by the seconds of a change of model (rows), valid answers "
        "that a device makes and the judge's texts against the configured ones; "
        "and how much faster it is than all ranks doing the same.",
        {"swap, s"},
        {},
        {}};
    for (double judge : {0.3, 1.0, 3.0})
        for (int n : answers) figure.names.push_back(format("%d, judge x %g", n, judge));
    for (double swap : {0.0, 1.0, 4.0, 20.0, 60.0}) {
        std::vector<std::string> words = {seconds(swap)};
        for (double judge : {0.3, 1.0, 3.0})
            for (int n : answers) {
                SimulateConfig own = config;
                own.devices = 32, own.answers_per_device = n, own.swap = swap, own.iterations = 1;
                own.judge_text.mean = std::max(1.0, own.judge_text.mean * judge);
                const Cluster cluster(own);
                const std::vector<Candidate> all =
                    predict(cluster.costs, cluster.work(0, config.valid_share), cluster.demand);
                double share = 0;
                for (const Candidate& each : all)
                    if (each.layout.placement == Placement::share) share = each.seconds;
                words.push_back(all[0].layout.name() +
                                format(" -%.0f %%", 100 * (1 - all[0].seconds / share)));
            }
        figure.rows.push_back(words);
    }
    return figure;
}

SimulatedFigure waves(const SimulateConfig& config) {
    SimulatedFigure figure{
        "Waves of dynamic sampling",
        format(
            "Waves until every rank has 4 valid groups, %.2g / p at once: each rank with a quota "
            "of its own, and all with one.",
            config.oversample),
        {"ranks"},
        {},
        {}};
    for (double p : {0.75, 0.5, 0.3})
        for (const char* whose : {"own", "one"})
            figure.names.push_back(format("p %.2g, %s", p, whose));
    std::vector<std::vector<double>> lines;
    for (int ranks : {1, 8, 64, 512, 4096}) {
        std::vector<std::string> words = {std::to_string(ranks)};
        std::vector<double> line = {std::log2((double)ranks)};
        for (double p : {0.75, 0.5, 0.3})
            for (bool shared : {false, true}) {
                const double mean = waves_needed(p, 4, ranks, shared, config.oversample,
                                                 ranks > 100 ? 20 : 400, (uint64_t)config.seed);
                words.push_back(format("%.2f", mean)), line.push_back(mean);
            }
        figure.rows.push_back(words), lines.push_back(line);
    }
    figure.chart = chart_of(figure.title, "waves", "log2 of ranks", figure.names, lines);
    return figure;
}

SimulatedFigure drift(const SimulateConfig& config) {
    SimulateConfig own = config;
    own.devices = std::min(64, config.devices), own.iterations = 20;
    own.answer.growth = 2.5, own.judge_text.growth = 0.6;
    const Cluster cluster(own);
    SimulatedFigure figure{
        "While answers grow",
        format(
            "Seconds of an iteration on %d devices while answers grow to 2.5 times and the judge's "
            "texts shrink to 0.6 times their length; last, what the chooser took.",
            own.devices),
        {"iteration", "share", "split half", "fluid", "auto"},
        {},
        {}};
    std::vector<std::vector<double>> lines((size_t)own.iterations);
    std::vector<std::vector<std::string>> words((size_t)own.iterations);
    for (Scheme scheme : {Scheme::share, Scheme::split_half, Scheme::fluid, Scheme::auto_}) {
        const std::vector<SchemeIteration> rows = simulate(cluster, scheme);
        for (int k = 0; k < own.iterations; ++k) {
            if (lines[k].empty()) lines[k] = {(double)k}, words[k] = {std::to_string(k)};
            lines[k].push_back(rows[k].played.seconds);
            words[k].push_back(format("%.1f", rows[k].played.seconds));
            if (scheme == Scheme::auto_) words[k].push_back(rows[k].layout.name());
        }
    }
    figure.chart = chart_of(figure.title, "seconds", "iteration", figure.names, lines);
    figure.names.push_back("auto took");
    figure.rows = words;
    return figure;
}

} // namespace

std::vector<SimulatedFigure> simulated_figures(const SimulateConfig& config,
                                               const std::function<void(const char*)>& progress) {
    std::vector<SimulatedFigure> all;
    for (auto [name, make] : {std::pair{"controllers", &controllers},
                              {"idle shares", &idle_shares},
                              {"layouts", &boundary},
                              {"waves", &waves},
                              {"drift", &drift}}) {
        progress(name);
        all.push_back(make(config));
    }
    return all;
}

std::string validation_error(const std::string& rows) {
    if (rows.empty())
        return "Simulated, and not held against ranks that wait (validation=ROWS of emulate=true).";
    double sum = 0, most = 0;
    int count = 0;
    std::set<int64_t> ranks;
    for_each_row(rows, [&](const Json& row, const std::string& where) {
        const double off = std::abs(
            json_number(row, "seconds", where) / json_number(row, "simulated_seconds", where) - 1);
        sum += off, most = std::max(most, off), ++count;
        ranks.insert(json_int(row, "ranks", where));
    });
    std::string numbers;
    for (int64_t n : ranks) numbers += (numbers.empty() ? "" : ", ") + std::to_string(n);
    return format("Simulated. Validation error: %.1f %% on average, at most %.1f %%, of %d "
                  "iterations that %s emulated ranks played.",
                  100 * sum / count, 100 * most, count, numbers.c_str());
}

std::string figure_text(const SimulatedFigure& figure) {
    std::vector<size_t> width;
    for (const std::string& name : figure.names) width.push_back(name.size());
    for (const auto& row : figure.rows)
        for (size_t c = 0; c < row.size(); ++c) width[c] = std::max(width[c], row[c].size());
    auto line = [&](const std::vector<std::string>& cells) {
        std::string text;
        for (size_t c = 0; c < cells.size(); ++c)
            text += format("%*s  ", (int)width[c], cells[c].c_str());
        return text + "\n";
    };
    std::string text =
        "\nsimulated: " + figure.title + ". " + figure.text + "\n" + line(figure.names);
    for (const auto& row : figure.rows) text += line(row);
    return text;
}

std::string simulated_page(const SimulateConfig& config, const std::string& run_text,
                           const std::vector<SimulatedFigure>& figures) {
    const std::string error = validation_error(config.validation);
    std::string body =
        std::string(chart_patterns()) + "<h1>A cluster, simulated</h1>\n<p>" +
        format("%d devices, %d valid answers each in an iteration. ", config.devices,
               config.answers_per_device) +
        "No number on this page was measured on such a cluster: each one is computed "
        "by the model of costs in <code>src/dist/placement.h</code>.</p>\n<p>" +
        escape(error) + "</p>\n<pre>" + escape(run_text) + "</pre>\n";
    for (const SimulatedFigure& figure : figures) {
        body += "<h2>" + escape(figure.title) + " (simulated)</h2>\n<p>" + escape(figure.text) +
                "</p>\n<p>" + escape(error) + "</p>\n";
        if (figure.chart) body += line_chart(*figure.chart);
        body += "<table><tr>";
        for (const std::string& name : figure.names)
            body += "<th class=\"n\">" + escape(name) + "</th>";
        body += "</tr>\n";
        for (const auto& row : figure.rows) {
            body += "<tr>";
            for (const std::string& cell : row) body += "<td class=\"n\">" + escape(cell) + "</td>";
            body += "</tr>\n";
        }
        body += "</table>\n";
    }
    return html_page("A cluster, simulated", "", body);
}
