#pragma once
// What it costs to run an iteration, apart from what devices do: samples that pass through somebody's
// hands, tickets that are drawn, waves that are repeated. Plain arithmetic, for `simulate`.

#include <cstdint>

// One process that every sample passes through, once: samples * seconds of one.
double central_seconds(int64_t samples, double sample_seconds);
// Every rank its own samples, all at the same time.
double per_rank_seconds(int64_t samples, int ranks, double sample_seconds);

// Draws from the job's counter until all tickets are given out, where each of `machines` takes
// max(1, remaining / (2 machines)) at once.
int64_t chunk_draws(int64_t tickets, int machines);

// Waves until enough groups are valid, with probability p each; a wave has ceil(missing oversample / p)
// groups. Mean over `trials` draws. quota: valid groups that a rank needs. shared: the ranks have one
// quota; else each its own, and the slowest counts.
double waves_needed(double p, int quota, int ranks, bool shared, double oversample, int trials,
                    uint64_t seed);
