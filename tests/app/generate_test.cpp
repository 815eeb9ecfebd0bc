// rlhf generate and rlhf logprob as a user runs them.

#include "command.h"

#include <chrono>

namespace {

std::string make_model(const Scratch& at) {
    Outcome outcome =
        rlhf({"sft", "task.name=arithmetic", "tiny.layers=2", "tiny.width=24",
              "tiny.feed_forward=40", "tiny.context=40", "train.steps=5", "train.rows_per_step=8",
              "data.eval_rows=1", "optim.lr=0.01", "compute.threads=1", "run.dir=" + at("model")});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return "model.path=" + at("model");
}

} // namespace

TEST(Generate, OnePromptGivesItsTextAlone) {
    Scratch at;
    std::string model = make_model(at);
    Outcome outcome =
        rlhf({"generate", model, "prompt=+52>71", "sample.max_new_tokens=5", "sample.n=2"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(std::count(outcome.out.begin(), outcome.out.end(), '\n'), 2) << outcome.out;
    EXPECT_FALSE(contains(outcome.out, "<eos>"));
    EXPECT_EQ(outcome.err, "");
}

TEST(Generate, RowsInOrderWithTheirSamplesAndKeys) {
    Scratch at;
    std::string model = make_model(at);
    write_file(at("rows.jsonl"),
               "{\"prompt\": \"+52>71\", \"id\": \"a\"}\n"
               "{\"prompt_ids\": [14, 10, 5, 2, 12, 7, 1], \"id\": \"b\"}\n"
               "{\"prompt_ids\": [14], \"id\": \"c\", \"note\": {\"x\": null}}\n");
    Words words = {"generate",
                   model,
                   "data.path=" + at("rows.jsonl"),
                   "sample.n=3",
                   "out=" + at("out.jsonl"),
                   "sample.max_new_tokens=9",
                   "sample.seed=4"};
    Outcome outcome = rlhf(words);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_EQ(outcome.out, "");
    std::vector<Json> rows = rows_of(at("out.jsonl"));
    ASSERT_EQ(rows.size(), 9u);
    for (size_t i = 0; i < 9; ++i) {
        EXPECT_EQ(rows[i]["id"], std::string(1, (char)('a' + i / 3)));
        size_t length = rows[i]["completion_ids"].size();
        EXPECT_EQ(rows[i]["logp"].size(), length);
        bool stopped = length > 0 && rows[i]["completion_ids"][length - 1] == 13;
        EXPECT_EQ(rows[i]["finish"], stopped ? "stop" : "length");
        EXPECT_TRUE(stopped || length == 9);
    }
    EXPECT_EQ(rows[8]["note"], Json({{"x", nullptr}}));
    EXPECT_EQ(rows[0]["prompt_ids"], rows[3]["prompt_ids"]); // the text gets its <bos>
    // the same bytes again, whatever the number of sequences in flight
    words.push_back("sample.batch=2");
    std::string before = read_file(at("out.jsonl"));
    ASSERT_EQ(rlhf(words).status, 0);
    std::vector<Json> again = rows_of(at("out.jsonl"));
    for (size_t i = 0; i < 9; ++i) EXPECT_EQ(rows[i]["completion_ids"], again[i]["completion_ids"]);
}

TEST(Logprob, AgreesWithWhatGenerateSaidOfItsTokens) {
    Scratch at;
    std::string model = make_model(at);
    write_file(at("prompts.jsonl"), "{\"prompt\": \"+52>71\"}\n{\"prompt\": \"-1132>40\"}\n");
    for (const char* temperature : {"1", "0.7"}) {
        Words words = {"generate",
                       model,
                       "sample.n=4",
                       "data.path=" + at("prompts.jsonl"),
                       "out=" + at("samples.jsonl"),
                       "sample.temperature=" + std::string(temperature)};
        ASSERT_EQ(rlhf(words).status, 0);
        Outcome outcome = rlhf({"logprob", model, "data.path=" + at("samples.jsonl"),
                                "sample.temperature=" + std::string(temperature), "out=-"});
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        write_file(at("scored.jsonl"), outcome.out); // nothing else stands on standard output
        std::vector<Json> samples = rows_of(at("samples.jsonl")),
                          scored = rows_of(at("scored.jsonl"));
        ASSERT_EQ(samples.size(), scored.size());
        for (size_t i = 0; i < samples.size(); ++i) {
            EXPECT_EQ(scored[i]["first"], samples[i]["prompt_ids"].size());
            ASSERT_EQ(scored[i]["logp"].size(), samples[i]["logp"].size());
            for (size_t t = 0; t < samples[i]["logp"].size(); ++t) {
                // equal bits with a batch-invariant GEMM, some rounding errors of f32 without
                EXPECT_NEAR(scored[i]["logp"][t], samples[i]["logp"][t], 1e-5);
                EXPECT_GE(scored[i]["entropy"][t], 0);
                EXPECT_LE(scored[i]["entropy"][t], std::log(16) + 1e-5);
            }
        }
    }
}

TEST(Logprob, TakesEveryPositionFromFirstOn) {
    Scratch at;
    std::string model = make_model(at);
    write_file(at("rows.jsonl"), "{\"ids\": [14, 10, 5, 2, 12], \"id\": 7}\n"
                                 "{\"ids\": [14, 10, 5, 2, 12], \"first\": 3}\n"
                                 "{\"ids\": [14, 10, 5, 2, 12], \"first\": 5}\n"
                                 "{\"ids\": [3]}\n");
    ASSERT_EQ(rlhf({"logprob", model, "data.path=" + at("rows.jsonl"), "out=" + at("out.jsonl"),
                    "compute.dtype=f64"})
                  .status,
              0);
    std::vector<Json> rows = rows_of(at("out.jsonl"));
    ASSERT_EQ(rows.size(), 4u);
    EXPECT_EQ(rows[0]["logp"].size(), 4u);
    EXPECT_EQ(rows[0]["id"], 7);
    ASSERT_EQ(rows[1]["logp"].size(), 2u);
    EXPECT_EQ(rows[1]["logp"][0], rows[0]["logp"][2]);
    EXPECT_EQ(rows[2]["logp"], Json::array());
    EXPECT_EQ(rows[3]["logp"], Json::array());
    EXPECT_EQ(rows[3]["entropy"], Json::array());
}

TEST(Generate, BadInputIsRefusedAndWritesNothing) {
    Scratch at;
    std::string model = make_model(at), out = "out=" + at("out.jsonl");
    std::vector<int> ids(40, 1); // the context is 40: no room for a token
    write_file(at("long.jsonl"), Json({{"prompt_ids", ids}}).dump() + "\n");
    write_file(at("none.jsonl"), "\n");
    expect_refusal(rlhf({"generate", model, "data.path=" + at("long.jsonl"), out}),
                   {"long.jsonl:1", "40"});
    expect_refusal(rlhf({"generate", model, "data.path=" + at("none.jsonl"), out}), {"none.jsonl"});
    expect_refusal(rlhf({"generate", model, "data.path=" + at("absent.jsonl"), out}),
                   {"absent.jsonl"});
    expect_refusal(rlhf({"generate", model}), {"prompt=TEXT", "data.path"});
    expect_refusal(rlhf({"generate", "prompt=1"}), {"model.path"});
    expect_refusal(rlhf({"logprob", model, "data.path=" + at("none.jsonl"), out}), {"none.jsonl"});
    write_file(at("first.jsonl"), "{\"ids\": [1, 2]}\n{\"ids\": [1, 2], \"first\": 3}\n");
    expect_refusal(rlhf({"logprob", model, "data.path=" + at("first.jsonl"), out}),
                   {"first.jsonl:2", "first"});
    EXPECT_FALSE(file_exists(at("out.jsonl")));
    write_file(at("good.jsonl"), "{\"prompt\": \"+52>71\"}\n");
    expect_refusal(rlhf({"generate", model, "data.path=" + at("good.jsonl"),
                         "out=" + at("nowhere/out.jsonl")}),
                   {"nowhere/out.jsonl"});
}

TEST(Help, StartsAtOnceAndListsEveryKey) {
    double best = 1;
    for (int i = 0; i < 40 && best >= 0.05;
         ++i) { // other work on the machine may delay single starts
        auto start = std::chrono::steady_clock::now();
        ASSERT_EQ(rlhf({"help"}).status, 0);
        best = std::min(
            best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
#ifndef __SANITIZE_ADDRESS__ // whose own start takes longer
    EXPECT_LT(best, 0.05);   // seconds
#endif
    Outcome help = rlhf({"help", "sft"});
    for (const char* key : {"model.path", "run.resume", "run.save_every", "optim.weight_decay",
                            "train.tokens_per_micro_batch", "data.template", "compute.gemm"})
        EXPECT_TRUE(contains(help.out, key)) << key;
}
