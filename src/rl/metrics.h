#pragma once
// What a step did, in numbers: rewards, selection (what was dropped, and what that did to the
// advantages), distance to the old and the reference policy. Glossary beside each name in
// metrics.cpp.

#include "rl/loss.h"

struct Metric {
    const char* name; // carries its unit
    double value;
};

// Metrics whose inputs are missing (no reference, no entropy, nothing dropped) are left out.
std::vector<Metric> update_metrics(const Rollouts& rollouts, const Selection& kept,
                                   const LossParts& parts, const BatchGrads& grads);
