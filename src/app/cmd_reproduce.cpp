// rlhf reproduce CONFIG: a whole comparison. Runs stages and arms for every seed, what is done already left
// alone, and writes one table and one picture: OUT/results.md, results.json, results.html.

#include "app/commands.h"
#include "app/comparison.h"
#include "app/experiment.h"
#include "base/file.h"
#include "report/chart.h"
#include "report/page.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>

namespace {

struct ReproduceConfig {
    std::string out, title = "Comparison", metric = "eval_pass@1";
    int seeds = 5, jobs = 2;
    std::vector<double> targets = {0.5, 0.6, 0.7, 0.8};
    std::vector<std::string> also, only;
    Json stages = Json::array(), arms = Json::array(), compare = Json::array(),
         pictures = Json::array();
    void visit(Fields& v) {
        v.field("out", out, "directory of the whole comparison");
        v.field("title", title, "of the page");
        v.field("seeds", seeds, 1, 1e4, "seeds 0 .. seeds - 1");
        v.field("jobs", jobs, 1, 1024, "processes at once");
        v.json("stages", stages,
               "what arms start from: a list of {\"name\", \"run\": [words], \"shared\": false, "
               "\"figures\": [paths], \"bounds\": {path: [low, high]}}");
        v.json("arms", arms,
               "what is compared: a list of {\"name\", \"run\": [words of rl], "
               "\"bounds\": {\"start\" or \"end\": [low, high]}}");
        v.json("compare", compare, "pairs [A, B] of arms: differences seed by seed");
        v.json("pictures", pictures, "lists of arms, a picture each; empty: one of all");
        v.field("metric", metric, "of metrics.jsonl, what the arms are compared by");
        v.field("targets", targets, -1e9, 1e9, "values whose first reaching is counted in updates");
        v.field("also", also, "metrics whose first and last value are in the table");
        v.field("only", only, "arms to run and report, with the stages that they need; empty: all");
    }
};

std::string number(double x, int digits = 3) {
    return std::isfinite(x) ? format("%.*f", digits, x) : "–";
}

std::string with_interval(const Interval& x) {
    return std::isfinite(x.mean) ? format("%.3f [%.3f, %.3f]", x.mean, x.low, x.high) : "–";
}

// "20/25/–": one number per seed.
std::string per_seed(const std::vector<double>& values, int digits) {
    std::string text;
    for (double v : values) text += (text.empty() ? "" : " ") + number(v, digits);
    return text;
}

std::vector<double> of_curves(const Arm& arm, double (Curve::*read)() const) {
    std::vector<double> values;
    for (const Curve& curve : arm.curves) values.push_back((curve.*read)());
    return values;
}

struct Table {
    std::string title;
    std::vector<std::string> head;
    std::vector<std::vector<std::string>> rows;
};

std::string markdown(const Table& table) {
    auto line = [](const std::vector<std::string>& cells) {
        std::string text = "|";
        for (const std::string& cell : cells) text += " " + cell + " |";
        return text + "\n";
    };
    std::string text = "## " + table.title + "\n\n" + line(table.head);
    text += line(std::vector<std::string>(table.head.size(), "---"));
    for (const auto& row : table.rows) text += line(row);
    return text + "\n";
}

std::string html(const Table& table) {
    std::string text = "<h2>" + escape(table.title) + "</h2>\n<table>\n<tr>";
    for (const std::string& cell : table.head) text += "<th>" + escape(cell) + "</th>";
    text += "</tr>\n";
    for (const auto& row : table.rows) {
        text += "<tr>";
        for (const std::string& cell : row) text += "<td>" + escape(cell) + "</td>";
        text += "</tr>\n";
    }
    return text + "</table>\n";
}

Table table_of_arms(const ReproduceConfig& config, const std::vector<Arm>& arms) {
    Table table{"Arms", {"arm", "start", "end [95 %]", "end, per seed", "best"}, {}};
    for (double target : config.targets) table.head.push_back(format("updates to %g", target));
    for (const std::string& metric : config.also) table.head.push_back(metric + ", first -> last");
    for (const Arm& arm : arms) {
        std::vector<double> start;
        for (const Curve& curve : arm.curves) start.push_back(curve.value.front());
        std::vector<std::string> row = {arm.name, number(interval_of(start).mean),
                                        with_interval(interval_of(of_curves(arm, &Curve::end))),
                                        per_seed(of_curves(arm, &Curve::end), 3),
                                        number(interval_of(of_curves(arm, &Curve::best)).mean)};
        for (double target : config.targets) {
            std::vector<double> updates;
            for (const Curve& curve : arm.curves) updates.push_back(curve.to(target));
            row.push_back(per_seed(updates, 0));
        }
        for (const std::string& metric : config.also) {
            std::vector<double> first, last;
            for (const std::string& run : arm.runs) {
                if (!has_metric(run, metric)) continue;
                const Curve curve = read_curve(run, metric);
                first.push_back(curve.value.front()), last.push_back(curve.value.back());
            }
            row.push_back(first.empty() ? "–"
                                        : number(interval_of(first).mean) + " -> " +
                                              number(interval_of(last).mean));
        }
        table.rows.push_back(row);
    }
    return table;
}

Table table_of_pairs(const ReproduceConfig& config, const std::vector<Arm>& arms) {
    Table table{"Paired by seed", {"A", "B", "end of A - end of B [95 %]", "per seed"}, {}};
    for (double target : config.targets)
        table.head.push_back(format("updates of B / of A to %g", target));
    for (const Json& pair : config.compare) {
        CHECK(pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_string(),
              "compare must be a list of pairs of arms, found %s", dump_row(pair).c_str());
        const Arm* of[2] = {};
        for (int side = 0; side < 2; ++side)
            for (const Arm& arm : arms)
                if (arm.name == pair[side].get<std::string>()) of[side] = &arm;
        if (!of[0] || !of[1]) continue; // left out by `only`
        std::vector<double> difference;
        for (size_t seed = 0; seed < of[0]->curves.size(); ++seed)
            difference.push_back(of[0]->curves[seed].end() - of[1]->curves[seed].end());
        std::vector<std::string> row = {of[0]->name, of[1]->name,
                                        with_interval(interval_of(difference)),
                                        per_seed(difference, 3)};
        for (double target : config.targets) {
            std::vector<double> ratio;
            for (size_t seed = 0; seed < of[0]->curves.size(); ++seed)
                ratio.push_back(of[1]->curves[seed].to(target) / of[0]->curves[seed].to(target));
            row.push_back(per_seed(ratio, 2));
        }
        table.rows.push_back(row);
    }
    return table;
}

Table table_of_stages(const std::vector<Job>& jobs, const std::vector<JobConfig>& stages) {
    Table table{"Stages", {"stage", "figure", "mean [95 %]", "per seed"}, {}};
    for (const JobConfig& stage : stages)
        for (const std::string& figure : stage.figures) {
            std::vector<double> values;
            for (const Job& job : jobs)
                if (job.config->name == stage.name)
                    values.push_back(figure_in_log(job.log(), figure));
            table.rows.push_back(
                {stage.name, figure, with_interval(interval_of(values)), per_seed(values, 3)});
        }
    return table;
}

std::string charts(const ReproduceConfig& config, const std::vector<Arm>& arms) {
    auto draw = [&](size_t least, const std::function<bool(const std::string&)>& shown) {
        Chart chart{config.title, config.metric + " over updates", {}, ""};
        for (const Arm& arm : arms) {
            if (!shown(arm.name)) continue;
            const MeanCurve mean = mean_curve(arm);
            chart.series.push_back({arm.name, mean.update, mean.mean, mean.low, mean.high, false});
        }
        chart.note = format("Means of %d seeds with 95 %% intervals.", config.seeds);
        return chart.series.size() < least ? "" : line_chart(chart);
    };
    std::string text;
    for (const Json& names : config.pictures) {
        CHECK(names.is_array(), "pictures must be a list of lists of arms, found %s",
              dump_row(names).c_str());
        // of a picture that compares, `only` may have left one arm: that compares nothing
        text += draw(std::min<size_t>(2, names.size()), [&](const std::string& name) {
            return std::find(names.begin(), names.end(), Json(name)) != names.end();
        });
    }
    return text.empty() ? draw(1, [](const std::string&) { return true; }) : text;
}

Json results_json(const ReproduceConfig& config, const std::vector<Arm>& arms) {
    Json json = {{"metric", config.metric}, {"arms", Json::object()}};
    for (const Arm& arm : arms)
        for (size_t seed = 0; seed < arm.curves.size(); ++seed)
            json["arms"][arm.name].push_back({{"run", arm.runs[seed]},
                                              {"update", arm.curves[seed].update},
                                              {"value", arm.curves[seed].value},
                                              {"end", arm.curves[seed].end()},
                                              {"best", arm.curves[seed].best()}});
    return json;
}

} // namespace

static bool names(const JobConfig& job, const std::string& other) {
    return std::any_of(job.run.begin(), job.run.end(), [&](const std::string& word) {
        return word.find("{" + other + "}") != std::string::npos;
    });
}

// With `only`: the stages that the arms need, and those that measure nothing but such stages.
static void keep_needed(std::vector<JobConfig>& stages, const std::vector<JobConfig>& arms) {
    std::vector<const JobConfig*> users; // from the end, as a stage is named after it
    for (const JobConfig& arm : arms) users.push_back(&arm);
    std::vector<bool> kept(stages.size());
    for (size_t i = stages.size(); i-- > 0;) {
        kept[i] = std::any_of(users.begin(), users.end(),
                              [&](const JobConfig* user) { return names(*user, stages[i].name); });
        if (kept[i]) users.push_back(&stages[i]);
    }
    for (size_t i = 0; i < stages.size(); ++i) {
        if (stages[i].figures.empty()) continue;
        bool ready = true;
        for (size_t j = 0; j < i; ++j) ready &= kept[j] || !names(stages[i], stages[j].name);
        kept[i] = kept[i] || ready;
    }
    size_t i = 0;
    std::erase_if(stages, [&](const JobConfig&) { return !kept[i++]; });
}

// What a figure has to do with its bounds, in words; "" where it keeps them. NaN keeps none.
static std::string outside(const std::string& directory, const JobConfig::Bound& bound,
                           double value) {
    if (value >= bound.low && value <= bound.high) return "";
    return format("%s: %s is %.4f, and has to be from %g to %g", directory.c_str(),
                  bound.figure.c_str(), value, bound.low, bound.high);
}

static int reproduce(ReproduceConfig& config, const Args&) {
    CHECK(!config.out.empty(), "out is missing: the directory of the comparison");
    std::vector<JobConfig> stages = read_jobs(config.stages, "stages");
    std::vector<JobConfig> arms = read_jobs(config.arms, "arms");
    CHECK(!arms.empty(), "arms is empty: there is nothing to compare");
    for (const std::string& name : config.only)
        CHECK(std::any_of(arms.begin(), arms.end(), [&](auto& arm) { return arm.name == name; }),
              "only names \"%s\", which is no arm", name.c_str());
    if (!config.only.empty())
        std::erase_if(arms, [&](const JobConfig& arm) {
            return std::find(config.only.begin(), config.only.end(), arm.name) == config.only.end();
        });
    if (!config.only.empty()) keep_needed(stages, arms);
    for (const JobConfig& arm : arms)
        for (const JobConfig::Bound& bound : arm.bounds)
            CHECK(bound.figure == "start" || bound.figure == "end",
                  "arm %s: bounds are of \"start\" or \"end\", found \"%s\"", arm.name.c_str(),
                  bound.figure.c_str());
    std::vector<JobConfig> all = stages;
    all.insert(all.end(), arms.begin(), arms.end());
    const std::vector<Job> jobs = plan_jobs(all, config.seeds, config.out);
    // a stage that is not what the arms suppose ends it before they run
    run_jobs(jobs, config.jobs, [&](const Job& job) {
        std::string fault;
        for (const JobConfig::Bound& bound : job.config->bounds)
            if (fault.empty() && job.config - all.data() < (ptrdiff_t)stages.size())
                fault = outside(job.directory, bound, figure_in_log(job.log(), bound.figure));
        return fault;
    });

    std::vector<Arm> results;
    for (const JobConfig& arm : arms) {
        Arm& result = results.emplace_back();
        result.name = arm.name;
        for (const Job& job : jobs)
            if (job.config->name == arm.name) {
                result.runs.push_back(job.directory);
                result.curves.push_back(read_curve(job.directory, config.metric));
            }
    }
    std::vector<Table> tables = {table_of_arms(config, results)};
    if (!config.compare.empty()) tables.push_back(table_of_pairs(config, results));
    Table figures = table_of_stages(jobs, stages);
    if (!figures.rows.empty()) tables.push_back(figures);

    std::string text = "# " + config.title + "\n\n", body = charts(config, results);
    for (const Table& table : tables) text += markdown(table), body += html(table);
    write_file(join_path(config.out, "results.md"), text);
    write_file(join_path(config.out, "results.json"), results_json(config, results).dump(1) + "\n");
    write_file(join_path(config.out, "results.html"),
               html_page(config.title, "", chart_patterns() + body));
    std::printf("%s%s\n", text.c_str(), join_path(config.out, "results.html").c_str());
    std::string faults; // of the arms, once everything is on paper
    for (size_t i = 0; i < arms.size(); ++i)
        for (const JobConfig::Bound& bound : arms[i].bounds)
            for (size_t seed = 0; seed < results[i].runs.size(); ++seed) {
                const Curve& curve = results[i].curves[seed];
                const std::string fault =
                    outside(results[i].runs[seed], bound,
                            bound.figure == "start" ? curve.value.front() : curve.end());
                if (!fault.empty()) faults += (faults.empty() ? "" : "\n") + fault;
            }
    CHECK(faults.empty(), "%s", faults.c_str());
    return 0;
}

extern const Command reproduce_command;
const Command reproduce_command = command<ReproduceConfig, reproduce>(
    "reproduce", "a whole comparison: stages, arms, seeds; one table and one picture");
