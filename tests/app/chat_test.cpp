// rlhf chat as lines of a pipe, on a model that knows nothing.

#include "command.h"

namespace {

// An untrained model of mini_wise's vocabulary, with a chat template.
std::string make_model_directory(const Scratch& at, int context) {
    const Outcome made =
        rlhf({"sft", "task.name=mini_wise", "tiny.layers=1", "tiny.width=16", "tiny.heads=2",
              "tiny.feed_forward=16", "tiny.context=400", "train.steps=1", "train.rows_per_step=1",
              "optim.lr=0", "data.eval_rows=1", "run.dir=" + at("run")});
    EXPECT_EQ(made.status, 0) << made.err;
    const std::string directory = at("run") + "/checkpoints/000001";
    Json config = read_json(directory + "/config.json");
    config["max_position_embeddings"] = context;
    write_file(directory + "/config.json", config.dump());
    write_file(
        directory + "/chat_template.jinja",
        "{% for m in messages %}{% if m.role == 'user' %} hello {% endif %}{{ m.content }} | "
        "{% endfor %}");
    return directory;
}

// The lines go in by standard input.
Outcome talk(const Scratch& at, const std::string& lines, const std::string& arguments) {
    write_file(at("in"), lines);
    const char* named = std::getenv("RLHF");
    const std::string command = std::string(named ? named : "build/rlhf") + " chat " + arguments +
                                " < " + at("in") + " > " + at("out") + " 2> " + at("err");
    const int status = std::system(command.c_str());
    return {WEXITSTATUS(status), read_file(at("out")), read_file(at("err"))};
}

} // namespace

TEST(ChatCommand, EachLineIsAnsweredAndEarlierOnesAreKnown) {
    Scratch at;
    const std::string model = "model.path=" + make_model_directory(at, 400);
    const std::string tail = " sample.max_new_tokens=3 format=json";
    const Outcome outcome =
        talk(at, "the price\n\n/clear\nthe price\nand the age ?\n/exit\nmore\n", model + tail);
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const std::vector<Json> rows = rows_of(at("out"));
    ASSERT_EQ(rows.size(), 3u);
    EXPECT_EQ(rows[0]["user"], "the price");
    EXPECT_EQ(rows[0]["finish"], "length");
    EXPECT_EQ(rows[0]["new_tokens"], 3);
    EXPECT_EQ(rows[1]["prompt_tokens"], rows[0]["prompt_tokens"]); // nothing is left of before
    EXPECT_GT(rows[2]["prompt_tokens"], rows[1]["prompt_tokens"].get<int>() + 3);
    const Outcome text = talk(at, "the price\nthe age", model + " sample.max_new_tokens=3");
    EXPECT_EQ(text.status, 0);
    EXPECT_EQ(std::count(text.out.begin(), text.out.end(), '\n'), 2) << text.out;
}

TEST(ChatCommand, TheOldestMessagesAreForgottenWhenTheContextIsFull) {
    Scratch at;
    const std::string model = "model.path=" + make_model_directory(at, 48);
    std::string lines;
    for (int i = 0; i < 8; ++i) lines += "the price of the library\n";
    lines += "the price and the hours and the phone and the age of the library and the museum and "
             "the garden\n";
    const Outcome outcome =
        talk(at, lines, model + " sample.max_new_tokens=12 format=json system=price");
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    int forgotten = 0;
    for (const Json& row : rows_of(at("out"))) {
        EXPECT_LE(row["prompt_tokens"].get<int>() + 12, 48);
        forgotten += row["forgotten"].get<int>();
    }
    EXPECT_GT(forgotten, 4);
    EXPECT_TRUE(contains(outcome.err, "forgotten")) << outcome.err;
}

TEST(ChatCommand, MisfitsAreRefused) {
    Scratch at;
    const std::string directory = make_model_directory(at, 48), model = "model.path=" + directory;
    std::string longest;
    for (int i = 0; i < 60; ++i) longest += "price ";
    expect_refusal(talk(at, "the price\n" + longest + "\n", model + " sample.max_new_tokens=2"),
                   {"line 2", "leaves no room"});
    expect_refusal(talk(at, "the \xff\n", model), {"line 1", "UTF-8"});
    expect_refusal(talk(at, "x\n", model + " queries=" + at("in")), {"queries", "documents"});
    remove_tree(directory + "/chat_template.jinja");
    expect_refusal(talk(at, "x\n", model), {"chat template", "data.template=none"});
    EXPECT_EQ(talk(at, "x\n", model + " data.template=none sample.max_new_tokens=2").status, 0);
}

TEST(ChatCommand, TheWizardShowsEveryStage) {
    Scratch at;
    const std::string model = "model.path=" + make_model_directory(at, 400);
    ASSERT_EQ(rlhf({"wise-data", "out=" + at("data"), "turns.train=8", "turns.valid=8",
                    "turns.testseen=8", "turns.testunseen=8", "turns.qa=8", "turns.chat=8",
                    "turns.triples=8", "turns.reading=8"})
                  .status,
              0);
    const Outcome outcome = talk(at, "the price of the Lodora museum\nthe age\n",
                                 model + " documents=" + at("data") +
                                     "/document_line.json sample.max_new_tokens=5 "
                                     "format=json");
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const std::vector<Json> rows = rows_of(at("out"));
    ASSERT_EQ(rows.size(), 2u);
    for (const char* key :
         {"user", "intent", "keyphrases", "search", "action", "passages", "response"})
        EXPECT_TRUE(rows[0].contains(key)) << key;
}
