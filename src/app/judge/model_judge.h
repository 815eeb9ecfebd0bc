#pragma once
// A judge that is a model: an ordinary model directory, asked by our own rollout engine. Its prompt
// is a Jinja template, in the model's chat template where it has one; the k texts on one prompt
// share its keys and values.
//
// What it writes depends on the judge, the prompt and judge.seed alone, not on what is judged
// beside it: the same answer is judged in the same way again, so a text that was asked for before
// is not asked for twice.

#include "app/inputs.h"
#include "app/judge/prompt.h"
#include "dist/lengths.h"
#include "rollout/generate.h"

#include <map>
#include <unordered_map>

// What a judge wrote. why_not: it cannot be read, whatever it says; "" else.
struct JudgeText {
    std::string text, why_not;
};
inline const char* const judge_cut_off = "cut off at judge.max_new_tokens";
inline const char* const judge_no_room = "the prompt does not fit the judge's context";
inline const char* const judge_no_token = "the judge has no token for a character of the answer";

// One count per answer, tokens of those that were asked.
struct JudgeWork {
    int64_t answers = 0, cache_hits = 0, prompt_tokens = 0, new_tokens = 0;
    double seconds = 0;
};

struct ModelJudge {
    // directory: a model, or the run that made it. An error if its tokenizer has no token for a
    // character of the template.
    ModelJudge(const std::string& directory, const JudgeSettings& settings,
               const ComputeConfig& compute, const ChatConfig& chat = {});
    ModelJudge(const ModelJudge&) = delete;

    // settings.texts() of each answer, in order. done: called as each one ends that is not known
    // yet.
    std::vector<std::vector<JudgeText>> write(const std::vector<JudgeQuestion>& questions,
                                              JudgeWork& work,
                                              const std::function<void()>& done = {});

    // Writes by this rank alone what write() will be asked for, while others do something else; what is
    // known is passed over. Then all ranks together: what any of them has written is everybody's, until
    // the next write(), which takes it as its own work. drawn: called with each token.
    void write_ahead(const std::vector<JudgeQuestion>& questions, GenerateStats& stats,
                     LengthHistogram& lengths, const std::function<void()>& drawn);
    void share_ahead();

    JudgeSettings settings;
    std::unique_ptr<Model> model;
    Inputs inputs;
    JudgePrompt prompt;

private:
    std::vector<int32_t> prompt_ids(const JudgeQuestion& question, std::string& why_not) const;
    // By prompt; emptied when it grows too large, which costs time and changes nothing.
    std::unordered_map<std::string, std::vector<JudgeText>> known;
    size_t known_bytes = 0;
    struct Ahead {
        std::vector<JudgeText> texts;
        int64_t new_tokens = 0;
    };
    std::map<std::string, Ahead> ahead; // by prompt
    double ahead_seconds = 0;
};
