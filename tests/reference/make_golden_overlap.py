#!/usr/bin/env python3
"""Writes tests/golden/wise/overlap.jsonl: BLEU-1 by NLTK, ROUGE-L by its formula, of strings of characters.

    pip install nltk; python3 tests/reference/make_golden_overlap.py
"""
import json
import random
import warnings
from fractions import Fraction

from nltk.translate.bleu_score import sentence_bleu

warnings.simplefilter("ignore")


def smoothed_unigram(p_n, **_):
    return [Fraction(p.numerator + 1, p.denominator + 1, _normalize=False) for p in p_n]


def lcs(a, b):
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            table[i + 1][j + 1] = table[i][j] + 1 if x == y else max(table[i][j + 1], table[i + 1][j])
    return table[-1][-1]


def rouge_l(candidate, references, beta=1.2):
    p = max(lcs(candidate, r) / len(candidate) for r in references)
    r = max(lcs(candidate, r) / len(r) for r in references)
    return (1 + beta**2) * p * r / (r + beta**2 * p) if p and r else 0.0


rng = random.Random(3)
cases = [("acx", ["abcd"]), ("abcd", ["abcd"]), ("xyz", ["abcd"]), ("aaa", ["a", "aa"]), ("ab", ["abc", "a"])]
for _ in range(60):
    text = lambda: "".join(rng.choice("abcde\u4e66\u9928") for _ in range(rng.randint(1, 9)))
    cases.append((text(), [text() for _ in range(rng.randint(1, 3))]))
with open("tests/golden/wise/overlap.jsonl", "w", encoding="utf-8") as out:
    for candidate, references in cases:
        refs, cand = [list(r) for r in references], list(candidate)
        row = {
            "candidate": candidate,
            "references": references,
            "bleu1": sentence_bleu(refs, cand, weights=(1.0,)),
            "bleu1_smooth": sentence_bleu(refs, cand, weights=(1.0,), smoothing_function=smoothed_unigram),
            "rouge_l": rouge_l(cand, refs),
        }
        out.write(json.dumps(row, ensure_ascii=False) + "\n")
