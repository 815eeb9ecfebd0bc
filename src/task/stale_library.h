#pragma once
// The world of TRM: a library of facts (an attribute of a thing has a value), part of which a model
// knows by heart, and documents that repeat them, some stale, some wrong. Three roles:
//
//   know    fresh: Bako price 17. .. know Bako metal            ->  31<eos>
//   judge   fresh: Bako price 17. stale: Kedo metal 22. answer: [1] Bako price 17. verdicts:
//             ->  [1] faithfulness: 1 | reason: document 17, said 17, same | correctness: 1
//   answer  fresh: Bako price 17. stale: Kedo metal 22. requests: Bako price. Kedo metal. answer:
//             ->  Bako price 17. Kedo metal 22. <eos>
//
// The truth is what a fresh document says of an attribute that changes (price, owner), and what the
// library knows of everything else, whatever the documents say. A sentence is faithful (f) when a
// document says the same, and right (c) when it is the truth: four cases, numbered as below. The
// reason tells what is true, by the document or by what one knows of the fact, what the sentence
// said, and whether that is the same. Verdicts keep to TRM's grammar (text/verdicts.h).
//
// Facts, not prompts, are held out: of a quarter nothing but bare statements (know) is ever trained,
// another quarter is for reinforcement learning on labels. A policy that answers may first learn to read
// (facts = all, obey = 1: the documents' words, right or not, of all facts).

#include "base/config.h"
#include "base/rng.h"
#include "task/vocabulary.h"

struct Task;
struct TaskConfig;

struct StaleLibraryConfig {
    std::string role = "judge", facts = "supervised";
    int entities = 40, values = 32, sentences = 3;
    int64_t library = 1;
    std::vector<double> mix = {1, 1, 1, 1};
    std::vector<std::string> fields = {"faithfulness", "reason"};
    double know_share = 0, documents_share = 0.7, outdated = 0.5;
    double obey = 0.75, slip = 0.1, skip = 0.25;

    void visit(Fields& v) {
        v.choice("role", role, {"know", "judge", "answer"}, "what is asked");
        v.choice("facts", facts, {"supervised", "labels", "any", "all"},
                 "facts of the training problems: half of all, another quarter, or both; the last "
                 "quarter is held out for evaluation, unless all are trained");
        v.field("entities", entities, 4, 64, "things; each has four attributes");
        v.field("values", values, 4, 40, "values that an attribute can have");
        v.field("sentences", sentences, 1, 6, "most sentences to judge, or requests to answer");
        v.field("library", library, 0, 9e15, "seed of the facts and of which are held out");
        v.field(
            "mix", mix, 0, 1e6,
            "judge: weights of the cases faithful and right, faithful and wrong, unfaithful and "
            "right, unfaithful and wrong");
        v.field("fields", fields,
                "judge: what demonstrations fill in before the correctness: faithfulness, reason; "
                "what is left out is 1 and empty");
        v.field("know_share", know_share, 0, 1,
                "judge, answer: share of bare statements among the training problems");
        v.field("documents_share", documents_share, 0, 1,
                "share of bare statements behind documents, which may contradict them");
        v.field("outdated", outdated, 0, 1,
                "answer: share of documents that are wrong, where a document can be");
        v.field("obey", obey, 0, 1,
                "answer, demonstrations: share of sentences that say what the document says");
        v.field("slip", slip, 0, 1, "answer, demonstrations: share with a random value");
        v.field("skip", skip, 0, 1,
                "answer, demonstrations: share of requests left out, the last ones");
    }
};

namespace stale_library {
const Vocabulary& words();
}

struct Fact {
    int entity = 0, attribute = 0;
    bool operator==(const Fact&) const = default;
    bool changes() const { return attribute < 2; } // price, owner
};

struct Library {
    enum class Part { supervised, labels, held_out };
    explicit Library(const StaleLibraryConfig& config);
    int known(Fact fact) const; // its value
    Part part(Fact fact) const;
    std::vector<Fact> facts(const std::string& which) const; // supervised, labels, any, held_out
    int entities, values;

private:
    std::vector<int> value;
    std::vector<Part> parts;
};

struct LibraryLine { // of a document
    bool fresh = false;
    Fact fact;
    int value = 0;
};
struct LibrarySentence {
    Fact fact;
    int value = 0;
};

struct LibraryQuestion {
    enum class Role { know, judge, answer } role = Role::know;
    std::vector<LibraryLine> lines;
    std::vector<LibrarySentence> sentences;   // judge: of the answer
    std::vector<Fact> requests;               // answer; know: the one fact
    const LibraryLine* line(Fact fact) const; // null: no document speaks of it
    int truth(const Library& library, Fact fact) const;
    bool faithful(const LibrarySentence& sentence) const;
    bool right(const Library& library, const LibrarySentence& sentence) const;
};

std::vector<int32_t> library_prompt(const LibraryQuestion& question);
// Fails, naming what is wrong, if the ids are not such a prompt.
LibraryQuestion parse_library(const std::vector<int32_t>& prompt_ids);

// 0 faithful and right, 1 faithful and wrong, 2 unfaithful and right, 3 unfaithful and wrong.
constexpr int library_cases = 4;
const char* library_case_name(int kind); // "faithful_right", ..
inline int library_case(bool faithful, bool right) { return 2 * !faithful + !right; }

// The verdicts of an exact judge, as a demonstration.
std::vector<int32_t> library_verdicts(const Library& library, const LibraryQuestion& question,
                                      const std::vector<std::string>& fields);
// A bare statement, as a completion.
std::vector<int32_t> library_statement(int value);
constexpr int library_sentence_tokens = 4; // thing, attribute, value, stop
std::vector<int32_t> library_sentence(const LibrarySentence& sentence);
// Sentences that follow one another from the beginning of a completion.
std::vector<LibrarySentence> read_sentences(const std::vector<int32_t>& completion);

Task stale_library_task(const TaskConfig& config);
