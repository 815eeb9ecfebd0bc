#pragma once
// Who computes what, where several processes train together: every rank makes the same plan from the
// same numbers, so that nothing has to be said about it.

#include "ops/collectives.h"

// The rank of each piece of work: the largest piece first, each to the rank that has least so far (the
// lowest of several). The largest share is at most 4/3 of the best plan's [Graham 1969, LPT].
std::vector<int> deal(const std::vector<double>& cost, int ranks);

// Rows that were computed by different ranks: `mine` are the numbers of those that this rank has filled.
// Afterwards every rank has all of them. `ranks` may be null.
void share_rows(const Collectives* ranks, const std::vector<int>& mine,
                std::vector<std::vector<double>>& rows);

// The sum over the ranks of each number, in the order of the ranks.
std::vector<double> sum_over_ranks(const Collectives* ranks, const std::vector<double>& mine);
