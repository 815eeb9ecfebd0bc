#include "report/timeline.h"

#include "base/check.h"
#include "report/chart.h"
#include "report/page.h"

#include <algorithm>
#include <map>

using Kinds = std::vector<std::pair<std::string, std::string>>;

const Kinds& timeline_kinds() {
    static const Kinds kinds = {{"generate", "generate"},
                                {"judge", "judge"},
                                {"train", "train"},
                                {"tail", "wait: nothing left to generate"},
                                {"queue", "wait: nothing to judge yet"},
                                {"other", "other networks, checks"},
                                {"barrier", "wait: others still judge"},
                                {"swap", "change of model"}};
    return kinds;
}

static int kind_of(const std::string& what) {
    const Kinds& kinds = timeline_kinds();
    int other = 0;
    for (int k = 0; k < (int)kinds.size(); ++k) {
        if (kinds[k].first == what) return k;
        if (kinds[k].first == "other") other = k;
    }
    return other;
}

// The eighth has no pattern of its own: an empty box.
static std::string style_of(int kind) { return kind < 7 ? format("box p%d", kind) : "box hollow"; }

std::string timeline_chart(const std::string& title, const std::vector<TimelineSpan>& spans) {
    if (spans.empty()) return "";
    double low = spans[0].begin, high = spans[0].end;
    int ranks = 0;
    for (const TimelineSpan& span : spans) {
        low = std::min(low, span.begin), high = std::max(high, span.end);
        ranks = std::max(ranks, span.rank + 1);
    }
    const double width = 900, left = 60, top = 6, each = 22;
    const double bottom = top + each * ranks;
    const Scale x{0, std::max(1e-6, high - low), left, width - 10};
    std::string svg = "<g class=\"axes\">";
    const std::vector<double> ticks = axis_ticks(0, high - low, 8);
    const double distance = ticks.size() > 1 ? ticks[1] - ticks[0] : 1;
    for (double t : ticks)
        svg += format("<path class=\"grid\" d=\"M%.1f %.1fV%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                      "text-anchor=\"middle\">%s</text>",
                      x.at(t), top, bottom, x.at(t), bottom + 14, tick_label(t, distance).c_str());
    for (int r = 0; r < ranks; ++r)
        svg += format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">rank %d</text>", left - 6,
                      top + each * (r + 0.65), r);
    svg += format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">seconds</text></g>", width - 10,
                  bottom + 30);
    std::vector<bool> seen(timeline_kinds().size());
    for (const TimelineSpan& span : spans) {
        const int kind = kind_of(span.what);
        seen[kind] = true;
        const double from = x.at(span.begin - low), to = x.at(span.end - low);
        svg += format("<rect class=\"%s\" x=\"%.2f\" y=\"%.1f\" width=\"%.2f\" height=\"%.1f\">"
                      "<title>rank %d, step %lld\n%s\n%s s</title></rect>",
                      style_of(kind).c_str(), from, top + each * span.rank + 2,
                      std::max(0.3, to - from), each - 4, span.rank, (long long)span.step,
                      escape(timeline_kinds()[kind].second).c_str(),
                      short_number(span.end - span.begin).c_str());
    }
    std::string legend;
    for (size_t k = 0; k < seen.size(); ++k)
        if (seen[k])
            legend +=
                format("<span><svg width=\"14\" height=\"12\"><rect class=\"%s\" width=\"14\" "
                       "height=\"12\"/></svg> %s</span>",
                       style_of((int)k).c_str(), escape(timeline_kinds()[k].second).c_str());
    return format(
               "<figure class=\"wide\"><figcaption>%s</figcaption><svg viewBox=\"0 0 %.0f %.0f\" "
               "role=\"img\" aria-label=\"%s\">",
               escape(title).c_str(), width, bottom + 36, escape(title).c_str()) +
           svg + "</svg><div class=\"legend\">" + legend + "</div></figure>\n";
}

std::string timeline_table(const std::vector<TimelineSpan>& spans) {
    if (spans.empty()) return "";
    std::vector<double> seconds(timeline_kinds().size());
    std::map<int, bool> ranks;
    double sum = 0;
    for (const TimelineSpan& span : spans) {
        seconds[kind_of(span.what)] += span.end - span.begin;
        sum += span.end - span.begin;
        ranks[span.rank] = true;
    }
    std::string rows;
    for (size_t k = 0; k < seconds.size(); ++k)
        if (seconds[k] > 0)
            rows += format(
                "<tr><td>%s</td><td class=\"n\">%s</td><td class=\"n\">%.1f %%</td></tr>\n",
                escape(timeline_kinds()[k].second).c_str(),
                short_number(seconds[k] / (double)ranks.size()).c_str(), 100 * seconds[k] / sum);
    return "<table><tr><th></th><th class=\"n\">seconds of a rank</th><th "
           "class=\"n\">share</th></tr>\n" +
           rows + "</table>\n";
}
