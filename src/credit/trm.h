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
// What a judge wrote of a sentence, and its label. What is not known of the label earns nothing.
struct LabelledVerdict {
    int end = 0; // token behind it
    SentenceLabel judged{}, label{};
    bool known_faithful = true, known_correct = true;
};
inline double trm_label_reward(const LabelledVerdict& verdict, double alpha, double bonus) {
    const SentenceLabel &judged = verdict.judged, &label = verdict.label;
    const double f = verdict.known_faithful ? alpha * (judged.faithful == label.faithful) : 0;
    if (!verdict.known_correct) return f;
    return f + (1 - alpha) * (judged.correct == label.correct) +
           bonus * (!judged.correct && !label.correct);
}

inline double trm_label_reward(SentenceLabel judged, SentenceLabel label, double alpha,
                               double bonus) {
    return trm_label_reward({0, judged, label}, alpha, bonus);
}
