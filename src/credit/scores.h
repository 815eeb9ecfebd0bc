#pragma once
// Raw scores in rows: "scores": {NAME: VALUE}, a VALUE of one completion being
//
//   1.5                                    one number
//   [0.1, 0, ..]                           one per completion token
//   {"end": [4, 9], "value": [1, 0]}       segments: the token behind each one's last, increasing
//   null                                   the source failed

#include "base/json.h"
#include "credit/sources.h"

Json score_json(const Channel& channel, const Layout& layout, int i);

// Every name that the sources read, once. rows: (I) as read. Errors name the row and the score: one
// that is not there, of another kind, of another length, out of bounds.
std::vector<Channel> read_scores(const std::vector<SourceConfig>& sources,
                                 const std::vector<Json>& rows, const Layout& layout);
