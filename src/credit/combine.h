#pragma once
// How the sources' words become the numbers that the advantage station reads: a reward R_i per
// completion, a credit c_is per segment and a credit c_it per token. For each source of a weight
// other than 0, in order:
//
//   1. pool        token or segment scores to one score of the completion: mean | last | sum |
//                  min; none: they stay
//   2. to          reward: the score goes to R_i
//                  tokens: it goes to c_it; a completion's score is copied to each of its tokens, a
//                  segment's to each of its own
//                  segments: to c_is; a completion's score is copied to each segment of the list's
//                  first channel of segments
//   3. normalise   over all numbers that go where it goes, or over the prompt's: credit/normalise.h
//   4. eos         mean: the last token's x becomes the mean over its completion, its own included
//   5. R_i += clip(weight x_i),  c_is and c_it likewise          clip 0: none
//
// An answer without segments is one, the whole completion, worth `format_penalty`. Tokens behind
// the last segment get, where segments go to the tokens, what `after_last` says: the mean of the
// completion's segments, the last one's or 0.
//
// A completion that a source failed on is left out of the statistics and gets nothing from it;
// `valid` says whether all of them said something.

#include "credit/credit.h"
#include "credit/sources.h"

struct SegmentRules {
    double format_penalty = -1;
    AfterLast after_last = AfterLast::mean;
};

// channels: one per source. Errors: a score that is not finite; two channels of segments that are
// cut differently, where `sum_segments` says that they are to be added up.
Credit combine(const std::vector<Channel>& channels, const std::vector<SourceConfig>& sources,
               const Layout& layout, const SegmentRules& rules = {}, bool sum_segments = true);
