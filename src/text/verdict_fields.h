#pragma once
// TRM's verdicts (text/verdicts.h) by fields, so that a loss can weigh them.

#include "text/segments.h"

// A text of verdicts, one line each, as segments that follow one another and give the text again:
// "faithfulness" up to and with its score, "reason", and "correctness" with the " | " before it and
// the line's end. A line that is none is a segment without a name.
std::vector<Segment> verdict_fields(std::string_view text);
