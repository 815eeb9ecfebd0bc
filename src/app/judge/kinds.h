#pragma once
// The kinds of judges that write text, one row each: what is asked, and what is made of their words.
// A new kind is a row here, a prompt in settings.cpp and a choice of judge.kind.

#include "app/judge/answers.h"
#include "app/judge/lesson.h"

#include <map>

// Segments that a judge calls wrong against what the task's rule says of them, or the row's labels.
struct AgainstRule {
    int64_t answers = 0, segments = 0, wrong = 0, called = 0, found = 0; // found: called and wrong
    int64_t exact = 0;                                                   // answers judged rightly
    // called: wrong above 1/2.
    void add(const std::vector<StepVerdict>& rule, const std::vector<double>& wrong_share);
    void add(const std::vector<SentenceLabels>& labels, const std::vector<double>& wrong_share);
    Json json() const; // with precision, recall and f1; null where there is nothing to divide by
};

struct JudgeCounts {
    int64_t rows = 0, critiques = 0, invalid_critiques = 0, rows_without_vote = 0, unparsable = 0;
    int64_t truncated = 0;                    // answers of which no judge was asked
    std::map<std::string, int64_t> reasons{}; // of invalid critiques and unparsable verdicts
    JudgeWork work{};
    AgainstRule rule{};
    Json json() const;
};

struct JudgeKind {
    const char* name;
    const char* stored; // key of a row that holds what a judge wrote: a list of texts,
    bool stored_alone;  // or one text
    Segmentation segmentation;
    bool brings_segments;        // a row may have them, as "sentences"
    const char *prompt, *lesson; // the built-in ones (prompt.h, lesson.h)
    // The fields of an output row, from answer.texts. Returns how wrong each segment is, 0 .. 1;
    // nothing where the judge has failed.
    std::optional<std::vector<double>> (*put)(Json& line, const AnswerToJudge& answer,
                                              const JudgeSettings& settings, JudgeCounts& counts);
};
std::span<const JudgeKind> judge_kinds();
const JudgeKind& find_kind(const std::string& name);

std::string judge_notes(); // the built-in prompts, for `help judge`

// Whether a judge has to be asked of the answer.
bool needs_judge(const AnswerToJudge& answer, const JudgeSettings& settings);
// The output row of an answer whose `texts` are there.
struct JudgedRow {
    Json line;
    std::optional<std::vector<double>> wrong; // (segments) 0 .. 1; none: the judge has failed
};
JudgedRow judged_row(const AnswerToJudge& answer, const JudgeSettings& settings,
                     JudgeCounts& counts);
