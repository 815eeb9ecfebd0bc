#pragma once
// A preference model's word on a scale that weights mean something on: the probability, by
// Bradley-Terry, of beating one fixed answer to the same prompt, the anchor.
//
//   p = sigma(score(y) - score(anchor))

#include "credit/sigmoid.h"

inline double beats_anchor(double score, double anchor) { return sigmoid(score - anchor); }
