#pragma once
// Part of a report: how a conversational search engine did. Its metrics, confusion tables of intents and
// actions, and some dialogues with every stage of every turn.

#include <string>
#include <utility>
#include <vector>

struct ConfusionTable {
    std::string name;
    std::vector<std::string> labels;     // of rows (gold) and columns (said)
    std::vector<std::vector<int>> count; // [gold][said]
};

struct DialogueStage {
    std::string name, said, gold; // gold "": as said
    bool right = true;
};
struct DialogueTurn {
    std::string user;
    std::vector<DialogueStage> stages;
};
struct Dialogue {
    std::string name;
    std::vector<DialogueTurn> turns;
};

struct WiseRecord {
    std::vector<std::pair<std::string, double>> metrics;
    std::vector<ConfusionTable> tables;
    std::vector<Dialogue> dialogues;
};
std::string wise_html(const WiseRecord& record);
