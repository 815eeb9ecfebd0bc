#pragma once
// The world of DRM: follow edges through documents, with every edge written out.
//
//     prompt      <bos> #A BC; AB; CD; .. #E FG; EF; .. ?A3 !- >        two documents, a question
//     completion  3AB 2BC 1CD =D <eos>                                  reasoning, answer
//
// (no blanks in the text). Each document holds one chain of edges, shuffled, under the name of its
// first node. The question names a start and a number of hops; "!D" is a hint that gives the answer
// away, "!-" none. The reasoning R counts down, an edge a hop, and ends with "="; the answer A is a
// node and the end of the sequence.
//
// Demonstrations can have a reasoning with a flaw before an answer that is right. Each kind of flaw
// is made for one dimension of DRM (credit/drm.h) to see and the other two to miss:
//
//     hesitant    3AB 2BX 1XD =D   an inner node is invented, a random other one of the documents:
//                                  improbable, so confidence is low
//     off topic   3EF 2FG 1GH =D   the other document's chain, copied: relevance is low
//     incoherent  3BA 2CB 1DC =D   the right edges, each written backwards: coherence is low

#include "base/config.h"
#include "base/rng.h"
#include "task/vocabulary.h"

struct Task;
struct TaskConfig;

struct ChainLookupConfig {
    int hops_min = 2, hops_max = 4, edges = 4, nodes = 16;
    double hint = 0.5, hesitant = 0, off_topic = 0, incoherent = 0;
    void visit(Fields& v) {
        v.field("hops_min", hops_min, 1, 9, "fewest hops of a question");
        v.field("hops_max", hops_max, 1, 9, "most hops; uniform between the two");
        v.field("edges", edges, 1, 18, "edges of each of the two chains; at least hops_max");
        v.field("nodes", nodes, 4, 40, "names of nodes; at least 2 (edges + 1)");
        v.field("hint", hint, 0, 1, "share of the prompts that give the answer away");
        v.field("hesitant", hesitant, 0, 1, "share of demonstrations with an invented node");
        v.field("off_topic", off_topic, 0, 1, "share of demonstrations on the other document");
        v.field("incoherent", incoherent, 0, 1, "share of demonstrations with edges backwards");
    }
};

namespace chain_lookup {
const Vocabulary& words();
// Nodes are the ids 0 .. nodes - 1.
constexpr int nodes = 40;
} // namespace chain_lookup

using Edge = std::pair<int, int>;

struct LookupDocument {
    int title = 0; // first node of its chain
    std::vector<Edge> edges;
};

struct LookupQuestion {
    std::vector<LookupDocument> documents; // two
    int start = 0, hops = 0, hint = -1;    // hint -1: none
    // The node behind edge `from`, -1: no edge begins there.
    int follow(int from) const;
    int answer() const;
    bool mentions(int node) const; // in a document
    bool has(Edge edge) const;
};

std::vector<int32_t> lookup_prompt(const LookupQuestion& question);
// Fails, naming what is wrong, if the ids are not such a prompt.
LookupQuestion parse_lookup(const std::vector<int32_t>& prompt_ids);

enum class TraceKind { valid, hesitant, off_topic, incoherent, other, malformed };
constexpr int trace_kinds = 6;
const char* trace_kind_name(TraceKind kind); // "valid", "off_topic", ..

// The edges that a demonstration of this kind writes.
std::vector<Edge> lookup_trace(const LookupQuestion& question, TraceKind kind, Rng& rng);
// Reasoning with "=", answer and the end of the sequence.
std::vector<int32_t> lookup_completion(const std::vector<Edge>& trace, int answer);

// What was written.
struct WrittenTrace {
    std::vector<Edge> edges;
    bool counted = true; // the countdown is right
    int reasoning = 0;   // tokens of R, "=" included
    int answer = -1;     // -1: malformed, there is no "=" or no node and end behind it
};
WrittenTrace read_trace(const LookupQuestion& question, const std::vector<int32_t>& completion);
TraceKind kind_of(const LookupQuestion& question, const WrittenTrace& trace);

// Exact judges of DRM's dimensions, as logits of +-`sure`, or between the two for shares:
//   question    R's first edge touches the question's start
//   documents   share of R's nodes that the documents mention
//   answer      R's last edge touches the answer
//   coherence   share of R's edges that begin where the one before ended
struct LookupJudgement {
    double question = 0, documents = 0, answer = 0, coherence = 0;
    static constexpr double sure = 3;
};
LookupJudgement judge_trace(const LookupQuestion& question, const WrittenTrace& trace);

// What models are asked of a completion whose reasoning is its first `reasoning_end` tokens.
struct JudgeRows lookup_judge_rows(const std::vector<int32_t>& prompt,
                                   const std::vector<int32_t>& completion, int reasoning_end);

Task chain_lookup_task(const TaskConfig& config);
