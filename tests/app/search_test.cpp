// rlhf search as a user runs it.

#include "command.h"

static const std::string documents =
    R"({"id": 3, "title": "T", "text": "opening hours of the museum"}
{"id": 4, "text": "the museum of hours, opening again, opening"}
{"id": 5, "text": "nothing"}
)";

TEST(Search, OneQueryAndManyGiveTheSameHits) {
    Scratch at;
    write_file(at("documents"), documents);
    Outcome one = rlhf({"search", "documents=" + at("documents"), "query=opening museum", "top=1",
                        "index=" + at("index")});
    ASSERT_EQ(one.status, 0) << one.err;
    Json hit = parse_json(one.out, "standard output");
    EXPECT_EQ(hit["id"], 4);
    EXPECT_EQ(hit["passage"], 0);
    EXPECT_EQ(hit["title"], "");
    EXPECT_GT(hit["score"], 0);
    write_file(at("queries"), R"({"query": "opening museum", "n": 1})"
                              "\n"
                              R"({"query": "zebra"})");
    Outcome many = rlhf({"search", "documents=" + at("documents"), "queries=" + at("queries"),
                         "index=" + at("index"), "out=" + at("out")});
    ASSERT_EQ(many.status, 0) << many.err;
    EXPECT_TRUE(contains(many.err, "mapped")) << many.err;
    std::vector<Json> rows = rows_of(at("out"));
    ASSERT_EQ(rows.size(), 2u);
    EXPECT_EQ(rows[0]["n"], 1);
    ASSERT_EQ(rows[0]["hits"].size(), 2u);
    EXPECT_EQ(rows[0]["hits"][0], hit);
    EXPECT_EQ(rows[1]["hits"].size(), 0u);
    one = rlhf({"search", "documents=" + at("documents"), "query=zebra"});
    EXPECT_EQ(one.status, 0); // no word known: no hit
    EXPECT_EQ(one.out, "");
}

TEST(Search, MisfitsAreRefused) {
    Scratch at;
    write_file(at("documents"), documents);
    expect_refusal(rlhf({"search"}), {"documents"});
    expect_refusal(rlhf({"search", "documents=" + at("documents")}), {"query", "neither"});
    expect_refusal(rlhf({"search", "documents=" + at("no"), "query=a"}), {"no"});
    write_file(at("other"), "{\"question\": \"q\"}");
    expect_refusal(rlhf({"search", "documents=" + at("other"), "query=a"}),
                   {"other:1", "document"});
    expect_refusal(
        rlhf({"search", "documents=" + at("documents"), "query=a", "index=" + at("documents")}),
        {"no index"});
}

TEST(WisePredictions, AreEvaluatedWithoutANetwork) {
    Scratch at;
    write_file(
        at("p"),
        R"({"conversation_id": 1, "msg_id": 2, "gold": {"intent": "Reveal", "action": "Answer-Link", "keyphrases": ["abcd"], "queries": ["q"], "passages": null, "response": "abcd"}, "predicted": {"intent": "Reveal", "action": "Chitchat", "keyphrases": ["acx"], "queries": ["q"], "passages": [], "response": "acx"}})");
    Outcome outcome = rlhf({"eval", "predictions=" + at("p"), "format=json", "wise.released=true"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    Json result = parse_json(outcome.out, "standard output");
    EXPECT_EQ(result["id"]["f1"], 1.0);
    EXPECT_EQ(result["qs"]["f1"], 0.5);
    EXPECT_NEAR(result["rg"]["bleu1"], .537398 / 2, 5e-7);
    EXPECT_EQ(result["turns"], 1);
    write_file(at("p"), R"({"gold": {"intent": "Reveil"}, "predicted": {}})");
    expect_refusal(rlhf({"eval", "predictions=" + at("p")}), {"p:1", "intent", "Reveil"});
}
