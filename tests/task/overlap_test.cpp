#include "task/overlap.h"

#include "base/json.h"
#include "task/wise.h"

#include <gtest/gtest.h>

TEST(Overlap, Vectors) {
    const auto abcd = wise_characters("abcd"), acx = wise_characters("acx");
    EXPECT_NEAR(rouge_l(acx, {abcd}), .557078, 5e-7);
    EXPECT_EQ(rouge_l(abcd, {abcd}), 1);
    EXPECT_EQ(rouge_l(wise_characters("xyz"), {abcd}), 0);
    EXPECT_NEAR(bleu1(acx, {abcd}, false), .477688, 5e-7);
    EXPECT_NEAR(bleu1(acx, {abcd}, true), .537398, 5e-7);
    for (bool smooth : {false, true}) {
        EXPECT_EQ(bleu1(abcd, {abcd}, smooth), 1);
        EXPECT_EQ(bleu1(wise_characters("xyz"), {abcd}, smooth), 0);
        EXPECT_EQ(bleu1({}, {abcd}, smooth), 0);
    }
    EXPECT_EQ(rouge_l({}, {abcd}), 0);
}

// tests/reference/make_golden_overlap.py: NLTK's sentence_bleu, and ROUGE-L in plain Python.
TEST(Overlap, AgreesWithNltkAndThePlainFormula) {
    int rows = 0, several = 0;
    for_each_row("tests/golden/wise/overlap.jsonl", [&](const Json& row, const std::string& where) {
        std::vector<OverlapTokens> references;
        for (const Json& one : row["references"])
            references.push_back(wise_characters(one.get<std::string>()));
        const auto candidate = wise_characters(json_string(row, "candidate", where));
        EXPECT_NEAR(bleu1(candidate, references, false), row["bleu1"], 1e-12) << where;
        EXPECT_NEAR(bleu1(candidate, references, true), row["bleu1_smooth"], 1e-12) << where;
        EXPECT_NEAR(rouge_l(candidate, references), row["rouge_l"], 1e-12) << where;
        ++rows, several += references.size() > 1;
    });
    EXPECT_GE(rows, 60);
    EXPECT_GE(several, 20);
}
