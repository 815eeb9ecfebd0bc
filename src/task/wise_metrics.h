#pragma once
// The metrics of WISE's six sub-tasks over turns: gold against predicted. All are averages over the gold
// classes (intents for ID, actions for the others), of what is measured in each class.
//
//   ID, AP   precision, recall, F1 per class; precision over the classes that were predicted at all
//   KE       BLEU-1 and ROUGE-L of each predicted phrase against all gold phrases, mean over the phrases
//   QS, PS   precision, recall, F1 of the set, where gold selects something; precision where something was
//            predicted
//   RG       BLEU-1 and ROUGE-L of the response
//
// Success, of worlds that know what a response is for: the share of turns whose response holds everything
// that it must ("contains" of the gold fields), and of those that need hold nothing, whose action is right.
//
// KE, QS, PS and RG look at turns whose gold action is Clarify* or Answer*. Texts are compared as characters
// in lower case without white space, as in the authors' code.
//
// As released (the authors' Evaluation.py): all averages but ID's divide by the number of classes + 1, a turn
// without a predicted phrase is left out of KE (else it counts 0), and BLEU is smoothed.

#include "task/wise.h"

struct WiseFields {             // of one turn, gold or predicted
    std::string intent, action; // "": none
    std::vector<std::string> keyphrases, queries, passages;
    std::string response;
    std::vector<std::string> contains; // gold: what a useful response holds; empty: not known
};
struct WisePrediction {
    WiseFields gold, predicted;
};

// The share of `wanted` whose words stand in the text, one after another. 1 where nothing is wanted.
double wise_contained(const std::vector<std::string>& wanted, const std::string& text);
bool wise_success(const WisePrediction& turn);

Json wise_fields_json(const WiseFields& fields);
// {"conversation_id", "msg_id", "gold": {..}, "predicted": {..}}; a gold label outside the tables is an error.
WisePrediction parse_wise_prediction(const Json& row, const std::string& where);

// {"id": {"precision", "recall", "f1"}, "ap": .., "ke": {"bleu1", "rouge_l"}, "qs": .., "ps": .., "rg": ..,
// "success", "turns"}; null where no turn is measured.
Json wise_metrics(const std::vector<WisePrediction>& turns, bool released);
