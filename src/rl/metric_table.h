#pragma once
// The numbers that `rl` and `loss` print, each with its unit and what it says: one list, from which
// `rlhf help metrics` and the report take their words.

#include <span>
#include <string>

struct MetricMeaning {
    const char* command; // rl: a line of RUN/metrics.jsonl; loss: the object that ends `rlhf loss`
    const char* name;    // a * stands for the name of a credit source, or for a number
    const char* unit;    // "": none
    const char* meaning;
};

std::span<const MetricMeaning> metric_table();
// NAME_low and NAME_high, the ends of a 95 % interval, are found under NAME. Null: not in the
// table.
const MetricMeaning* find_metric(const std::string& command, const std::string& name);
// The table, for people.
std::string metric_help();
