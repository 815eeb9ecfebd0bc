#pragma once
// From stored or fresh raw scores to what the algorithm sees. A run, `loss` and `diff` make reward
// and credit here.

#include "credit/source_config.h"
#include "rl/algo_config.h"

// raw: by name, what the sources read.
Credit earned(const std::vector<SourceConfig>& sources, const std::vector<Channel>& raw,
              const Layout& layout, const AlgoConfig& algo);

void put_credit(Rollouts& rollouts, Credit credit);

// Fails where the algorithm has no use for credit that goes where these sources send it.
void check_credit(const AlgoConfig& algo, const std::vector<SourceConfig>& sources);
