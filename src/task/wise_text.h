#pragma once
// A turn of WISE as text (form generate), which any language model can read and write. Not in the paper:
// its model has a head per sub-task.
//
//     prompt       [User] tell me about the Lodora city museum
//                  [System] do you mean the price or the hours ?
//                  [User] the price please
//                  [Queries]
//                  [1] Lodora city museum price
//                  [Passages]
//                  [1] the price of the Lodora city museum is 37
//                  [Turn] intent keys action query passage response
//     completion   <intent> Interpret <keys> Lodora city museum | price <action> Answer-fact-text
//                  <query> 1 <passage> 1 <response> the price is 37
//
// The line [Turn] names the fields that are asked for. What was chosen is named by its number among the
// candidates; "-" stands for nothing.

#include "task/wise_metrics.h"

// Fields by WiseStage: "intent" .. "response".
constexpr const char* wise_text_fields[wise_stages] = {"intent", "keys",    "action",
                                                       "query",  "passage", "response"};
std::vector<std::string>
wise_markers(); // "[User]", "<intent>", .. "[1]"; and "[I-CLS]", .. of the heads
std::string wise_tag(WiseStage stage); // "<intent>"

using WiseStages = std::array<bool, wise_stages>;

struct WiseTextLimits { // what is longer is cut
    int context_words = 200;
    bool newest_first = false;
};

// candidates: without them, as a turn stands before its search.
std::string wise_prompt(const WiseTurn& turn, const WisePassages& passages, const WiseStages& asked,
                        bool candidates, const WiseTextLimits& limits);
// " <intent> Interpret" of one field of the turn.
std::string wise_field_text(const WiseTurn& turn, const WiseFields& fields, WiseStage stage);
// All asked fields, one behind the other.
std::string wise_completion(const WiseTurn& turn, const WiseFields& fields,
                            const WiseStages& asked);

// What a completion says.
struct WiseSaid {
    WiseFields fields; // of the stages that were found
    WiseStages found{};
    std::array<size_t, wise_stages> begin{}, end{}; // bytes of each field, its tag included
    std::string why_not; // a field that is missing, or stands twice or out of order; "": none
};
// Numbers beyond the candidates are passed over.
WiseSaid parse_wise_text(const std::string& completion, const WiseTurn& turn,
                         const WiseStages& asked);

// The gold fields of a turn.
WiseFields wise_gold(const WiseTurn& turn);
// The metric of one field in one turn: ID and AP 1 for the right label, KE, QS and PS the F1 of the set,
// RG ROUGE-L, or, where the world knows what a response must hold, the share of it that is there.
double wise_field_score(const WiseTurn& turn, const WiseFields& said, WiseStage stage);
