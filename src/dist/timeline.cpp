#include "dist/timeline.h"

#include "base/clock.h"

Timeline::Timeline() {
    using namespace std::chrono;
    to_wall_clock = duration<double>(system_clock::now().time_since_epoch()).count() - now();
}

void Timeline::note(const char* what, double begin, double end) {
    // A wait of many looks is one.
    if (!spans.empty() && spans.back().what == what && begin - spans.back().end < 1e-3)
        spans.back().end = end;
    else if (end > begin)
        spans.push_back({what, begin, end});
}

std::string Timeline::rows(int64_t step) {
    std::string text;
    for (const Span& span : spans)
        text += dump_row(Json{{"begin", span.begin + to_wall_clock},
                              {"end", span.end + to_wall_clock},
                              {"what", span.what},
                              {"step", step}}) +
                "\n";
    spans.clear();
    return text;
}
