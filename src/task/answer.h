#pragma once
// Final answers: finding one in a text, and comparing it with the gold answer by exact arithmetic.
// What an answer says is read by task/formula.h.
//
// Finding. The last mark of the text counts, "#### x" (to the end of the line) or "\boxed{x}"
// (braces may nest). x is read as a formula; behind ####, where it is a sentence instead ("7 (that
// is 3 + 4)"), its first number counts. Without a mark, the last number of the whole text: a "-"
// between two numbers or behind a word is no sign; digits behind a letter (x2, H2O) and behind "^"
// are no numbers.
//
// Comparing. By value: 0.5 = 1/2 = 50 % = .50 = 5e-1. Values are quotients of integers of any
// length, so nothing is rounded. What is no number is compared part by part, or as a text in one
// spelling.

#include "task/formula.h"

// The whole text as one number with sign, currency and unit; nothing if it is something else.
std::optional<Number> parse_number(const std::string& text);

struct Answer {
    std::string text; // as it stands in the completion, without its mark
    bool marked = false;
    Value value;
};

std::optional<Answer> extract_answer(const std::string& text, bool marked_only);
bool answer_matches(const Answer& answer, const std::string& gold);
// One spelling per value ("1/2" for 0.5 and 50%), for majority votes.
std::string answer_key(const Answer& answer);
