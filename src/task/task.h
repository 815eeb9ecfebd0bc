#pragma once
// A task: prompts with a checkable answer, and the rule that checks it. Serves supervised training
// (demonstrations), evaluation and reinforcement learning alike. A task knows no tokenizer and no model:
// it gives strings or ids and is given ids with their text.

#include "base/json.h"
#include "task/arithmetic.h"
#include "task/chain_lookup.h"
#include "task/mini_wise.h"
#include "task/stale_library.h"
#include "task/wise_settings.h"

#include <cmath>
#include <functional>
#include <memory>
#include <optional>
#include <span>

struct Problem {
    std::string prompt;              // as text, for people; also for the model when `ids` is empty
    std::vector<int32_t> prompt_ids; // a task with a vocabulary of its own (arithmetic)
    std::string demonstration;       // a worked answer, "" if there is none
    std::vector<int32_t> demonstration_ids; // with its EOS
    std::string answer;                     // what the rule compares with
    Json row;          // of a data file: the prompt's row in one of the forms of text/rows.h
    std::string where; // "file:line", or the task's name and number
    std::shared_ptr<const struct WiseExample> wise; // of wise and mini_wise: the turn (wise_task.h)
};

// What the rule says of a completion.
struct Verdict {
    double reward = 0;  // 1 right, 0 wrong
    std::string reason; // in a few words
    // In one spelling per value, for majority votes; "": none was found.
    std::string answer;
    double useful = NAN; // share of what was asked for that is answered, rightly or not; NAN: the
                         // task does not say
};

// What the rule says of a part of a completion. The parts follow one another without gaps and cover the
// whole completion, so every token belongs to one.
struct StepVerdict {
    int begin = 0, end = 0; // tokens [begin, end) of the completion
    bool right = false;
    std::string reason;
    int kind = -1;        // what kind of part the task calls it, where it has kinds
    std::string should{}; // what should stand there, as text; "": the rule cannot say
};

// Rows to put to models that judge reasoning: a reranker says yes or no behind the first three, an
// outcome reward model scores the last.
struct JudgeRows {
    std::vector<int32_t> question, documents, answer, coherence;
    int32_t yes = -1, no = -1;
};

// A completion that reasons before it answers, and what exact judges of the reasoning say: logits.
struct ReasonedAnswer {
    // Tokens: the reasoning is [0, reasoning_end), the answer [answer_begin, end of the completion).
    int reasoning_end = 0, answer_begin = 0;
    double question = 0, documents = NAN, answer = 0; // relevance; NAN: there are no documents
    double coherence = 0;
    JudgeRows rows;
};

// A completion that judges sentences: what it says of each, and what is right.
struct JudgedSentence {
    int end = 0;                               // token behind what is said of it
    int faithful = 0, correct = 0;             // as judged, 0 or 1
    int true_faithful = -1, true_correct = -1; // -1: not known
};

// A number of a task's own, over many answers.
struct Answered {
    const Problem* problem;
    const std::vector<int32_t>* completion;
    std::span<const double> logp{}; // of its tokens; empty: not known
};
struct TaskFigure {
    std::string name;
    double value;
};

// What the rule says of a named part of a completion's text.
struct FieldVerdict {
    std::string name;
    size_t begin = 0, end = 0; // bytes [begin, end)
    double score = 0;          // 0 .. 1
};

enum class Split { train, eval };

// Problem i of a split depends on the configuration and i alone. No prompt is in both splits.
struct Task {
    std::string name;
    std::function<int64_t(Split)> count;              // INT64_MAX: as many as are asked for
    std::function<Problem(Split, int64_t i)> problem; // i >= 0, beyond the count it starts again
    std::function<Verdict(const Problem&, const std::vector<int32_t>& completion_ids,
                          const std::string& completion)>
        verify;
    // Empty for tasks whose steps cannot be checked.
    std::function<std::vector<StepVerdict>(const Problem&,
                                           const std::vector<int32_t>& completion_ids)>
        verify_steps;
    // Empty for tasks of which there is nothing to say beside right and wrong.
    std::function<std::vector<TaskFigure>(const std::vector<Answered>&)> figures;
    // Empty for tasks that ask for no reasoning. None: the completion is malformed.
    std::function<std::optional<ReasonedAnswer>(const Problem&,
                                                const std::vector<int32_t>& completion_ids)>
        reasoned;
    // Empty for tasks that do not ask for a judgement of sentences. None: it cannot be read.
    std::function<std::optional<std::vector<JudgedSentence>>(
        const Problem&, const std::vector<int32_t>& completion_ids)>
        judged;
    const Vocabulary* vocabulary = nullptr; // of a built-in task, whose model is made for it
    // Empty for tasks whose answers have no fields. Each field once, in the order of the text; none where
    // the answer cannot be read.
    std::function<std::vector<FieldVerdict>(const Problem&, const std::string& completion)> fields;
};

// The first wrong part, -1: none is wrong.
int first_wrong_step(const std::vector<StepVerdict>& steps);

struct TaskConfig {
    std::string name; // "": none
    std::string data, eval_data;
    double eval_share = 0;
    bool shuffle = true;
    int64_t seed = 0;
    std::string answer_form = "any";
    bool calculator = false;
    std::string conversations, eval_conversations, documents, form = "generate";
    ArithmeticConfig arithmetic;
    ChainLookupConfig chain_lookup;
    StaleLibraryConfig stale_library;
    MiniWiseConfig mini_wise;
    WiseSettings wise; // the keys wise.* of a command that has them

    void visit(Fields& v) {
        v.choice("name", name,
                 {"", "arithmetic", "chain_lookup", "stale_library", "gsm8k", "jsonl", "wise",
                  "mini_wise"},
                 "where prompts and the rule that checks their answers come from");
        v.input("data", data, "gsm8k, jsonl: file of rows with a prompt and an answer");
        v.input("eval_data", eval_data,
                "gsm8k, jsonl: rows held out for evaluation; prompts that also stand in task.data "
                "are not trained on");
        v.field(
            "eval_share", eval_share, 0, 1,
            "gsm8k, jsonl: share of task.data held out when there is no eval_data (by a hash of "
            "the prompt)");
        v.field("shuffle", shuffle, "gsm8k, jsonl: a new order of the training rows in each epoch");
        v.field("seed", seed, 0, 9e15, "of problems, faults and order");
        v.choice(
            "answer_form", answer_form, {"any", "marked"},
            "gsm8k, jsonl: marked counts only answers after #### or in \\boxed{}; any falls back "
            "to the last number of the text");
        v.field("calculator", calculator,
                "gsm8k: keep the <<48/2=24>> annotations in demonstrations");
        v.input("conversations", conversations, "wise: file of conversations");
        v.input("eval_conversations", eval_conversations,
                "wise: conversations held out for evaluation");
        v.input("documents", documents, "wise: file of the documents that they name");
        v.choice("form", form, {"generate", "heads"},
                 "wise, mini_wise: a turn is written as text, or read off by heads");
        v.object("arithmetic", arithmetic, "sums with every step written out");
        v.object("chain_lookup", chain_lookup, "edges followed through documents (DRM)");
        v.object("stale_library", stale_library, "facts, documents that may be stale (TRM)");
        v.object("mini_wise", mini_wise, "made-up conversations about made-up places");
    }
};

Task make_task(const TaskConfig& config);

// The makers of the single tasks; make_task picks one.
Task arithmetic_task(const TaskConfig& config);
Task gsm8k_task(const TaskConfig& config);
Task jsonl_task(const TaskConfig& config);
Task wise_task(const TaskConfig& config);

// What gsm8k and jsonl share: rows of both files to a task that compares final answers.
Task rows_task(const TaskConfig& config, const char* name,
               const std::function<Problem(const Json& row, const std::string& where)>& read_row);
