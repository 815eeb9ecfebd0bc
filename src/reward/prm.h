#pragma once
// Step-level process reward model: the scalar head at the last token of each of K labelled steps,
// label y_k in {-1, 0, 1} [Lightman et al. 2023, "Let's verify step by step"; the tanh form is that
// of Q-RM's code].
//
//   L = 1/K sum_k (tanh z_k - y_k)^2         dL/dz_k = 2/K (tanh z_k - y_k) (1 - tanh^2 z_k)
//
// Departures: none from the code; Lightman et al. train a classification of three classes.

#include <span>

double prm_loss(std::span<const double> score, std::span<const double> label,
                std::span<double> dscore);
