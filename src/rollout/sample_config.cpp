#include "base/config.h"
#include "rollout/generate.h"

void SampleConfig::visit(Fields& v) {
    v.field("temperature", temperature, 0, 1e6, "T of softmax(logits / T); 0: greedy");
    v.field("top_k", top_k, 0, 1e9, "draw among the k most probable tokens; 0: all");
    v.field("top_p", top_p, 1e-9, 1, "then among the fewest whose probabilities sum to p; 1: all");
    v.field("min_p", min_p, 0, 1,
            "then among those with at least this share of the largest probability; 0: all");
    v.field("max_new_tokens", max_new_tokens, 1, 1e9, "longest completion, tokens");
    v.field("min_new_tokens", min_new_tokens, 0, 1e9, "no end of sequence before so many tokens");
    v.field("n", n, 1, 1e6, "G: completions per prompt");
    v.field("seed", seed, 0, 9e15, "of the draws");
    v.field("batch", batch, 1, 1e6, "sequences in flight at most; changes speed, not the result");
}
