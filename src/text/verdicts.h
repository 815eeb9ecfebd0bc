#pragma once
// What a generative judge writes, read back: CAPO's critiques (the steps that are wrong, in a box) and their
// votes, and TRM's verdicts (one numbered line per sentence). An output that does not keep to its grammar is
// never repaired: it is refused with a reason, so that a failed judge is not taken for a verdict.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// ---- CAPO: Critique
//
// The list is the last box that holds one: \boxed{, optional brackets, integers or "step N" (any case)
// between commas or white space, }. Inner braces are passed over, and so is \text{..} unless it is such a
// list itself. Indices count from 0; those outside [0, steps) are dropped, repeated ones counted once.
struct Critique {
    std::optional<std::vector<int>> wrong; // ascending; none: the critique is invalid
    std::string why_not;                   // "" for a valid one
};
Critique parse_critique(std::string_view text, int steps);

// The reasons of parse_critique.
inline const char* const critique_without_box = "no \\boxed{...}";
inline const char* const critique_cut_off = "the box is cut off";
inline const char* const critique_empty_box = "the box is empty; no wrong step is \\boxed{[]}";
inline const char* const critique_other_box = "the box holds no list of steps";

// c(s) of k valid critiques list step s, which is wrong by
//   majority      c(s) > k/2, and c(s) = k/2 where tie_is_wrong
//   intersection  c(s) = k          union  c(s) >= 1
//   average       c(s) > k/2; its penalty is c(s)/k
//   greedy        the first critique lists it
// Invalid critiques leave the vote: k counts the valid ones. Without a vote (k = 0, or greedy's first is
// invalid) no step is wrong.
struct Votes {
    std::vector<int> count;      // (steps) c(s)
    int valid = 0;               // k
    bool voted = false;          // false: there was nothing to go by
    std::vector<int> wrong;      // ascending
    std::vector<double> penalty; // (steps) 1 for a wrong step, else 0; average: c(s)/k
};
Votes vote(std::span<const Critique> critiques, int steps, const std::string& rule,
           bool tie_is_wrong);

// ---- TRM: Verdict
//
//   [1] faithfulness: 1 | reason: .. one line .. | correctness: 0
//
// One line per sentence, numbered from 1 in order; a line break at the end is allowed, nothing else.
struct SentenceVerdict {
    int faithful = 0, correct = 0; // 0 or 1
    std::string reason;
    size_t end =
        0; // exclusive byte (of a text) or token (of ids) where the block's correctness ends
};
// None: the text does not keep to the grammar, and why_not says where.
std::optional<std::vector<SentenceVerdict>> parse_verdicts(std::string_view text, int sentences,
                                                           std::string& why_not);

// The same where each keyword is one token: blocks F0|F1, any other tokens, C0|C1, one per sentence; behind
// the last one only the end of the sequence.
struct VerdictTokens {
    int32_t faithful[2], correct[2], eos;
};
std::optional<std::vector<SentenceVerdict>> parse_verdicts(std::span<const int32_t> ids,
                                                           const VerdictTokens& tokens,
                                                           int sentences, std::string& why_not);
