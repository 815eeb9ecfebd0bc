#include "credit/combine.h"

#include "credit/normalise.h"

#include <algorithm>
#include <cmath>
#include <numeric>

double Part::weighted(double x) const {
    const double part = weight * x;
    return clip > 0 ? std::clamp(part, -clip, clip) : part;
}

double after_last_segment(std::span<const double> values, AfterLast rule) {
    if (rule == AfterLast::zero || values.empty()) return 0;
    return pooled(values, rule == AfterLast::last ? Pool::last : Pool::mean);
}

// An answer without a segment becomes one.
static Channel with_whole_answers(const Channel& channel, const Layout& layout,
                                  double format_penalty) {
    if (channel.level != Level::segment) return channel;
    Channel out{channel.name, channel.level, {}, channel.valid, {}};
    for (int i = 0; i < layout.completions(); ++i) {
        const int64_t begin = channel.segments.first[i], end = channel.segments.first[i + 1];
        for (int64_t s = begin; s < end; ++s) {
            out.values.push_back(channel.values[s]);
            out.segments.end.push_back(channel.segments.end[s]);
        }
        if (begin == end && !channel.failed(i)) {
            out.values.push_back(format_penalty);
            out.segments.end.push_back((int)layout.length(i));
        }
        out.segments.first.push_back((int64_t)out.values.size());
    }
    return out;
}

// A segment's number on its tokens.
static std::vector<double> on_tokens(const Channel& channel, const Layout& layout,
                                     AfterLast after_last) {
    std::vector<double> x(layout.tokens());
    for (int i = 0; i < layout.completions(); ++i) {
        const int64_t first = channel.segments.first[i], last = channel.segments.first[i + 1];
        int64_t n = layout.offset[i];
        for (int64_t s = first; s < last; ++s)
            for (; n < layout.offset[i] + channel.segments.end[s]; ++n) x[n] = channel.values[s];
        const std::span<const double> own(channel.values.data() + first, (size_t)(last - first));
        const double behind = after_last_segment(own, after_last);
        for (; n < layout.offset[i + 1]; ++n) x[n] = behind;
    }
    return x;
}

// One number per completion on all units of the completion; first: (I + 1) where its units begin.
static std::vector<double> copied(const std::vector<double>& of_completion,
                                  std::span<const int64_t> first) {
    std::vector<double> x((size_t)first.back());
    for (size_t i = 0; i + 1 < first.size(); ++i)
        std::fill(x.begin() + first[i], x.begin() + first[i + 1], of_completion[i]);
    return x;
}

static void eos_gets_mean(std::vector<double>& x, const Layout& layout) {
    for (int i = 0; i < layout.completions(); ++i) {
        const int64_t length = layout.length(i);
        if (length == 0) continue;
        double* row = x.data() + layout.offset[i];
        row[length - 1] = std::accumulate(row, row + length, 0.0) / (double)length;
    }
}

static std::vector<double> values_at(Level to, const Channel& channel, const SourceConfig& source,
                                     const Part& part, const Layout& layout,
                                     const SegmentRules& rules) {
    const bool stay = channel.level != Level::completion && source.pool == Pool::none;
    if (stay && channel.level == to) return channel.values;
    if (stay) return on_tokens(channel, layout, rules.after_last);
    const std::vector<double> score = pooled_channel(channel, source.pool, layout.offset);
    if (to == Level::completion) return score;
    return copied(score, to == Level::token ? layout.offset : part.segments.first);
}

// Steps 1 to 4. segments: of the list's first channel of segments.
static Part part_of(const Channel& given, const SourceConfig& source, const Segments& segments,
                    const Layout& layout, const SegmentRules& rules) {
    const int I = layout.completions();
    const Channel channel = with_whole_answers(given, layout, rules.format_penalty);
    for (double v : channel.values)
        CHECK(std::isfinite(v), "a score of credit source \"%s\" is not finite (%g)",
              channel.name.c_str(), v);
    Part part;
    part.name = source.name, part.weight = source.weight, part.clip = source.clip;
    part.to = source.goes_to();
    part.valid = channel.valid.empty() ? std::vector<uint8_t>(I, 1) : channel.valid;
    std::vector<int64_t> first(I + 1); // where a completion's numbers begin
    std::iota(first.begin(), first.end(), 0);
    if (part.to == Level::token) first.assign(layout.offset.begin(), layout.offset.end());
    if (part.to == Level::segment) {
        part.segments = channel.level == Level::segment ? channel.segments : segments;
        first = part.segments.first;
        for (int i = 0; i < I; ++i) part.valid[i] &= first[i] < first[i + 1]; // nowhere to stand
    }
    std::vector<double> x = values_at(part.to, channel, source, part, layout, rules);
    std::vector<uint8_t> counts(x.size());
    std::vector<int> group(x.size());
    for (int i = 0; i < I; ++i)
        for (int64_t k = first[i]; k < first[i + 1]; ++k) {
            counts[k] = part.valid[i];
            group[k] = layout.group.empty() ? 0 : layout.group[i];
        }
    // drm's key is of its dimensions
    const Normalise how = source.row().normalises ? Normalise::none : source.normalise;
    part.values = normalised(std::move(x), counts, group, how, source.std_floor);
    if (source.eos == Eos::mean) eos_gets_mean(part.values, layout);
    for (size_t k = 0; k < counts.size(); ++k)
        if (!counts[k]) part.values[k] = 0;
    return part;
}

static void add(std::vector<double>& sum, const Part& part) {
    sum.resize(part.values.size());
    for (size_t k = 0; k < sum.size(); ++k) sum[k] += part.weighted(part.values[k]);
}

// The parts that go to the segments, over the completions on which no source failed.
static void add_segments(Credit& credit, const Layout& layout) {
    std::vector<const Part*> parts;
    for (const Part& part : credit.parts)
        if (part.to == Level::segment) parts.push_back(&part);
    if (parts.empty()) return;
    for (int i = 0; i < layout.completions(); ++i) {
        const std::span<const int> ends = parts[0]->segments.of(i);
        for (const Part* part : parts)
            CHECK(!credit.said(i) || std::ranges::equal(ends, part->segments.of(i)),
                  "%s: the credit sources \"%s\" and \"%s\" cut it into other segments; two kinds "
                  "of segments can be added only with algo.advantage.combine = sum_of_normalised",
                  layout.name(i).c_str(), parts[0]->name.c_str(), part->name.c_str());
        for (size_t s = 0; credit.said(i) && s < ends.size(); ++s) {
            double sum = 0;
            for (const Part* part : parts)
                sum += part->weighted(part->values[(size_t)part->segments.first[i] + s]);
            credit.segment.push_back(sum);
            credit.segments.end.push_back(ends[s]);
        }
        credit.segments.first.push_back((int64_t)credit.segments.end.size());
    }
}

// Of the list's first channel of segments; none: empty.
static Segments first_segments(const std::vector<Channel>& channels, const Layout& layout,
                               const SegmentRules& rules) {
    for (const Channel& channel : channels)
        if (channel.level == Level::segment)
            return with_whole_answers(channel, layout, rules.format_penalty).segments;
    return {};
}

Credit combine(const std::vector<Channel>& channels, const std::vector<SourceConfig>& sources,
               const Layout& layout, const SegmentRules& rules, bool sum_segments) {
    const Segments segments = first_segments(channels, layout, rules);
    Credit credit;
    credit.reward.assign(layout.completions(), 0);
    std::vector<uint8_t> valid(layout.completions(), 1);
    for (size_t k = 0; k < sources.size(); ++k) {
        if (!sources[k].counts()) continue;
        const Part& part =
            credit.parts.emplace_back(part_of(channels[k], sources[k], segments, layout, rules));
        for (size_t i = 0; i < valid.size(); ++i) valid[i] &= part.valid[i];
        if (part.to == Level::completion) add(credit.reward, part);
        if (part.to == Level::token) add(credit.token, part);
    }
    if (std::count(valid.begin(), valid.end(), 0)) credit.valid = valid;
    if (sum_segments) add_segments(credit, layout);
    return credit;
}
