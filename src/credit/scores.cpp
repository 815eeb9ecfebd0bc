#include "credit/scores.h"

#include <cmath>

Json score_json(const Channel& channel, const Layout& layout, int i) {
    if (channel.failed(i)) return nullptr;
    if (channel.level == Level::completion) return channel.values[i] + 0.0; // no -0
    auto list = [&](int64_t begin, int64_t end) {
        Json numbers = Json::array();
        for (int64_t k = begin; k < end; ++k) numbers.push_back(channel.values[k] + 0.0);
        return numbers;
    };
    if (channel.level == Level::token) return list(layout.offset[i], layout.offset[i + 1]);
    const int64_t begin = channel.segments.first[i], end = channel.segments.first[i + 1];
    Json ends = Json::array();
    for (int64_t s = begin; s < end; ++s) ends.push_back(channel.segments.end[s]);
    return {{"end", ends}, {"value", list(begin, end)}};
}

namespace {

// One score of all rows.
struct Reader {
    const RawScore& wanted;
    const Layout& layout;
    Channel channel;
    bool any = false; // a row has had a value that is not null

    const char* form() const {
        return wanted.level == Level::completion ? "a number"
               : wanted.level == Level::token ? "a list with one number for each completion token"
                                              : "{\"end\": [..], \"value\": [..]}";
    }

    double number(const Json& value, const std::string& what) const {
        CHECK(value.is_number() && std::isfinite(value.get<double>()),
              "%s must be a finite number, found %.60s", what.c_str(), dump_row(value).c_str());
        const double x = value.get<double>();
        CHECK(x >= wanted.low && x <= wanted.high, "%s is %g; it must be between %g and %g",
              what.c_str(), x, wanted.low, wanted.high);
        return x;
    }

    void numbers(const Json& list, const std::string& what) {
        for (size_t k = 0; k < list.size(); ++k)
            channel.values.push_back(number(list[k], format("%s[%zu]", what.c_str(), k)));
    }

    void tokens(const Json& value, const std::string& what, int64_t length) {
        CHECK((int64_t)value.size() == length,
              "%s has %zu entries, but the completion has %lld tokens", what.c_str(), value.size(),
              (long long)length);
        numbers(value, what);
    }

    void segments(const Json& value, const std::string& what, int64_t length) {
        const std::vector<int32_t> ends = json_ids(value, "end", what);
        CHECK(value.contains("value") && value["value"].is_array() &&
                  value["value"].size() == ends.size(),
              "%s: \"end\" and \"value\" must be lists of the same length, found %.80s",
              what.c_str(), dump_row(value).c_str());
        int before = 0;
        for (int end : ends) {
            CHECK(end > before && end <= length,
                  "%s: a segment ends at token %d; it must be above the one before it, %d, and at "
                  "most the completion's length, %lld",
                  what.c_str(), end, before, (long long)length);
            channel.segments.end.push_back(before = end);
        }
        numbers(value["value"], what + ".value");
    }

    void read(const Json& row, int i) {
        const int64_t length = layout.length(i);
        const std::string what =
            format("%s: scores.%s", layout.name(i).c_str(), wanted.name.c_str());
        const Json& value = row["scores"][wanted.name];
        channel.valid.push_back(!value.is_null());
        if (value.is_null()) { // room for the numbers that are not there
            if (channel.level == Level::completion) channel.values.push_back(0);
            if (channel.level == Level::token)
                channel.values.insert(channel.values.end(), length, 0);
        } else if (channel.level == Level::completion) {
            channel.values.push_back(number(value, what));
        } else {
            const bool list = channel.level == Level::token;
            CHECK(list ? value.is_array() : value.is_object(), "%s must be %s, found %.60s",
                  what.c_str(), form(), dump_row(value).c_str());
            list ? tokens(value, what, length) : segments(value, what, length);
        }
        if (channel.level == Level::segment)
            channel.segments.first.push_back((int64_t)channel.segments.end.size());
    }
};

} // namespace

static std::string names_in(const Json& row) {
    std::string list;
    if (row.contains("scores"))
        for (auto& [name, value] : row["scores"].items()) list += (list.empty() ? "" : ", ") + name;
    return list.empty() ? "no scores" : "the scores " + list;
}

static Channel read_score(const RawScore& wanted, const std::vector<Json>& rows,
                          const Layout& layout) {
    size_t missing = 0, last_missing = 0;
    for (size_t i = 0; i < rows.size(); ++i) {
        const Json& row = rows[i];
        CHECK(!row.contains("scores") || row["scores"].is_object(),
              "%s: \"scores\" must be an object, as {\"rule\": 1}, found %.60s",
              layout.name((int)i).c_str(), dump_row(row["scores"]).c_str());
        const bool has = row.contains("scores") && row["scores"].contains(wanted.name);
        CHECK(has || wanted.optional,
              "%s: there is no scores.%s; the row has %s. Take the source out of credit, or give "
              "it weight 0",
              layout.name((int)i).c_str(), wanted.name.c_str(), names_in(row).c_str());
        if (has) continue;
        ++missing, last_missing = i;
    }
    Channel channel{wanted.name, wanted.level, {}, {}, {}};
    if (missing == rows.size()) return channel; // optional
    CHECK(missing == 0,
          "%s: there is no scores.%s, which other rows have; where the source failed it is null",
          layout.name((int)last_missing).c_str(), wanted.name.c_str());
    if (wanted.or_number) { // numbers where a list would be pooled
        for (const Json& row : rows)
            if (row["scores"][wanted.name].is_number()) channel.level = Level::completion;
    }
    Reader reader{wanted, layout, std::move(channel)};
    for (size_t i = 0; i < rows.size(); ++i) reader.read(rows[i], (int)i);
    return std::move(reader.channel);
}

std::vector<Channel> read_scores(const std::vector<SourceConfig>& sources,
                                 const std::vector<Json>& rows, const Layout& layout) {
    std::vector<Channel> raw;
    for (const SourceConfig& source : sources) {
        if (!source.counts()) continue;
        for (const RawScore& wanted : raw_scores_of(source)) {
            bool known = false;
            for (const Channel& channel : raw) known |= channel.name == wanted.name;
            if (!known) raw.push_back(read_score(wanted, rows, layout));
        }
    }
    return raw;
}
