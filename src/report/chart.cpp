#include "report/chart.h"

#include "base/check.h"
#include "report/page.h"

#include <algorithm>
#include <cmath>
#include <map>

// The picture: W x H units, the plot inside the margins; the left one is as wide as its labels need.
static const double W = 560, H = 236, RIGHT = 12, TOP = 12, BOTTOM = 40;
static const int STYLES = 6; // .s0 ... of the style sheet

// Of a label of the axes in the widest of the fonts that the style sheet names, at its size.
static double label_width(const std::string& label) { return 7.8 * (double)label.size(); }

std::pair<double, double> value_range(const std::vector<double>& values) {
    double low = HUGE_VAL, high = -HUGE_VAL;
    for (double v : values)
        if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
    if (low > high) return {0, 1};
    // A constant, or rounding errors about 0, is a flat line and not noise that fills the picture.
    double size = std::max(std::abs(low), std::abs(high));
    if (size < 1e-12) return {0, 1};
    if (high - low < 1e-9 * size) return {low - 0.1 * size, high + 0.1 * size};
    return {low, high};
}

static double tick_distance(double low, double high, int wanted) {
    double rough = (high - low) / wanted, power = std::pow(10, std::floor(std::log10(rough)));
    for (double step : {1.0, 2.0, 5.0})
        if (rough <= step * power * 1.000001) return step * power;
    return 10 * power;
}

std::vector<double> axis_ticks(double low, double high, int wanted) {
    double distance = tick_distance(low, high, wanted);
    std::vector<double> ticks;
    // Counted, not added up: 0.1 + 0.1 + 0.1 is not 0.3.
    for (double k = std::ceil(low / distance - 1e-9); k * distance <= high + 1e-9 * distance; ++k)
        ticks.push_back(k * distance + 0.0);
    return ticks;
}

std::string tick_label(double tick, double distance) {
    if (std::abs(tick) < 1e-9 * distance) return "0";
    if (std::abs(tick) >= 1e6) return format("%.3g", tick);
    if (distance < 1e-4) return format("%.2e", tick);
    int digits = std::max(0, (int)std::ceil(-std::log10(distance) - 1e-9));
    return format("%.*f", digits, tick);
}

std::string line_path(const Series& series, const Scale& x, const Scale& y) {
    std::string path;
    bool pen = false;
    auto to = [&](size_t i) {
        path += format("%s%.1f %.1f", pen ? "L" : "M", x.at(series.x[i]), y.at(series.y[i]));
        pen = true;
    };
    for (size_t i = 0; i < series.x.size();) {
        if (!std::isfinite(series.y[i])) {
            pen = false, ++i;
            continue;
        }
        // All points in one narrow column: the two extremes, in their order.
        double column = std::floor(2 * x.at(series.x[i]));
        size_t low = i, high = i, end = i;
        for (; end < series.x.size() && std::isfinite(series.y[end]) &&
               std::floor(2 * x.at(series.x[end])) == column;
             ++end) {
            if (series.y[end] < series.y[low]) low = end;
            if (series.y[end] > series.y[high]) high = end;
        }
        to(std::min(low, high));
        if (low != high) to(std::max(low, high));
        i = end;
    }
    return path;
}

// The labels of ticks that stand in order.
static std::vector<std::string> tick_labels(const std::vector<double>& ticks, double distance) {
    if (ticks.size() > 1) distance = ticks[1] - ticks[0];
    std::vector<std::string> labels;
    for (double tick : ticks) labels.push_back(tick_label(tick, distance));
    return labels;
}

// Room for the axis' title, which is written upwards, and for the widest label beside it.
static double left_margin(const std::vector<double>& y_ticks, double distance) {
    double widest = 0;
    for (const std::string& label : tick_labels(y_ticks, distance))
        widest = std::max(widest, label_width(label));
    return 22 + widest + 6;
}

static std::string x_tick_label(double x, const std::string& label) {
    return format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>", x,
                  H - BOTTOM + 18, escape(label).c_str());
}

// left: where the plot begins.
static std::string axes(const Scale& x, const Scale& y, double left, const std::string& unit,
                        const std::string& x_title, const std::vector<double>& x_ticks,
                        const std::vector<double>& y_ticks) {
    std::string svg = "<g class=\"axes\">";
    const std::vector<std::string> labels = tick_labels(y_ticks, y.high - y.low);
    for (size_t i = 0; i < labels.size(); ++i)
        svg += format("<path class=\"grid\" d=\"M%.1f %.1fH%.1f\"/><text x=\"%.1f\" y=\"%.1f\" "
                      "text-anchor=\"end\">%s</text>",
                      left, y.at(y_ticks[i]), W - RIGHT, left - 6, y.at(y_ticks[i]) + 4,
                      labels[i].c_str());
    // As many labels as have room beside each other.
    const std::vector<std::string> below = tick_labels(x_ticks, 1);
    double end = 0;
    for (size_t i = 0; i < below.size(); ++i) {
        const double at = x.at(x_ticks[i]), half = label_width(below[i]) / 2;
        svg += format("<path class=\"tick\" d=\"M%.1f %.1fv4\"/>", at, H - BOTTOM);
        if (at - half < end || at + half > W) continue;
        svg += x_tick_label(at, below[i]);
        end = at + half + 6;
    }
    svg += format("<path class=\"tick\" d=\"M%.1f %.1fV%.1fH%.1f\"/>", left, TOP, H - BOTTOM,
                  W - RIGHT);
    svg += format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">%s</text>",
                  (left + W - RIGHT) / 2, H - 4, escape(x_title).c_str());
    svg += format("<text transform=\"translate(12 %.1f) rotate(-90)\" text-anchor=\"middle\">"
                  "%s</text></g>",
                  (TOP + H - BOTTOM) / 2, escape(unit).c_str());
    return svg;
}

// Of about eight points of a series, so that lines that cross stay apart without colour.
static std::string markers(const Series& s, int style, const Scale& x, const Scale& y) {
    static const char* shapes[STYLES] = {"m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0z",
                                         "m-2.7-2.7h5.4v5.4h-5.4z",
                                         "m0-4l3.6 6.2h-7.2z",
                                         "m0-4l4 4l-4 4l-4-4z",
                                         "m0 4l3.6-6.2h-7.2z",
                                         "m-3.5-1.2h7v2.4h-7z"};
    std::string path;
    size_t stride = std::max<size_t>(1, (s.x.size() + 7) / 8);
    for (size_t i = stride / 2; i < s.x.size(); i += stride)
        if (std::isfinite(s.y[i]))
            path += format("M%.1f %.1f%s", x.at(s.x[i]), y.at(s.y[i]), shapes[style]);
    return format("<path class=\"m s%d\" d=\"%s\"/>", style, path.c_str());
}

// Whiskers where the points are few, a band where they are many.
static std::string intervals(const Series& s, int style, const Scale& x, const Scale& y) {
    std::string there, back;
    for (size_t i = 0; i < s.low.size(); ++i) {
        if (!std::isfinite(s.low[i]) || !std::isfinite(s.high[i])) continue;
        double at = x.at(s.x[i]), low = y.at(s.low[i]), high = y.at(s.high[i]);
        if (s.low.size() <= 40) {
            there += format("M%.1f %.1fV%.1fm-3 0h6M%.1f %.1fh6", at, low, high, at - 3, low);
        } else {
            there += format("%s%.1f %.1f", there.empty() ? "M" : "L", at, high);
            back = format("L%.1f %.1f", at, low) + back;
        }
    }
    if (there.empty()) return "";
    if (back.empty()) return format("<path class=\"w s%d\" d=\"%s\"/>", style, there.c_str());
    return format("<path class=\"b s%d\" d=\"%s%sZ\"/>", style, there.c_str(), back.c_str());
}

static std::string legend_entry(int style, bool box, const std::string& name) {
    std::string sample =
        box ? format("<path class=\"box p%d\" d=\"M1 2h24v9h-24z\"/>", style % (STYLES + 1))
            : format("<path class=\"l s%d\" d=\"M1 7h24\"/>", style) +
                  markers({"", {13}, {7}, {}, {}}, style, {0, 1, 0, 1}, {0, 1, 0, 1});
    return "<span><svg width=\"26\" height=\"13\" aria-hidden=\"true\">" + sample + "</svg> " +
           escape(name) + "</span>";
}

static std::string figure(const std::string& title, const std::string& svg,
                          const std::string& legend, const std::string& note) {
    return format("<figure><figcaption>%s</figcaption><svg viewBox=\"0 0 %g %g\" role=\"img\" "
                  "aria-label=\"%s\">",
                  escape(title).c_str(), W, H, escape(title).c_str()) +
           svg + "</svg><div class=\"legend\">" + legend + "</div>" +
           (note.empty() ? "" : "<p class=\"dim\">" + escape(note) + "</p>") + "</figure>\n";
}

// A strip over the whole height, from one x to the other, that shows the text while the pointer is on it.
static std::string hover(double from, double to, const std::string& text) {
    return format("<rect class=\"hover\" x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\">"
                  "<title>%s</title></rect>",
                  from, TOP, std::max(0.1, to - from), H - BOTTOM - TOP, escape(text).c_str());
}

static std::string hover_values(const Chart& chart, const Scale& x, double left) {
    std::map<double, std::string> texts; // x: lines
    for (const Series& s : chart.series)
        for (size_t i = 0; i < s.x.size(); ++i) {
            std::string& text = texts[s.x[i]];
            text += "\n" + s.name + ": " + short_number(s.y[i]);
            if (!s.low.empty() && std::isfinite(s.low[i]))
                text += " [" + short_number(s.low[i]) + ", " + short_number(s.high[i]) + "]";
        }
    // Of very many steps some: a strip narrower than the pointer's reach serves nobody.
    const size_t stride = texts.size() / 250 + 1;
    std::vector<std::pair<double, std::string>> shown;
    size_t k = 0;
    for (auto& [at, text] : texts)
        if (k++ % stride == 0) shown.push_back({at, text});
    std::string svg;
    for (size_t i = 0; i < shown.size(); ++i) {
        double at = x.at(shown[i].first);
        double from = i ? (x.at(shown[i - 1].first) + at) / 2 : left;
        double to = i + 1 < shown.size() ? (at + x.at(shown[i + 1].first)) / 2 : W - RIGHT;
        svg += hover(from, to,
                     format("%s %g", chart.x_name.c_str(), shown[i].first) + shown[i].second);
    }
    return svg;
}

std::string line_chart(const Chart& chart) {
    std::vector<double> xs, ys;
    for (const Series& s : chart.series) {
        xs.insert(xs.end(), s.x.begin(), s.x.end());
        for (const std::vector<double>* part : {&s.y, &s.low, &s.high})
            ys.insert(ys.end(), part->begin(), part->end());
    }
    auto [x_low, x_high] = value_range(xs);
    auto [y_low, y_high] = value_range(ys);
    // To the next tick, so that the line keeps off the frame.
    double distance = tick_distance(y_low, y_high, 5);
    y_low = std::floor(y_low / distance + 1e-9) * distance;
    y_high = std::ceil(y_high / distance - 1e-9) * distance;
    if (xs.size() == 1) x_low = xs[0] - 1, x_high = xs[0] + 1;
    const std::vector<double> y_ticks = axis_ticks(y_low, y_high, 5);
    const double left = left_margin(y_ticks, y_high - y_low);
    Scale x{x_low, x_high, left + 6, W - RIGHT - 6}, y{y_low, y_high, H - BOTTOM, TOP};
    std::vector<double> x_ticks;
    for (double t : axis_ticks(x_low, x_high, 8))
        if (t == std::floor(t)) x_ticks.push_back(t); // steps are whole
    std::string svg = axes(x, y, left, chart.unit, chart.x_name.c_str(), x_ticks, y_ticks);
    std::string legend;
    for (size_t i = 0; i < chart.series.size(); ++i) {
        const Series& s = chart.series[i];
        int style = (int)i % STYLES;
        svg += intervals(s, style, x, y);
        svg += format("<path class=\"l s%d%s\" d=\"%s\"/>", style, s.faint ? " faint" : "",
                      line_path(s, x, y).c_str());
        svg += markers(s, style, x, y);
        legend += legend_entry(style, false, s.name);
    }
    return figure(chart.title, svg + hover_values(chart, x, left), legend, chart.note);
}

std::string stacked_bars(const Bars& bars) {
    double high = 0;
    for (const auto& heights : bars.heights) {
        double sum = 0;
        for (double h : heights) sum += std::isfinite(h) ? h : 0;
        high = std::max(high, sum);
    }
    if (high <= 0) high = 1;
    double distance = tick_distance(0, high, 5);
    high = std::ceil(high / distance - 1e-9) * distance;
    const size_t count = bars.heights.size();
    const std::vector<double> y_ticks = axis_ticks(0, high, 5);
    const double left = left_margin(y_ticks, high);
    Scale x{0, (double)count, left + 1, W - RIGHT}, y{0, high, H - BOTTOM, TOP};
    std::string svg = axes(x, y, left, bars.unit, "steps", {}, y_ticks);
    double label_end = 0;
    std::string hovers, legend;
    for (size_t b = 0; b < count; ++b) {
        double from = x.at((double)b) + 0.5, width = x.at((double)b + 1) - from - 0.5, sum = 0;
        std::string text = "step " + bars.labels[b];
        for (size_t p = 0; p < bars.parts.size(); ++p) {
            double h = std::isfinite(bars.heights[b][p]) ? bars.heights[b][p] : 0;
            svg += format("<path class=\"box p%d\" d=\"M%.1f %.1fh%.1fV%.1fh-%.1fz\"/>",
                          (int)p % (STYLES + 1), from, y.at(sum), width, y.at(sum + h), width);
            sum += h;
            text += "\n" + bars.parts[p] + ": " + short_number(h);
        }
        hovers += hover(from, from + width, text + "\nsum: " + short_number(sum));
        const double middle = from + width / 2, half = label_width(bars.labels[b]) / 2;
        if (middle - half < label_end || middle + half > W) continue;
        svg += "<g class=\"axes\">" + x_tick_label(middle, bars.labels[b]) + "</g>";
        label_end = middle + half + 6;
    }
    for (size_t p = 0; p < bars.parts.size(); ++p)
        legend += legend_entry((int)p, true, bars.parts[p]);
    return figure(bars.title, svg + hovers, legend, "");
}

// Hatches tell the parts of a bar apart where colour does not. The page holds them once.
const char* chart_patterns() {
    return R"svg(<svg width="0" height="0" style="position:absolute" aria-hidden="true"><defs>
<pattern id="h1" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect width="6" height="6" fill="var(--c1)"/><path d="M0 0V6" stroke="var(--back)" stroke-width="2"/></pattern>
<pattern id="h3" width="5" height="5" patternUnits="userSpaceOnUse"><rect width="5" height="5" fill="var(--c3)"/><circle cx="2" cy="2" r="1" fill="var(--back)"/></pattern>
<pattern id="h4" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(-45)"><rect width="6" height="6" fill="var(--c4)"/><path d="M0 0V6" stroke="var(--back)" stroke-width="1.5"/></pattern>
<pattern id="h6" width="4" height="4" patternUnits="userSpaceOnUse"><rect width="4" height="4" fill="var(--c6)"/><path d="M0 1H4" stroke="var(--back)"/></pattern>
</defs></svg>
)svg";
}
