#pragma once
// rlhf simulate emulate=true: the ranks of this run play the configured work, waiting instead of
// computing, and the simulator says beside it what it would have said.

#include "app/simulate/cluster.h"

// RoleLayout by layout, on standard output; rows of all iterations into `out`, where it is named.
void emulate(const SimulateConfig& config);
