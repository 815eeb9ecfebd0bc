#include "text/verdict_fields.h"
#include "text/verdicts.h"

#include <gtest/gtest.h>

using Ints = std::vector<int>;

static void expect_list(const std::string& text, const Ints& wrong, int steps = 5) {
    Critique critique = parse_critique(text, steps);
    ASSERT_TRUE(critique.wrong) << text << ": " << critique.why_not;
    EXPECT_EQ(*critique.wrong, wrong) << text;
    EXPECT_EQ(critique.why_not, "");
}

static void expect_none(const std::string& text, const std::string& why_not) {
    Critique critique = parse_critique(text, 5);
    EXPECT_FALSE(critique.wrong) << text;
    EXPECT_EQ(critique.why_not, why_not) << text;
}

TEST(Critique, ListsOfAllSpellings) {
    expect_list("so \\boxed{[1, 3]}", {1, 3});
    expect_list("\\boxed{1,3}", {1, 3});
    expect_list("\\boxed{3 1}", {1, 3});
    expect_list("\\boxed{ [ ] }", {});
    expect_list("\\boxed{[]}", {});
    expect_list("\\boxed{step 3}", {3});
    expect_list("\\boxed{Step 1, STEP\n2}", {1, 2});
    expect_list("\\boxed{{1}, {3}}", {1, 3});
    expect_list("\\boxed{\\{1, 3\\}}", {1, 3});
    expect_list("\\boxed{[2,]}", {2});
}

TEST(Critique, TextInABoxIsPassedOverUnlessItIsTheList) {
    expect_list("\\boxed{\\text{Step } 2}", {2});
    expect_list("\\boxed{[1, 4] \\text{ are wrong}}", {1, 4});
    expect_list("\\boxed{\\text{step 3}}", {3});
    expect_list("\\boxed{\\text{[]}}", {});
    expect_none("\\boxed{\\text{none}}", critique_empty_box);
}

TEST(Critique, IndicesOutsideAreDroppedAndRepeatedOnesCountOnce) {
    expect_list("\\boxed{[7, 1, 5, 1, 4]}", {1, 4});
    expect_list("\\boxed{-1}", {});
    expect_list("\\boxed{99999999999999999999}", {});
    expect_list("\\boxed{0}", {}, 0);
}

TEST(Critique, TheLastBoxThatHoldsAListCounts) {
    expect_list("\\boxed{[1]} no: \\boxed{[2]}", {2});
    expect_list("\\boxed{[1]} and the answer is \\boxed{x + 1}", {1});
    expect_list("\\boxed{[1]} hm \\boxed{}", {1});
    expect_list("\\boxed{[1]} or \\boxed{[2, 3", {1});
    expect_list("\\boxed{the list \\boxed{4}}", {4});
}

TEST(Critique, WhatIsNoListIsInvalidWithItsReason) {
    expect_none("", critique_without_box);
    expect_none("Wrong steps: [1, 3]", critique_without_box);
    expect_none("\\boxed [1]", critique_without_box);
    expect_none("\\boxed{}", critique_empty_box);
    expect_none("\\boxed{ {} , }", critique_empty_box);
    expect_none("\\boxed{[1, 3]", critique_cut_off);
    expect_none("\\boxed{[1, 3", critique_cut_off);
    expect_none("\\boxed{[1, 3}", critique_other_box);
    expect_none("\\boxed{1 and 3}", critique_other_box);
    expect_none("\\boxed{1.5}", critique_other_box);
    expect_none("\\boxed{\\frac{1}{2}}", critique_other_box);
    expect_none("\\boxed{step}", critique_other_box);
    expect_none("\\boxed{--1}", critique_other_box);
}

static std::vector<Critique> critiques(const std::vector<Ints>& lists) {
    std::vector<Critique> result;
    for (const Ints& list : lists) result.push_back({list, ""});
    return result;
}

// The lists of the paper's figure: majority is strict.
TEST(Vote, OfTheFigure) {
    auto k = critiques({{1, 3}, {1, 2, 3}, {1, 3}, {2, 3}});
    Votes votes = vote(k, 5, "majority", false);
    EXPECT_EQ(votes.count, (Ints{0, 3, 2, 4, 0}));
    EXPECT_EQ(votes.valid, 4);
    EXPECT_EQ(votes.wrong, (Ints{1, 3}));
    EXPECT_EQ(votes.penalty, (std::vector<double>{0, 1, 0, 1, 0}));
    EXPECT_EQ(vote(k, 5, "majority", true).wrong, (Ints{1, 2, 3}));
    EXPECT_EQ(vote(k, 5, "intersection", false).wrong, Ints{3});
    EXPECT_EQ(vote(k, 5, "union", false).wrong, (Ints{1, 2, 3}));
    EXPECT_EQ(vote(k, 5, "greedy", false).wrong, (Ints{1, 3}));
    votes = vote(k, 5, "average", true);
    EXPECT_EQ(votes.wrong, (Ints{1, 3}));
    EXPECT_EQ(votes.penalty, (std::vector<double>{0, 0.75, 0.5, 1, 0}));
}

TEST(Vote, InvalidCritiquesLeaveIt) {
    std::vector<Critique> k = critiques({{0}, {0, 1}});
    k.insert(k.begin() + 1, {std::nullopt, critique_without_box});
    Votes votes = vote(k, 2, "intersection", false);
    EXPECT_EQ(votes.valid, 2);
    EXPECT_EQ(votes.wrong, Ints{0});
    EXPECT_EQ(vote(k, 2, "average", false).penalty, (std::vector<double>{1, 0.5}));
    std::swap(k[0], k[1]);
    votes = vote(k, 2, "greedy", false); // its first critique is invalid
    EXPECT_FALSE(votes.voted);
    EXPECT_EQ(votes.wrong, Ints{});
    EXPECT_EQ(votes.count, (Ints{2, 1}));
}

TEST(Vote, WithoutAValidCritiqueNothingIsWrong) {
    std::vector<Critique> none(3);
    for (const char* rule : {"majority", "intersection", "union", "average", "greedy"}) {
        Votes votes = vote(none, 2, rule, true);
        EXPECT_FALSE(votes.voted);
        EXPECT_EQ(votes.wrong, Ints{}) << rule;
        EXPECT_EQ(votes.penalty, (std::vector<double>{0, 0}));
    }
}

static std::string refusal(const std::string& text, int sentences) {
    std::string why_not;
    return parse_verdicts(text, sentences, why_not) ? "" : why_not;
}

static const std::string first = "[1] faithfulness: 1 | reason: as written | correctness: 0";
static const std::string second = "[2] faithfulness: 0 | reason: a | b: c | correctness: 1";

TEST(Verdicts, LinesInOrder) {
    std::string why_not, text = first + "\n" + second;
    for (const char* end : {"", "\n", "\r\n"}) {
        auto verdicts = parse_verdicts(text + end, 2, why_not);
        ASSERT_TRUE(verdicts) << why_not;
        ASSERT_EQ(verdicts->size(), 2u);
        EXPECT_EQ((*verdicts)[0].faithful, 1);
        EXPECT_EQ((*verdicts)[0].correct, 0);
        EXPECT_EQ((*verdicts)[0].reason, "as written");
        EXPECT_EQ((*verdicts)[0].end, first.size());
        EXPECT_EQ((*verdicts)[1].faithful, 0);
        EXPECT_EQ((*verdicts)[1].correct, 1);
        EXPECT_EQ((*verdicts)[1].reason, "a | b: c");
        EXPECT_EQ((*verdicts)[1].end, text.size());
    }
    auto empty = parse_verdicts("[1] faithfulness: 1 | reason: | correctness: 1", 1, why_not);
    ASSERT_TRUE(empty) << why_not;
    EXPECT_EQ((*empty)[0].reason, "");
    EXPECT_TRUE(parse_verdicts("", 0, why_not));
}

TEST(Verdicts, WhatIsNotTheGrammarIsRefusedWithItsReason) {
    const std::string both = first + "\n" + second;
    EXPECT_EQ(refusal(both, 1), "more behind the last line");
    EXPECT_EQ(refusal(both, 3), "too few lines");
    EXPECT_EQ(refusal(first, 2), "too few lines");
    EXPECT_EQ(refusal(first + "\n", 2), "too few lines");
    EXPECT_EQ(refusal("", 1), "too few lines");
    EXPECT_EQ(refusal(both + "\n\n", 2), "more behind the last line");
    EXPECT_EQ(refusal(both + " ", 2), "more behind the last line");
    EXPECT_EQ(refusal(second + "\n" + first, 2), "a line is not numbered in order");
    EXPECT_EQ(refusal("Sure: " + first, 1), "a line is not numbered in order");
    EXPECT_EQ(refusal(first + "\n\n" + second, 2), "a line is not numbered in order");
    EXPECT_EQ(refusal(first + ".\n" + second, 2), "more behind a correctness");
    EXPECT_EQ(refusal(first + " | correctness: 1", 1), "a line has a score twice");
    EXPECT_EQ(refusal("[1] faithfulness: 2 | reason: x | correctness: 1", 1),
              "a line has no faithfulness of 0 or 1");
    EXPECT_EQ(refusal("[1] faithfulness: 1 | correctness: 1", 1), "a line has no reason");
    EXPECT_EQ(refusal("[1] faithfulness: 1 | reason:x | correctness: 1", 1),
              "a line has no reason");
    EXPECT_EQ(refusal("[1] faithfulness: 1 | reason: x", 1), "a line has no correctness of 0 or 1");
    EXPECT_EQ(refusal("[1] faithfulness: 1 | reason: x | correctness: yes", 1),
              "a line has no correctness of 0 or 1");
    EXPECT_EQ(refusal("[1] faithfulness: 1 | reason: two\nlines | correctness: 1", 1),
              "a line has no correctness of 0 or 1");
}

// T1: F1 KNOW e a v SAME C1 F0 KNOW e a v DIFF C0 EOS
TEST(Verdicts, TokensOfTheVector) {
    enum { F0, F1, C0, C1, EOS, KNOW, E, A, V, SAME, DIFF };
    const VerdictTokens marks = {{F0, F1}, {C0, C1}, EOS};
    const std::vector<int32_t> good = {F1,   KNOW, E, A, V,    SAME, C1, F0,
                                       KNOW, E,    A, V, DIFF, C0,   EOS};
    std::string why_not;
    auto verdicts = parse_verdicts(good, marks, 2, why_not);
    ASSERT_TRUE(verdicts) << why_not;
    EXPECT_EQ((*verdicts)[0].faithful, 1);
    EXPECT_EQ((*verdicts)[0].correct, 1);
    EXPECT_EQ((*verdicts)[0].end, 7u);
    EXPECT_EQ((*verdicts)[1].faithful, 0);
    EXPECT_EQ((*verdicts)[1].correct, 0);
    EXPECT_EQ((*verdicts)[1].end, 14u);

    auto refused = [&](std::vector<int32_t> ids, int sentences = 2) {
        why_not = "";
        return !parse_verdicts(ids, marks, sentences, why_not) && !why_not.empty();
    };
    EXPECT_TRUE(refused({good.begin(), good.end() - 1})); // T1b: no EOS
    EXPECT_TRUE(refused(good, 1));                        // a block more than sentences
    EXPECT_TRUE(refused(good, 3));
    EXPECT_TRUE(refused({F1, KNOW, C1, C0, F0, C0, EOS})); // two scores in one block
    EXPECT_TRUE(refused({F1, F0, C1, F0, C0, EOS}));
    EXPECT_TRUE(refused({KNOW, F1, C1, F0, C0, EOS}));
    EXPECT_TRUE(refused({F1, C1, F0, EOS}));
    EXPECT_TRUE(refused({F1, C1, F0, C0, EOS, EOS}));
    EXPECT_FALSE(refused({F1, C1, F0, C0, EOS}));
}

TEST(Verdicts, FieldsGiveTheTextAgain) {
    const std::string text = "[1] faithfulness: 1 | reason: a | b | correctness: 0\n"
                             "no verdict\n[2] faithfulness: 0 | reason: | correctness: 1";
    std::string again, names;
    for (const Segment& field : verdict_fields(text)) {
        again += text.substr(field.begin, field.end - field.begin);
        names += field.name.substr(0, 1) + "/";
    }
    EXPECT_EQ(again, text);
    EXPECT_EQ(names, "f/r/c//f/r/c/");
    const auto fields = verdict_fields(text);
    EXPECT_EQ(text.substr(fields[0].begin, fields[0].end), "[1] faithfulness: 1");
    EXPECT_EQ(text.substr(fields[1].begin, fields[1].end - fields[1].begin), " | reason: a | b");
    EXPECT_EQ(text.substr(fields[2].begin, fields[2].end - fields[2].begin), " | correctness: 0\n");
    EXPECT_TRUE(verdict_fields("").empty());
}
