#pragma once
// Steps of a completion, and how a step's number reaches its tokens.

#include <span>
#include <vector>

struct StepSpan {
    int begin = 0, end = 0; // tokens [begin, end) of the completion
    bool right = false;
    int kind = -1; // of the task's kinds of steps; -1: none
};

struct FieldScore { // of an answer: the tokens from the end of the field before to `end`
    int end = 0;
    double score = 0;
};

// Of a process reward model (reward/prm.h), which reads a step at its last token: tanh z_end, on
// each of the step's tokens. Steps follow one another without gaps from 0.
std::vector<double> spread_steps(std::span<const double> score, std::span<const StepSpan> steps);

// +1 on the tokens of a right step, -1 on those of a wrong one.
std::vector<double> step_labels(std::span<const StepSpan> steps, size_t length);
