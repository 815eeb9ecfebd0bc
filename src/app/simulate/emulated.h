#pragma once
// rlhf simulate emulate=true: the ranks of this run play the configured work, waiting instead of
// computing, and the simulator says beside it what it would have said.

#include "app/simulate/cluster.h"

// RoleLayout by layout, on standard output; rows of all iterations into `out`, where it is named.
void emulate(const SimulateConfig& config);
// What it costs that samples change hands, with real bytes between the ranks of this run: seconds of an
// iteration on standard output, of a text of 20 KB and an image of 5 MB each.
void measure_controllers(const SimulateConfig& config);
