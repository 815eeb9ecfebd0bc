#include "report/report.h"

#include "report/chart.h"
#include "report/page.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

// ---- metrics ------------------------------------------------------------------------------------

static double number_at(const Json& line, const std::string& name) {
    auto found = line.find(name);
    return found != line.end() && found->is_number() ? found->get<double>() : NAN;
}

Column metric_column(const std::vector<Json>& metrics, const std::string& name) {
    Column column;
    bool interval = false;
    for (const Json& line : metrics) {
        auto found = line.find(name);
        if (found == line.end() || !(found->is_number() || found->is_null())) continue;
        column.step.push_back(number_at(line, "step"));
        column.value.push_back(number_at(line, name));
        column.low.push_back(number_at(line, name + "_low"));
        column.high.push_back(number_at(line, name + "_high"));
        interval |= std::isfinite(column.low.back());
    }
    if (!interval) column.low.clear(), column.high.clear();
    return column;
}

std::vector<double> trailing_mean(const std::vector<double>& values, size_t width) {
    std::vector<double> means;
    for (size_t i = 0; i < values.size(); ++i) {
        double sum = 0;
        int count = 0;
        for (size_t j = i + 1 < width ? 0 : i + 1 - width; j <= i; ++j)
            if (std::isfinite(values[j])) sum += values[j], ++count;
        means.push_back(count ? sum / count : NAN);
    }
    return means;
}

std::string step_list(const std::vector<int64_t>& steps) {
    std::string text;
    int shown = 0;
    for (size_t i = 0; i < steps.size(); ++shown) {
        size_t end = i;
        while (end + 1 < steps.size() && steps[end + 1] == steps[end] + 1) ++end;
        if (shown == 8) return text + format(" and %zu more", steps.size() - i);
        text += format("%s%lld", i ? ", " : "", (long long)steps[i]);
        if (end > i) text += format(" to %lld", (long long)steps[end]);
        i = end + 1;
    }
    return text;
}

// ---- curves -------------------------------------------------------------------------------------

namespace {
struct Curve {
    const char *metric, *name;
};
struct Panel {
    const char *title, *unit;
    std::vector<Curve> curves;
    bool smooth; // noisy from step to step
    const char* note;
};
} // namespace

// Which metrics stand together; those that a run lacks are left out.
static const std::vector<Panel>& panels() {
    static const std::vector<Panel> all = {
        {"Reward",
         "reward per completion",
         {{"reward_mean", "reward"},
          {"checker_mean", "exact checker"},
          {"judge_clean_share", "judge: no wrong step"}},
         true,
         "Mean over the completions of a step. A checker that stays behind the reward means that "
         "the "
         "reward is being gamed."},
        {"pass@1 on held-out problems",
         "share solved",
         {{"eval_pass@1", "pass@1"}, {"eval_before_pass@1", "before the first step"}},
         false,
         "95 % intervals over problems."},
        {"Loss",
         "nats per token",
         {{"loss_nats_per_token", "training"},
          {"eval_loss_nats_per_token", "held out"},
          {"eval_loss_before_nats_per_token", "held out, before"}},
         true,
         ""},
        {"Loss and its terms",
         "loss",
         {{"loss", "loss"},
          {"policy_loss", "policy"},
          {"kl_loss", "KL"},
          {"entropy_loss", "entropy"},
          {"value_loss", "value"}},
         false,
         "Each term with its coefficient and sign. A policy loss of 0 is no fault where the ratio "
         "is 1 "
         "and the advantages sum to 0."},
        {"Entropy", "nats per token", {{"entropy_nats_per_token", "entropy"}}, false, ""},
        {"KL to the reference",
         "nats per token",
         {{"kl_k1_nats_per_token", "k1"}, {"kl_k3_nats_per_token", "k3"}},
         false,
         ""},
        {"Length of completions",
         "tokens",
         {{"completion_tokens_mean", "training"}, {"eval_completion_tokens_mean", "held out"}},
         false,
         ""},
        {"Completions that end by themselves",
         "share",
         {{"finished_share", "finished"}},
         false,
         ""},
        {"Gradient norm before clipping",
         "norm",
         {{"grad_norm", "policy"}, {"critic_grad_norm", "critic"}},
         false,
         ""},
        {"Completions kept and dropped",
         "completions",
         {{"kept_rows", "kept"}, {"dropped_rows", "dropped"}},
         false,
         ""},
        {"Tokens kept, dropped, computed",
         "tokens",
         {{"kept_tokens", "kept"},
          {"dropped_tokens", "dropped"},
          {"computed_tokens", "computed in training"},
          {"shared_prompt_tokens_saved", "saved by shared prompts"}},
         false,
         ""},
        {"Tokens whose gradient the clip set to 0", "share", {{"clip_frac", "clipped"}}, false, ""},
        {"Sampled against trained log-probabilities",
         "nats, largest gap",
         {{"logp_gap_nats", "gap"}},
         false,
         ""},
        {"Learning rate", "per update", {{"lr", "lr"}}, false, ""},
        {"Speed",
         "tokens per second",
         {{"decode_tokens_per_s", "decoding"}, {"tokens_per_s", "training"}},
         false,
         ""},
    };
    return all;
}

static std::string panel_html(const std::vector<Json>& metrics, const Panel& panel) {
    Chart chart{panel.title, panel.unit, {}, panel.note};
    for (const Curve& curve : panel.curves) {
        Column c = metric_column(metrics, curve.metric);
        if (c.step.empty()) continue;
        size_t width = c.step.size() / 10;
        bool smooth = panel.smooth && width >= 2 && chart.series.empty();
        chart.series.push_back({curve.name, c.step, c.value, c.low, c.high, smooth});
        if (smooth)
            chart.series.push_back({format("%s, mean of %zu steps", curve.name, width),
                                    c.step,
                                    trailing_mean(c.value, width),
                                    {},
                                    {}});
    }
    return chart.series.empty() ? "" : line_chart(chart);
}

static std::string curves_html(const std::vector<Json>& metrics) {
    std::set<std::string> placed = {"step", "tokens", "step_seconds"};
    std::string html;
    for (const Panel& panel : panels()) {
        html += panel_html(metrics, panel);
        for (const Curve& curve : panel.curves)
            for (const char* end : {"", "_low", "_high"})
                placed.insert(std::string(curve.metric) + end);
    }
    // What no panel knows is shown, too.
    std::vector<std::string> others;
    for (const Json& line : metrics)
        for (auto& [name, value] : line.items())
            if (value.is_number() && placed.insert(name).second) others.push_back(name);
    std::string rest;
    for (const std::string& name : others)
        rest += panel_html(metrics, {name.c_str(), "", {{name.c_str(), name.c_str()}}, false, ""});
    html = "<h2>Curves</h2>\n<div class=\"charts\">\n" + html + "</div>\n";
    if (!rest.empty())
        html +=
            "<details open><summary>Other numbers of the run</summary><div class=\"charts\">\n" +
            rest + "</div></details>\n";
    return html;
}

// ---- time ---------------------------------------------------------------------------------------

static std::string time_html(const std::vector<Json>& metrics) {
    std::vector<std::string> parts;
    std::map<std::string, double> total;
    double all = 0;
    for (const Json& line : metrics) {
        all += std::isfinite(number_at(line, "step_seconds")) ? number_at(line, "step_seconds") : 0;
        if (!line.contains("seconds") || !line["seconds"].is_object()) continue;
        for (auto& [name, value] : line["seconds"].items()) {
            if (!value.is_number()) continue;
            if (!total.count(name)) parts.push_back(name);
            total[name] += value.get<double>();
        }
    }
    if (parts.empty() || all <= 0) return "";
    double known = 0;
    for (const std::string& part : parts) known += total[part];
    parts.push_back("rest"), total["rest"] = std::max(0.0, all - known);

    Bars bars{"Seconds per step, by station", "seconds per step", parts, {}, {}};
    const size_t stride = (metrics.size() + 59) / 60;
    for (size_t from = 0; from < metrics.size(); from += stride) {
        size_t to = std::min(from + stride, metrics.size());
        std::vector<double> mean(parts.size(), 0.0);
        for (size_t i = from; i < to; ++i) {
            double sum = 0;
            for (size_t p = 0; p + 1 < parts.size(); ++p) {
                double s = metrics[i].contains("seconds")
                               ? number_at(metrics[i]["seconds"], parts[p])
                               : NAN;
                if (std::isfinite(s)) mean[p] += s / (double)(to - from), sum += s;
            }
            double step = number_at(metrics[i], "step_seconds");
            if (step > sum) mean.back() += (step - sum) / (double)(to - from);
        }
        std::string first = short_number(number_at(metrics[from], "step"));
        bars.labels.push_back(
            to - from == 1 ? first
                           : first + "\u2013" + short_number(number_at(metrics[to - 1], "step")));
        bars.heights.push_back(mean);
    }
    std::string html = "<h2>Where the time went</h2>\n<div class=\"charts\">\n" +
                       stacked_bars(bars) +
                       "<div><table><tr><th>station</th><th class=\"n\">seconds</th>"
                       "<th class=\"n\">share</th></tr>\n";
    for (const std::string& part : parts)
        html +=
            format("<tr><td>%s</td><td class=\"n\">%.3f</td><td class=\"n\">%.1f %%</td></tr>\n",
                   escape(part).c_str(), total[part], 100 * total[part] / std::max(all, known));
    return html +
           format("<tr><th>all</th><td class=\"n\">%.3f</td><td class=\"n\"></td></tr></table>"
                  "<p class=\"dim\">Sum over the run; evaluations and checkpoints stand outside "
                  "of steps.</p></div></div>\n",
                  all);
}

static std::string ranks_html(const RunRecord& record) {
    if (record.timeline.empty()) return "";
    return "<h2>What the ranks did</h2>\n<p>" + escape(record.placement) + "</p>\n" +
           timeline_chart("The last steps, rank by rank", record.timeline) +
           timeline_table(record.timeline);
}

// ---- doctor -------------------------------------------------------------------------------------

static std::string doctor_html(const RunRecord& record) {
    std::map<std::string, std::vector<int64_t>> broken; // law: steps
    std::map<std::string, std::string> first_word;
    bool examined = false;
    for (const Json& line : record.metrics) {
        if (!line.contains("doctor") || !line["doctor"].is_array()) continue;
        examined = true;
        for (const Json& finding : line["doctor"]) {
            if (!finding.is_string()) continue;
            std::string text = finding.get<std::string>(), law = text.substr(0, text.find(": "));
            broken[law].push_back((int64_t)number_at(line, "step"));
            first_word.try_emplace(law, text);
        }
    }
    if (!examined && record.laws.empty()) return "";
    std::string html =
        "<h2>Doctor</h2>\n<p>" +
        std::string(broken.empty()
                        ? "<span class=\"good\">\u2713 No law was broken</span> in any step."
                        : "<span class=\"bad\">\u2717 Laws were broken.</span>");
    html +=
        record.laws.empty()
            ? "</p>\n"
            : format(" The last column was made again from the stored numbers of step %lld.</p>\n",
                     (long long)record.laws_step);
    html += "<table class=\"laws\"><tr><th>law</th><th>in the run</th><th>now</th><th>what was "
            "found</th></tr>\n";
    auto row = [&](const std::string& name, const std::string& now, const std::string& text) {
        auto found = broken.find(name);
        html += "<tr><td>" + escape(name) + "</td><td>" +
                (found == broken.end() ? "<span class=\"good\">\u2713 never broken</span>"
                                       : "<span class=\"bad\">\u2717 broken in step " +
                                             escape(step_list(found->second)) + "</span>") +
                "</td><td>" + escape(now) + "</td><td>" + escape(text) + "</td></tr>\n";
    };
    for (const Law& law : record.laws) {
        row(law.name, law.verdict, law.text);
        if (!broken.count(law.name)) continue;
        html +=
            "<tr><td></td><td colspan=\"3\" class=\"dim\">first: " + escape(first_word[law.name]) +
            "</td></tr>\n";
        broken.erase(law.name);
    }
    std::vector<std::string> left;
    for (auto& [name, steps] : broken) left.push_back(name);
    for (const std::string& name : left) row(name, "", first_word[name]);
    return html + "</table>\n";
}

// ---- the rest -----------------------------------------------------------------------------------

static std::string samples_html(const std::vector<SampleRollout>& samples) {
    if (samples.empty()) return "";
    std::string html = "<h2>Sample completions</h2>\n";
    int64_t step = -1;
    for (const SampleRollout& s : samples) {
        if (s.step != step)
            html += format("%s<h3>Step %lld</h3><div class=\"samples\">\n",
                           step < 0 ? "" : "</div>\n", (long long)s.step);
        step = s.step;
        html += "<div class=\"card\"><div class=\"head\"><b>" + escape(s.kind) +
                "</b><span>reward " + short_number(s.reward) + "</span><span class=\"dim\">" +
                escape(s.finish) + "</span></div><div class=\"dim\">" + escape(s.reason) +
                "</div><div class=\"text prompt\">" + escape(s.prompt) +
                "</div><div class=\"text\">" + escape(s.completion) + "</div></div>\n";
    }
    return html + "</div>\n";
}

static std::string settings_table(const std::vector<Setting>& settings, bool departures) {
    std::string html = "<table><tr><th>key</th><th>value</th>" +
                       std::string(departures ? "<th>default</th>" : "") + "<th></th></tr>\n";
    for (const Setting& s : settings) {
        if (s.departs() != departures) continue;
        html += "<tr><td><code>" + escape(s.path) + "</code></td><td class=\"text\">" +
                escape(s.value) + "</td>" +
                (departures ? "<td class=\"text dim\">" + escape(s.standard) + "</td>" : "") +
                "<td class=\"dim\">" + escape(s.help) + "</td></tr>\n";
    }
    return html + "</table>\n";
}

static std::string last_numbers(const RunRecord& record) {
    const Json& line = record.metrics.back();
    std::string html = format("<details><summary>All numbers of step %s</summary><table>\n",
                              short_number(number_at(line, "step")).c_str());
    for (auto& [name, value] : line.items())
        html += "<tr><td><code>" + escape(name) + "</code></td><td class=\"text\">" +
                escape(value.is_string() ? value.get<std::string>() : dump_row(value)) +
                "</td><td class=\"dim\">" + escape(record.meaning ? record.meaning(name) : "") +
                "</td></tr>\n";
    return html + "</table></details>\n";
}

std::string report_html(const RunRecord& record) {
    std::string body = chart_patterns();
    body += "<h1>" + escape(record.name) + "</h1>\n<p class=\"dim\">" + escape(record.summary) +
            "</p>\n<dl>";
    for (auto& [name, value] : record.facts)
        body += "<div><dt>" + escape(name) + "</dt><dd>" + escape(value) + "</dd></div>\n";
    body += "</dl>\n";
    body += curves_html(record.metrics);
    body += time_html(record.metrics);
    body += ranks_html(record);
    body += doctor_html(record);
    body += samples_html(record.samples);
    ExplainPart tokens;
    if (record.tokens) tokens = explain_part(*record.tokens);
    if (record.tokens)
        body += "<h2>" + escape(record.tokens->name) + "</h2>\n<section>" + tokens.body +
                "</section>\n";
    if (record.wise) body += wise_html(*record.wise);
    if (!record.settings.empty())
        body += "<h2>Configuration</h2>\n<h3>What departs from the defaults</h3>\n" +
                settings_table(record.settings, true) +
                "<details><summary>Everything else, as it was in effect</summary>\n" +
                settings_table(record.settings, false) + "</details>\n";
    if (!record.metrics.empty()) body += last_numbers(record);
    return html_page(record.name + " \u2013 report", tokens.style, body);
}
