#pragma once
// TRM: thinking-supervised reward model [Ma et al. 2025, arXiv 2509.25409]. For each sentence of an
// answer a generative judge says whether the documents support it (faithful, f) and then whether it
// is right (c), each 0 or 1; a hat marks the judge's word.
//
//   source trm         a segment per sentence worth c^, to train a policy
//   source trm_labels  a segment per verdict, to train the judge on labelled sentences:
//
//     r = alpha [f^ = f] + (1 - alpha) [c^ = c] + bonus [c^ = 0 and c = 0]
//
// The bonus is for a wrong sentence that was found, as they are few. It moves the judge's best
// threshold of p(c = 0) from 1/2 to (1 - alpha) / (2 (1 - alpha) + bonus), and does nothing where
// rewards are divided by their own index's deviation (algo.advantage.segment_pool = per_index).

struct SentenceLabel {
    bool faithful, correct;
};
inline double trm_label_reward(SentenceLabel judged, SentenceLabel label, double alpha,
                               double bonus) {
    return alpha * (judged.faithful == label.faithful) +
           (1 - alpha) * (judged.correct == label.correct) +
           bonus * (!judged.correct && !label.correct);
}
