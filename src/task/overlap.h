#pragma once
// How much a text has in common with reference texts, token by token. Tokens are strings of any kind.

#include <string>
#include <vector>

using OverlapTokens = std::vector<std::string>;

// BLEU-1 [Papineni et al. 2002]: clipped precision of tokens times exp(1 - r/c) for a candidate shorter than
// the reference. Counts are clipped by the largest among the references; r is the length nearest to c, the
// shorter of two. smooth: (matches + 1) / (tokens + 1), if there is a match [Lin & Och 2004; NLTK's method 2
// with the unigram smoothed, too].
double bleu1(const OverlapTokens& candidate, const std::vector<OverlapTokens>& references,
             bool smooth);

// ROUGE-L [Lin 2004], beta = 1.2: with the longest common subsequence, P = lcs / |candidate| and
// R = lcs / |reference|, each the best over the references, (1 + beta^2) P R / (R + beta^2 P).
double rouge_l(const OverlapTokens& candidate, const std::vector<OverlapTokens>& references);
