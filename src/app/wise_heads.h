#pragma once
// Turns of WISE as tokens of a model, for the heads (train/wise.h), and back.

#include "app/inputs.h"
#include "rollout/generate.h"
#include "task/wise_task.h"
#include "train/wise.h"

struct WiseEncoder {
    // An error if the tokenizer lacks one of the tokens [I-CLS], [A-CLS], [Q-CLS], [P-CLS], [User], [System].
    WiseEncoder(const Inputs& inputs, const WiseSettings& settings, bool nothing_is_learnt = false);
    const Inputs& inputs;
    const WiseSettings& settings;
    bool nothing_is_learnt; // also where nothing is selected, selection is learnt
    int32_t i_cls, a_cls, q_cls, p_cls, user, system;

    // response: with the gold evidence, action and response to be learnt.
    WisePacked pack(const WiseExample& example, bool response) const;
    // What stands before a response: the evidence that was chosen (queries, then passages), then the action.
    // memories: where each piece of evidence stands.
    std::vector<int32_t> evidence(const WiseExample& example, const WiseFields& fields,
                                  std::vector<WisePacked::Memory>& memories) const;
    // The tagged stretches of a context, each once. z: logits.
    std::vector<std::string> phrases(const std::vector<int32_t>& context,
                                     const std::vector<double>& z) const;

private:
    std::vector<int32_t> encode(const std::string& text, size_t limit = SIZE_MAX) const;
};

// The turns that a model with heads says: the fields from the heads, then the response by generation. gold:
// stages whose gold field stands in the place of the heads' (oracle). copy: the response with the copy term.
std::vector<WiseFields> wise_read(Model& model, const WiseEncoder& encoder,
                                  const std::vector<WiseExample>& examples, const WiseStages& gold,
                                  const SampleConfig& sample, bool copy = false);
