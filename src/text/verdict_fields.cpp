#include "text/verdict_fields.h"

#include <algorithm>

std::vector<Segment> verdict_fields(std::string_view text) {
    static const std::string_view faithfulness = "] faithfulness: ",
                                  correctness = " | correctness: ";
    std::vector<Segment> fields;
    for (size_t begin = 0, end; begin < text.size(); begin = end) {
        end = std::min(text.find('\n', begin), text.size() - 1) + 1;
        const std::string_view line = text.substr(begin, end - begin);
        const size_t score = line.find(faithfulness), c = line.find(correctness);
        const size_t reason = score + faithfulness.size() + 1;
        if (line[0] != '[' || score == line.npos || c == line.npos || c < reason) {
            fields.push_back({begin, end, ""});
            continue;
        }
        fields.push_back({begin, begin + reason, "faithfulness"});
        if (c > reason) fields.push_back({begin + reason, begin + c, "reason"});
        fields.push_back({begin + c, end, "correctness"});
    }
    return fields;
}
