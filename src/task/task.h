#pragma once
// A task: prompts with a checkable answer, and the rule that checks it. Serves supervised training
// (demonstrations), evaluation and reinforcement learning alike. A task knows no tokenizer and no model:
// it gives strings or ids and is given ids with their text.

#include "base/json.h"
#include "task/arithmetic.h"

#include <functional>

struct Problem {
    std::string prompt;              // as text, for people; also for the model when `ids` is empty
    std::vector<int32_t> prompt_ids; // a task with a vocabulary of its own (arithmetic)
    std::string demonstration;       // a worked answer, "" if there is none
    std::vector<int32_t> demonstration_ids; // with its EOS
    std::string answer;                     // what the rule compares with
    Json row;          // of a data file: the prompt's row in one of the forms of text/rows.h
    std::string where; // "file:line", or the task's name and number
};

// What the rule says of a completion.
struct Verdict {
    double reward = 0;  // 1 right, 0 wrong
    std::string reason; // in a few words
    std::string
        answer; // the answer in one spelling per value, for majority votes; "" none was found
};

// What the rule says of a part of a completion. The parts follow one another without gaps and cover the
// whole completion, so every token belongs to one.
struct StepVerdict {
    int begin = 0, end = 0; // tokens [begin, end) of the completion
    bool right = false;
    std::string reason;
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
    ArithmeticConfig arithmetic;

    void visit(Fields& v) {
        v.choice("name", name, {"", "arithmetic", "gsm8k", "jsonl"},
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
        v.object("arithmetic", arithmetic, "the built-in task");
    }
};

Task make_task(const TaskConfig& config);

// The makers of the single tasks; make_task picks one.
Task arithmetic_task(const TaskConfig& config);
Task gsm8k_task(const TaskConfig& config);
Task jsonl_task(const TaskConfig& config);

// What gsm8k and jsonl share: rows of both files to a task that compares final answers.
Task rows_task(const TaskConfig& config, const char* name,
               const std::function<Problem(const Json& row, const std::string& where)>& read_row);
