#pragma once
// Mini-WISE: conversations of a user and a wizard about made-up places, in the format of task/wise.h, for
// trying the six sub-tasks of conversational search on a tiny model.
//
// A conversation is about one place ("Lodora city museum"). The user wants to know some of its properties
// ("price", "hours", ..). Their values are drawn anew for every conversation and stand in its own documents
// alone, so that only reading the right passage can give the answer. The candidates of a turn are hard:
// the same place with another property, and the same property of another place.
//
//     the user                            the wizard
//     names the place alone               asks which property         Clarify-Choice
//     chooses, asks, or asks on           answers from the passage    Answer-fact-text
//       ... and no passage has it         says so                     Answer-NoAnswer
//     corrects himself                    answers                     Answer-fact-text
//     wants a link, after an answer       names the page              Answer-Link
//     thanks                              offers more                 Recommend
//     greets                              greets                      Chitchat
//
// A place is a town (of 100) and a topic: one of 10 words and one of 6. A third of the 60 topics is
// unseen: no part but `testunseen` knows them, though each of their words occurs in seen topics.
//
// The four pre-training parts have labels for some sub-tasks only, as the authors' foreign data sets do.

#include "base/config.h"
#include "task/wise.h"

enum class MiniWisePart { train, valid, testseen, testunseen, qa, chat, triples, reading };
constexpr const char* mini_wise_parts[] = {"train", "valid", "testseen", "testunseen",
                                           "qa",    "chat",  "triples",  "reading"};
constexpr int mini_wise_turns = 4; // of the wizard, in every conversation

struct MiniWiseConfig { // mini_wise.*
    int64_t seed = 0, turns = 0;
    double absent = 0.2;
    std::string part = "train", held_out = "testunseen", pretrain_topics = "seen";
    void visit(Fields& v);
};

struct MiniWiseWorld {
    WiseConversation conversation;
    std::vector<Document>
        documents; // two: its own, and that of the other place, conversation c ^ 1
    std::vector<std::string> queries; // about its own place: one per property
};
// Number c of a part; depends on the configuration's seed, part and c alone.
MiniWiseWorld mini_wise(const MiniWiseConfig& config, MiniWisePart part, int64_t c);

// A vocabulary in which a word of this world is one token, everything else is bytes.
struct WordVocabulary {
    int size = 0, bos = -1, pad = -1, eos = -1;
    std::string tokenizer_json, tokenizer_config_json;
};
WordVocabulary mini_wise_vocabulary();
