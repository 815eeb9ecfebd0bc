#pragma once
// What the ranks of a run did and when, as a picture: a line per rank.

#include <cstdint>
#include <string>
#include <vector>

struct TimelineSpan {
    int rank;
    std::string what; // of timeline_kinds; others stand as "other"
    double begin, end;
    int64_t step;
};

// The kinds that have a style of their own, work first, then waits.
const std::vector<std::pair<std::string, std::string>>& timeline_kinds(); // name, meaning

// <figure> of the spans; "" without any.
std::string timeline_chart(const std::string& title, const std::vector<TimelineSpan>& spans);
// Mean seconds of a rank in each kind that occurs, as <table>.
std::string timeline_table(const std::vector<TimelineSpan>& spans);
