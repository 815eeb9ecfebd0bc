#pragma once
// Outcome reward models: one score z per answer, the scalar head at its last token.
//
// Pairwise, Bradley-Terry [Ouyang et al. 2022, InstructGPT, eq. 1; strategy "last-token" of Q-RM's
// code]:
//   L = softplus(-(z^w - z^l))               dL/dz^w = -sigma(-(z^w - z^l)) = -dL/dz^l
//
// Pointwise, a label y in {0, 1} per answer [Cobbe et al. 2021, verifiers], with s = z for y = 1
// and -z for y = 0, q = sigma(s), and focal exponent f [Lin et al. 2017, eq. 4]; f = 0 is the plain
// cross entropy:
//   L = (1 - q)^f softplus(-s)               dL/ds = (1 - q)^f (f q log q - (1 - q))
//
// Departures: none.

double orm_loss(double chosen, double rejected, double& dchosen, double& drejected);
double orm_pointwise_loss(double score, double label, double focal, double& dscore);
