// The world of DRM: its traces by hand, flaws that one judge sees and the others miss, splits, and
// what is refused.

#include "task/task.h"
#include "text/tokenizer.h"

#include <gtest/gtest.h>
#include <set>

namespace {

using Ids = std::vector<int32_t>;

// Single characters; the end of a completion is $.
Ids ids_of(const std::string& text) {
    Ids ids;
    for (char c : text)
        ids.push_back(c == '$' ? chain_lookup::words().eos()
                               : chain_lookup::words().id(std::string(1, c)));
    return ids;
}

Ids prompt_of(const std::string& text) {
    Ids ids = ids_of(text);
    ids.insert(ids.begin(), chain_lookup::words().bos());
    return ids;
}

const Ids prompt = prompt_of("#ABC;AB;DE;CD;#FGH;FG;IJ;HI;?A3!D>");

Task task_of(std::function<void(ChainLookupConfig&)> set = {}, int64_t seed = 0) {
    TaskConfig config;
    config.name = "chain_lookup", config.seed = seed;
    if (set) set(config.chain_lookup);
    return make_task(config);
}

struct Case {
    const char* completion;
    TraceKind kind;
    bool right;
};
const Case cases[] = {
    {"3AB2BC1CD=D$", TraceKind::valid, true},
    {"3AB2BC1CD=E$", TraceKind::valid, false},
    {"3AB2BG1GD=D$", TraceKind::hesitant, true},
    {"3FG2GH1HI=D$", TraceKind::off_topic, true},
    {"3BA2CB1DC=D$", TraceKind::incoherent, true},
    {"2AB1BC=D$", TraceKind::other, true},
    {"3AB2BC2CD=D$", TraceKind::other, true},
    {"3AB2CD1BC=D$", TraceKind::other, true},
    {"3AB2BC1CD=D", TraceKind::malformed, false},
    {"3AB2BC1CD=D$$", TraceKind::malformed, false},
    {"=D$", TraceKind::malformed, false},
    {"3AB2BC1CD$", TraceKind::malformed, false},
    {"", TraceKind::malformed, false},
};

} // namespace

TEST(ChainLookup, TracesByHand) {
    const LookupQuestion question = parse_lookup(prompt);
    EXPECT_EQ(question.answer(), 3);
    EXPECT_EQ(question.hint, 3);
    EXPECT_EQ(lookup_prompt(question), prompt);
    const Task task = task_of();
    Problem problem;
    problem.prompt_ids = prompt;
    for (const Case& c : cases) {
        SCOPED_TRACE(c.completion);
        const Ids ids = ids_of(c.completion);
        EXPECT_EQ(kind_of(question, read_trace(question, ids)), c.kind);
        EXPECT_EQ(task.verify(problem, ids, "").reward, c.right);
        EXPECT_EQ(task.reasoned(problem, ids).has_value(), c.kind != TraceKind::malformed);
        int at = 0;
        for (const StepVerdict& step : task.verify_steps(problem, ids)) {
            EXPECT_EQ(step.begin, at);
            EXPECT_GT(step.end, at);
            at = step.end;
        }
        EXPECT_EQ(at, (int)ids.size()) << "steps cover the completion";
        const int wrong = first_wrong_step(task.verify_steps(problem, ids));
        if (c.kind == TraceKind::valid) {
            EXPECT_EQ(wrong, c.right ? -1 : 3);
        } else if (c.kind != TraceKind::malformed) {
            EXPECT_GE(wrong, 0);
        }
    }
}

// Relevance and coherence each see the family that is made for them, and no other; the third is for
// the policy's own confidence.
TEST(ChainLookup, EachFlawIsSeenByOneExactJudge) {
    const LookupQuestion question = parse_lookup(prompt);
    struct Seen {
        const char* completion;
        double question, documents, answer, coherence;
    };
    for (const Seen& s : {Seen{"3AB2BC1CD=D$", 3, 3, 3, 3},
                          {"3AB2BG1GD=D$", 3, 3, 3, 3},
                          {"3FG2GH1HI=D$", -3, 3, -3, 3},
                          {"3BA2CB1DC=D$", 3, 3, 3, -3}}) {
        SCOPED_TRACE(s.completion);
        const LookupJudgement judged =
            judge_trace(question, read_trace(question, ids_of(s.completion)));
        EXPECT_EQ(judged.question, s.question);
        EXPECT_EQ(judged.documents, s.documents);
        EXPECT_EQ(judged.answer, s.answer);
        EXPECT_EQ(judged.coherence, s.coherence);
    }
}

TEST(ChainLookup, DemonstrationsAreOfTheKindsAndSharesAskedFor) {
    const Task task = task_of([](ChainLookupConfig& config) {
        config.hesitant = 0.2, config.off_topic = 0.3, config.incoherent = 0.1, config.hint = 0.4;
    });
    std::map<TraceKind, int> count;
    int hints = 0;
    const int n = 4000;
    for (int i = 0; i < n; ++i) {
        const Problem problem = task.problem(Split::train, i);
        const LookupQuestion question = parse_lookup(problem.prompt_ids);
        EXPECT_EQ(task.verify(problem, problem.demonstration_ids, "").reward, 1);
        ++count[kind_of(question, read_trace(question, problem.demonstration_ids))];
        hints += question.hint >= 0;
        if (question.hint >= 0) {
            EXPECT_EQ(question.hint, question.answer());
        }
    }
    for (auto [kind, share] : {std::pair{TraceKind::hesitant, 0.2},
                               {TraceKind::off_topic, 0.3},
                               {TraceKind::incoherent, 0.1},
                               {TraceKind::valid, 0.4}})
        EXPECT_NEAR(count[kind] / (double)n, share, 0.03) << trace_kind_name(kind);
    EXPECT_EQ(count[TraceKind::other] + count[TraceKind::malformed], 0);
    EXPECT_NEAR(hints / (double)n, 0.4, 0.03);
}

TEST(ChainLookup, SplitsShareNoPromptWhateverTheSeed) {
    const Task a = task_of({}, 1), b = task_of({}, 2);
    std::set<Ids> trained;
    for (int i = 0; i < 500; ++i) trained.insert(a.problem(Split::train, i).prompt_ids);
    for (int i = 0; i < 500; ++i) {
        EXPECT_FALSE(trained.count(b.problem(Split::eval, i).prompt_ids));
        EXPECT_EQ(a.problem(Split::train, i).prompt_ids, a.problem(Split::train, i).prompt_ids);
    }
    EXPECT_NE(a.problem(Split::train, 0).prompt_ids, b.problem(Split::train, 0).prompt_ids);
}

TEST(ChainLookup, FiguresCountKindsAndWhatIsValidAmongTheRight) {
    const Task task = task_of();
    Problem problem;
    problem.prompt_ids = prompt;
    std::vector<Ids> completions;
    for (const Case& c : cases) completions.push_back(ids_of(c.completion));
    std::vector<Answered> answers;
    for (const Ids& ids : completions) answers.push_back({&problem, &ids});
    std::map<std::string, double> figures;
    for (const TaskFigure& figure : task.figures(answers)) figures[figure.name] = figure.value;
    EXPECT_NEAR(figures["valid"], 2 / 13., 1e-12);
    EXPECT_NEAR(figures["other"], 3 / 13., 1e-12);
    EXPECT_NEAR(figures["malformed"], 5 / 13., 1e-12);
    EXPECT_NEAR(figures["valid_of_right"], 1 / 7., 1e-12);
}

TEST(ChainLookup, JudgesAreAskedOfTheQuestionWithoutItsHint) {
    const auto& words = chain_lookup::words();
    Problem problem;
    problem.prompt_ids = prompt;
    const JudgeRows rows = task_of().reasoned(problem, ids_of("3AB2BC1CD=D$"))->rows;
    EXPECT_EQ(words.text(rows.question, true), "<bos>relevant?A3|3AB2BC1CD=<eos>");
    EXPECT_EQ(words.text(rows.documents, true),
              "<bos>relevant#ABC;AB;DE;CD;#FGH;FG;IJ;HI;|3AB2BC1CD=<eos>");
    EXPECT_EQ(words.text(rows.answer, true), "<bos>relevant3AB2BC1CD=|D<eos>");
    EXPECT_EQ(words.text(rows.coherence, true),
              "<bos>coherent#ABC;AB;DE;CD;#FGH;FG;IJ;HI;?A3|3AB2BC1CD=<eos>");
}

TEST(ChainLookup, BadPromptsAndSettingsAreRefused) {
    for (const char* text :
         {"", "#AAB;", "#AAB;#CCD;?A1!-", "#AAB;#CCD;?A2!->", "#AAB;#CCD;?a1!->"})
        EXPECT_THROW(parse_lookup(prompt_of(text)), Error) << text;
    EXPECT_NO_THROW(parse_lookup(prompt_of("#AAB;#CCD;?A1!->")));
    EXPECT_THROW(task_of([](ChainLookupConfig& c) { c.hops_max = 9; }), Error);
    EXPECT_THROW(task_of([](ChainLookupConfig& c) { c.nodes = 9; }), Error);
    EXPECT_THROW(task_of([](ChainLookupConfig& c) { c.off_topic = 0.6, c.hesitant = 0.6; }), Error);
    EXPECT_THROW(task_of([](ChainLookupConfig& c) { c.hesitant = 0.1, c.hops_min = 1; }), Error);
}

TEST(Vocabulary, TheTokenizerReadsAndWritesItsWords) {
    for (const Vocabulary* words :
         {&chain_lookup::words(), &stale_library::words(), &arithmetic::words()}) {
        auto tokenizer = Tokenizer::parse(words->tokenizer_json(), "built-in");
        EXPECT_EQ(tokenizer->vocabulary(), words->size());
        Ids ids;
        for (int32_t id = 0; id < words->eos(); ++id) ids.push_back(id);
        EXPECT_EQ(tokenizer->decode(ids, true), words->text(ids, false));
        for (int32_t id : ids)
            EXPECT_EQ(tokenizer->encode(words->spelling[id], false), Ids{id})
                << words->spelling[id];
    }
}
