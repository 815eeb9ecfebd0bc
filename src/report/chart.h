#pragma once
// Charts as inline SVG: lines with intervals, and stacked bars. Series differ in colour, in dashes and in
// markers; the numbers at a place show when the pointer rests on it (<title>). Sizes are in user units; the
// picture scales with its column.

#include <string>
#include <utility>
#include <vector>

// A line from data to picture. at(low) = from, at(high) = to.
struct Scale {
    double low, high, from, to;
    double at(double value) const { return from + (value - low) / (high - low) * (to - from); }
};

// Smallest and largest finite value, widened so that low < high. {0, 1} without any.
std::pair<double, double> value_range(const std::vector<double>& values);
// Round numbers (1, 2 or 5 times a power of ten apart) within [low, high], about `wanted` of them.
std::vector<double> axis_ticks(double low, double high, int wanted);
// A tick in words, with as many digits as its distance to the next needs.
std::string tick_label(double tick, double distance);

// x increasing. A y that is not finite is a gap. low, high: ends of an interval, or empty.
struct Series {
    std::string name;
    std::vector<double> x, y, low, high;
    bool faint = false; // stands behind another series that summarises it
};

struct Chart {
    std::string title, unit;
    std::vector<Series> series;
    std::string note; // below
    std::string x_name = "step";
};

// "M x y L x y ..." of a series; a gap begins anew. At most two points per column of half a unit are
// drawn: the smallest and the largest.
std::string line_path(const Series& series, const Scale& x, const Scale& y);

// <figure> with axes, legend and hover values.
std::string line_chart(const Chart& chart);

struct Bars {
    std::string title, unit;
    std::vector<std::string> parts;           // from bottom to top
    std::vector<std::string> labels;          // of the bars
    std::vector<std::vector<double>> heights; // (bars)(parts), >= 0
};
std::string stacked_bars(const Bars& bars);

// What a page with charts holds once, at the beginning of its body: hatches.
const char* chart_patterns();
