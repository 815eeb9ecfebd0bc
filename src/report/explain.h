#pragma once
// rlhf explain: the tokens of one step's completions as boxes, coloured by what each was given: credit,
// advantage, gradient, ... The switch between the quantities is radio buttons and CSS: no script. A box
// shows all its numbers when the pointer rests on it.

#include <cstdint>
#include <string>
#include <vector>

struct Quantity {
    std::string name, unit, meaning;
    double centre = 0;      // value without colour
    bool diverging = false; // values lie on both sides of the centre
};

struct ExplainToken {
    std::string text;
    bool kept = true;
    std::vector<double> value; // (quantities); NaN: not known
    std::string hover;         // all numbers, and the formula with the values filled in
};

struct ExplainCompletion {
    int64_t sample = 0;
    double reward = 0, advantage = 0; // mean over the tokens
    bool kept = true;
    std::string finish, reason;
    std::vector<ExplainToken> tokens;
    std::vector<std::string> judges; // what each one wrote, lines
};

struct ExplainGroup {
    int64_t prompt_id = 0;
    std::string prompt;
    std::vector<ExplainCompletion> completions;
};

struct ExplainPage {
    std::string name, summary;
    std::vector<std::string> formula, notes; // lines
    std::vector<Quantity> quantities;
    size_t chosen = 0; // shown first
    std::vector<ExplainGroup> groups;
};

std::string explain_html(const ExplainPage& page);
// The same as a part of another page: CSS for its head, and what goes into its body, below a heading. One per
// page.
struct ExplainPart {
    std::string style, body;
};
ExplainPart explain_part(const ExplainPage& page);

// -10 .. 10: how strongly a value is coloured, where `scale` is the largest distance from the centre that
// occurs. 0 only for the centre itself and for what is not a number.
int colour_level(double value, double centre, double scale);
// "#rrggbb" that lies the share `mix` of the way from one to the other.
std::string mixed_colour(uint32_t from, uint32_t to, double mix);
// Spaces and line ends made visible; "∅" for a token without text.
std::string visible_text(const std::string& text);
