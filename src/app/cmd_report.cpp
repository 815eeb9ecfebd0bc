// rlhf report RUN [out=F]: the run on one page, RUN/report.html.

#include "app/commands.h"
#include "app/explain/pairs.h"
#include "app/explain/step.h"
#include "app/explain/stored_run.h"
#include "app/wise_report.h"
#include "base/file.h"
#include "report/report.h"
#include "rl/doctor.h"
#include "rl/metric_table.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>

extern const Command rl_command, sft_command;

namespace {

struct ReportConfig {
    std::string out, predictions;
    void visit(Fields& v) {
        v.field("out", out, "file to write; empty: RUN/report.html");
        v.field("predictions", predictions,
                "turns of WISE as eval wrote them; empty: RUN/predictions.jsonl, if it is there");
    }
};

std::string plain(const Json& value) {
    return value.is_string() ? value.get<std::string>() : dump_row(value);
}

// Leaves of a configuration by path.
void flatten(const Json& at, const std::string& path,
             std::vector<std::pair<std::string, std::string>>& leaves) {
    if (at.is_object() && !at.empty())
        for (auto& [key, value] : at.items())
            flatten(value, path.empty() ? key : path + "." + key, leaves);
    else
        leaves.push_back({path, plain(at)});
}

// Against the command's own defaults, and the algorithm's settings against those of its preset.
std::vector<Setting> settings_of(const StoredRun& run) {
    Fields fields;
    (run.rl ? rl_command : sft_command).fields(fields);
    Json defaults = config_json(fields);
    if (run.rl) {
        AlgoConfig algo = preset_algorithm(run.algo.preset);
        Fields of_preset;
        algo.visit(of_preset);
        Json preset = config_json(of_preset);
        preset["preset"] = defaults["algo"]["preset"];
        defaults["algo"] = preset;
    }
    std::vector<std::pair<std::string, std::string>> leaves, standard;
    flatten(run.config, "", leaves), flatten(defaults, "", standard);
    std::map<std::string, std::string> default_of(standard.begin(), standard.end()), help;
    for (const Field& field : fields.list) help[field.path] = field.help;
    std::vector<Setting> settings;
    for (auto& [path, value] : leaves)
        settings.push_back({path, value, default_of[path], help[path]});
    return settings;
}

std::vector<Law> laws_of(const StoredRun& run, const StoredUpdate& update) {
    const Json train = run.config.value("train", Json::object());
    bool one_update =
        json_int_or(train, "epochs", 1, "train") * json_int_or(train, "minibatches", 1, "train") ==
        1;
    std::vector<Law> laws;
    for (const Finding& f : examine(update.stored.batch, update.kept, update.weights, run.algo,
                                    update.loss.parts, update.loss.grads, one_update))
        laws.push_back({f.law, health_name(f.health), f.text, f.health == Health::broken});
    return laws;
}

// Of one step: the completion with the largest reward, the one nearest to the mean, the smallest. Of equal
// ones the first.
void add_samples(const StoredRun& run, int64_t step, std::vector<SampleRollout>& samples) {
    std::vector<Json> rows;
    std::vector<double> reward;
    double mean = 0;
    for_each_row(run.file(format("rollouts/%06lld.jsonl", (long long)step)),
                 [&](const Json& row, const std::string& where) {
                     rows.push_back(row);
                     reward.push_back(json_number(row, "reward", where));
                     mean += reward.back();
                 });
    mean /= (double)rows.size();
    size_t best = 0, worst = 0, typical = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
        if (reward[i] > reward[best]) best = i;
        if (reward[i] < reward[worst]) worst = i;
        if (std::abs(reward[i] - mean) < std::abs(reward[typical] - mean)) typical = i;
    }
    // With two rewards only, the typical one is often the best or the worst: then the next like it.
    for (size_t i = 0; i < rows.size(); ++i)
        if (reward[i] == reward[typical] && i != best && i != worst) {
            typical = i;
            break;
        }
    for (auto [kind, i] : {std::pair{"best", best}, {"typical", typical}, {"worst", worst}}) {
        const Json& row = rows[i];
        std::string text = json_string_or(row, "text", "", "rollouts");
        if (text.empty()) text = run.text(json_ids(row, "completion_ids", "rollouts"));
        samples.push_back({step, kind, reward[i], run.text(json_ids(row, "prompt_ids", "rollouts")),
                           text, json_string_or(row, "reason", "", "rollouts"),
                           json_string_or(row, "finish", "", "rollouts") == "length"
                               ? "cut off at the length limit"
                               : "ended by itself"});
    }
}

double last_number(const std::vector<Json>& metrics, const char* name) {
    Column column = metric_column(metrics, name);
    return column.value.empty() ? NAN : column.value.back();
}

void add_facts(const StoredRun& run, RunRecord& record) {
    auto& facts = record.facts;
    auto at = [&](const char* pointer) {
        Json::json_pointer place{std::string(pointer)};
        return run.config.contains(place) ? plain(run.config.at(place)) : "";
    };
    auto fact = [&](const char* name, const std::string& value) {
        if (!value.empty()) facts.push_back({name, value});
    };
    const std::vector<Json>& metrics = record.metrics;
    double seconds = 0, tokens = 0;
    for (const Json& line : metrics)
        seconds += json_number_or(line, "step_seconds", 0, "metrics"),
            tokens += json_number_or(line, "tokens", 0, "metrics");
    fact("steps",
         format("%s of %s", dump_row(metrics.back()["step"]).c_str(), at("/train/steps").c_str()));
    if (run.rl) fact("algorithm", run.algo.preset);
    if (run.rl && run.select.mode != SelectMode::all) fact("selection", name_of(run.select.mode));
    fact("task", at("/task/name"));
    fact("data", at("/data/train"));
    fact("started from", at("/model/path"));
    auto change = [&](const char* name, const char* before, const char* after, int digits) {
        double from = last_number(metrics, before), to = last_number(metrics, after);
        if (!std::isfinite(to)) return;
        fact(name, std::isfinite(from)
                       ? format("%.*f", digits, from) + " \u2192 " + format("%.*f", digits, to)
                       : format("%.*f", digits, to));
    };
    change("pass@1 on held-out problems", "eval_before_pass@1", "eval_pass@1", 3);
    change("held-out loss, nats per token", "eval_loss_before_nats_per_token",
           "eval_loss_nats_per_token", 4);
    Column reward = metric_column(metrics, "reward_mean");
    if (!reward.value.empty())
        fact("reward, first and last step",
             format("%.3f \u2192 %.3f", reward.value.front(), reward.value.back()));
    fact("time in steps", format("%.1f s", seconds));
    fact("tokens", format("%.0f (%.0f per s)", tokens, tokens / std::max(seconds, 1e-9)));
    fact("weights after the last step",
         json_string_or(metrics.back(), "fingerprint", "", "metrics"));
}

// Of the last few steps: more would be a wall.
const int64_t steps_in_timeline = 3;

void add_timeline(const StoredRun& run, RunRecord& record) {
    const int64_t last = json_int(record.metrics.back(), "step", "metrics");
    for (int rank = 0; file_exists(run.file(format("timeline/%d.jsonl", rank))); ++rank)
        for_each_row(run.file(format("timeline/%d.jsonl", rank)),
                     [&](const Json& row, const std::string& where) {
                         const int64_t step = json_int(row, "step", where);
                         if (step <= last - steps_in_timeline || step > last) return;
                         record.timeline.push_back({rank, json_string(row, "what", where),
                                                    json_number(row, "begin", where),
                                                    json_number(row, "end", where), step});
                     });
    int64_t known = 0;
    double off = 0;
    std::vector<std::string> layouts;
    for (const Json& line : record.metrics) {
        if (!line.contains("layout")) continue;
        const std::string layout = json_string(line, "layout", "metrics");
        if (layouts.empty() || layouts.back() != layout) layouts.push_back(layout);
        if (!line.contains("predicted_seconds")) continue;
        const double seconds = json_number(line, "step_seconds", "metrics");
        off += std::abs(json_number(line, "predicted_seconds", "metrics") / seconds - 1);
        ++known;
    }
    if (layouts.empty()) return;
    record.placement = "Who generated and who judged, from the first step to the last: ";
    for (size_t i = 0; i < layouts.size(); ++i)
        record.placement += (i ? ", then " : "") + layouts[i];
    record.placement += ".";
    if (known > 0)
        record.placement +=
            format(" Predicted step times were %.0f %% off on average.", 100 * off / (double)known);
}

} // namespace

// A look; explain has the rest.
const int64_t tokens_in_report = 200;
const int pairs_in_report = 6;

static int cmd_report(const Args& args) {
    Args rest = args;
    rest.config_path.clear();
    ReportConfig config;
    load_config(config, rest);
    StoredRun run = open_run(args.config_path);
    RunRecord record;
    record.name = args.config_path;
    while (record.name.size() > 1 && record.name.back() == '/') record.name.pop_back();
    const bool reward_model = run.config.contains("reward");
    record.summary = run.rl         ? "A policy trained against a reward: rlhf rl"
                     : reward_model ? "A reward model: rlhf reward"
                                    : "Supervised fine-tuning: rlhf sft";
    record.metrics = read_metrics(run.file("metrics.jsonl"));
    if (run.rl)
        record.meaning = [](const std::string& name) -> std::string {
            const MetricMeaning* metric = find_metric("rl", name);
            return metric ? metric->meaning : "";
        };
    add_facts(run, record);
    if (!record.metrics.empty()) add_timeline(run, record);
    if (run.rl && !run.steps.empty()) {
        record.laws_step = run.steps.back();
        record.laws = laws_of(run, run.update(record.laws_step));
        std::vector<int64_t> shown = {run.steps.front(), run.steps[run.steps.size() / 2],
                                      run.steps.back()};
        shown.erase(std::unique(shown.begin(), shown.end()), shown.end());
        for (int64_t step : shown) add_samples(run, step, record.samples);
    }
    if (run.rl && !run.steps.empty())
        record.tokens = explain_step(run, run.steps.back(), -1, "", tokens_in_report);
    if (reward_model) record.tokens = explain_pairs(run, pairs_in_report);
    std::string predictions = config.predictions;
    if (predictions.empty() && file_exists(run.file("predictions.jsonl")))
        predictions = run.file("predictions.jsonl");
    if (!predictions.empty()) record.wise = wise_record(predictions);
    record.settings = settings_of(run);
    std::string out = config.out.empty() ? run.file("report.html") : config.out;
    write_file(out, report_html(record));
    if (out != "-") std::printf("%s\n", out.c_str());
    return 0;
}

extern const Command report_command;
const Command report_command = {"report", "a run on one HTML page: report RUN", cmd_report,
                                [](Fields& fields) {
                                    static ReportConfig config;
                                    config.visit(fields);
                                }};
