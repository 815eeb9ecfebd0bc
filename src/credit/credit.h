#pragma once
// What station "credit" hands to station "advantage": a reward R_i per completion, a credit c_is
// per segment and a credit c_it per token, and the sources that they are made of one by one
// (credit/combine.h).

#include "credit/channel.h"

// One source on one scale, before its weight.
struct Part {
    std::string name;
    Level to = Level::completion; // completion: the reward
    double weight = 1, clip = 0;
    std::vector<double> values;      // (I), (S) or (N); 0 where the source failed
    std::vector<uint8_t> valid;      // (I)
    Segments segments;               // to = segment: where they end
    double weighted(double x) const; // clip(weight x)
};

struct Credit {
    std::vector<double> reward;  // (I)
    std::vector<double> token;   // (N); empty: no source goes to the tokens
    std::vector<double> segment; // (S); empty: no source goes to the segments
    Segments segments;           // none on a completion that a source failed on
    std::vector<uint8_t> valid;  // (I) 0: a source failed; empty: none did
    std::vector<Part> parts;     // of each source that counts
    bool said(int i) const { return valid.empty() || valid[i]; }
};

// What tokens behind the last of a completion's segments get, from the segments' values.
enum class AfterLast { mean, last, zero };
double after_last_segment(std::span<const double> values, AfterLast rule);
