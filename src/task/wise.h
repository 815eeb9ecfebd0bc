#pragma once
// WISE, wizard of search engine [Ren et al. 2021]: conversations of a user and a wizard in the authors'
// format. A user's utterance has an intent; the wizard's has keyphrases, an action, and the queries and
// passages that it chose among candidates. A turn, the unit that is learnt and measured, is one utterance of
// the wizard with all utterances before it.

#include "text/documents.h"

#include <array>
#include <span>
#include <unordered_map>

// The label tables in the order of their numbers (intent.txt, action.txt of the authors' code). A label of
// the files is a list of one or two strings; it is named by them with "-" between.
std::span<const char* const> wise_intents(); // 12
std::span<const char* const> wise_actions(); // 23
int wise_intent(const std::string& label);   // its number, -1: not in the table
int wise_action(const std::string& label);
// Whether keyphrases, selections and responses of a turn with this action are measured: Clarify*, Answer*.
bool wise_is_measured(const std::string& action);
// Their tokens in the authors' vocabulary.
inline int wise_action_token(int action) { return 30 + action; }
inline int wise_intent_token(int intent) { return 50 + intent; }

// The six sub-tasks: intent detection, keyphrase extraction, action prediction, query selection, passage
// selection, response generation.
enum class WiseStage { id, ke, ap, qs, ps, rg };
constexpr int wise_stages = 6;
constexpr const char* wise_stage_names[wise_stages] = {"id", "ke", "ap", "qs", "ps", "rg"};

struct WiseUtterance {
    Json msg_id, turn_id; // as in the file
    bool system = false;  // the wizard
    int intent = -1;      // of a user
    int action = -1;      // of the wizard, as all that follows
    std::vector<std::string> keyphrases, query_candidates, selected_queries;
    std::vector<std::string> passage_candidates, selected_passages; // "docId-passageId"
    std::string response;                                           // what was said, of both
    // What a useful response holds, as made-up worlds know it ("contains" of the file); empty: not known.
    std::vector<std::string> contains;
};

struct WiseConversation {
    Json id;
    std::string background; // the story that the user was given; "" none
    std::vector<WiseUtterance> utterances;
    // Sub-tasks for which there are labels: all of the authors' data, some of a pre-training set ("stages"
    // of the file).
    std::array<bool, wise_stages> labelled{true, true, true, true, true, true};
    std::string where; // "file:line"
    bool has(WiseStage stage) const { return labelled[(int)stage]; }
};

// Text of the passages by "docId-passageId".
using WisePassages = std::unordered_map<std::string, std::string>;
WisePassages wise_passages(const std::vector<Document>& documents);

// One conversation per line. A missing field, a label outside the tables, a passage that no document has and
// a conversation without a user are errors that name line and field.
std::vector<WiseConversation> read_wise(const std::string& path, const WisePassages& passages);
WiseConversation parse_wise(const Json& row, const WisePassages& passages,
                            const std::string& where);
// The row of a conversation, and of a document, as the authors write them.
Json wise_json(const WiseConversation& conversation);
Json wise_json(const Document& document);

struct WiseLimits {
    int queries = 10, passages = 10; // candidates
    uint64_t seed = 0;               // of their order
};

struct WiseCandidate {
    std::string text; // a query, or "docId-passageId"
    bool selected = false;
};

struct WiseTurn {
    const WiseConversation* conversation = nullptr;
    int utterance = 0; // the wizard's
    int intent = -1;   // of the last user before it; -1: there is none
    // The selected ones first, then others until the limit, then in an order drawn from the seed,
    // conversation and utterance.
    std::vector<WiseCandidate> queries, passages;
    const WiseUtterance& spoken() const { return conversation->utterances[utterance]; }
};
std::vector<WiseTurn> wise_turns(const std::vector<WiseConversation>& conversations,
                                 const WiseLimits& limits);

// ---- Encoding, over tokens of any kind (the authors' are characters).
using WiseTokens = std::vector<std::string>;

// I-CLS A-CLS, then the utterances before the turn, each behind User or System, newest first (as the authors
// do) or oldest first; what exceeds the limit is cut from the oldest.
WiseTokens wise_context(const WiseTurn& turn, size_t limit, bool newest_first,
                        const std::function<WiseTokens(const std::string&)>& tokenize);
// 1 on every occurrence of each phrase in the context; of a phrase that does not occur, on the most similar
// window of its length (similarity >= 0.1, of ties the last; phrases of one token have none).
std::vector<uint8_t> wise_keyphrase_tags(const WiseTokens& context,
                                         const std::vector<WiseTokens>& phrases);
// The authors' "Jaccard": common distinct tokens / (length + length - common distinct tokens).
double wise_similarity(const WiseTokens& a, const WiseTokens& b);
WiseTokens wise_characters(const std::string& text); // lower case, without white space
