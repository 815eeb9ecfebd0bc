#pragma once
// CAPO: credit assignment by a generative process judge [Xie et al. 2025, arXiv 2508.02298]. A
// judge reads an answer that is cut into steps and lists the wrong ones; every token of a wrong
// step is charged for it:
//
//   c_it = w_whole rule_i - w_process penalty_it                [the paper's token reward]
//
// rule_i: what the task's rule says of the answer, 0 or 1. penalty_it: 1 in a wrong step, else 0;
// where votes are averaged, the share of critiques that list the step. With w_whole > w_process no
// wrong answer's token stands above a right answer's; 2 and 1 (the paper's) make the four levels
// equally far apart: 2 right and clean, 1 right in a wrong step, 0 wrong and clean, -1 wrong in a
// wrong step.
//
// The advantage is c_it over all tokens of the prompt's completions: algo.preset=capo
// (rl/capo.cpp).

inline double capo_reward(double rule, double penalty, double w_whole, double w_process) {
    return w_whole * rule - w_process * penalty;
}
