// report and explain as a user calls them, on a small stored run (tests/golden/run: three steps of GRPO on
// arithmetic with KL and token selection; its weights are left out).

#include "command.h"

static const char* const golden = "tests/golden/run";

static void expect_self_contained(const std::string& html) {
    for (const char* word : {"<script", "http:", "https:", "src=", "@import", "Mnan", "Lnan",
                             " nan ", ">nan", "\"nan"})
        EXPECT_FALSE(contains(html, word)) << word;
    EXPECT_TRUE(contains(html, "</html>"));
}

// A copy that a test may change.
static void copy_run(const std::string& to) {
    for (const char* part : {"checkpoints/000003", "rollouts"}) {
        make_directories(join_path(to, part));
        for (const std::string& name : list_directory(join_path(golden, part)))
            write_file(join_path(to, join_path(part, name)),
                       read_file(join_path(golden, join_path(part, name))));
    }
    for (const char* name : {"config.json", "metrics.jsonl"})
        write_file(join_path(to, name), read_file(join_path(golden, name)));
}

static void replace(const std::string& path, const std::string& from, const std::string& to) {
    std::string text = read_file(path);
    size_t at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    write_file(path, text.replace(at, from.size(), to));
}

TEST(ReportCommand, ShowsTheRun) {
    Outcome outcome = rlhf({"report", golden, "out=-"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    expect_self_contained(outcome.out);
    for (const char* part :
         {"pass@1", "Gradient norm", "k3", "No law was broken", "group advantages sum to 0",
          "algo.clip_eps_high", "the last result is wrong", "decode"})
        EXPECT_TRUE(contains(outcome.out, part)) << part;
}

TEST(ReportCommand, WritesIntoTheRunAndEscapesHostileText) {
    Scratch scratch;
    copy_run(scratch.path);
    const std::string hostile = "</title><script>alert(1)</script><img src=x onerror=alert(2)>";
    replace(scratch("rollouts/000003.jsonl"), "\"text\":\"", "\"text\":\"" + hostile);
    replace(scratch("rollouts/000003.jsonl"), "\"reason\":\"", "\"reason\":\"" + hostile);
    replace(scratch("config.json"), "\"golden_start\"", "\"" + hostile + "\"");
    for (const char* command : {"report", "explain"}) {
        Outcome outcome = rlhf({command, scratch.path});
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        std::string html = read_file(scratch(std::string(command) + ".html"));
        EXPECT_TRUE(contains(html, "&lt;script&gt;alert(1)"));
        EXPECT_FALSE(contains(html, "<script"));
        EXPECT_FALSE(contains(html, "<img"));
    }
}

TEST(ReportCommand, ShowsARunThatGoesOn) {
    Scratch scratch;
    copy_run(scratch.path);
    remove_tree(scratch("checkpoints")), remove_tree(scratch("rollouts"));
    std::string metrics = read_file(scratch("metrics.jsonl"));
    write_file(scratch("metrics.jsonl"), metrics.substr(0, metrics.size() - 20)); // a line cut off
    Outcome outcome = rlhf({"report", scratch.path, "out=-"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    EXPECT_TRUE(contains(outcome.out, "2 of 3"));
    expect_refusal(rlhf({"explain", scratch.path}), {"rollouts", "train.store_every"});
}

TEST(ReportCommand, ShowsBrokenLaws) {
    Scratch scratch;
    copy_run(scratch.path);
    replace(scratch("metrics.jsonl"), "\"doctor\":[]",
            "\"doctor\":[\"EOS has weight: row 3 lost it\"]");
    Outcome outcome = rlhf({"report", scratch.path, "out=-"});
    EXPECT_TRUE(contains(outcome.out, "Laws were broken"));
    EXPECT_TRUE(contains(outcome.out, "broken in step 1"));
}

// Of an sft run that was continued: the page, and an event file with every step once.
TEST(ReportCommand, SftRunWithItsEventFile) {
    Scratch scratch;
    std::vector<std::string> words = {"sft",
                                      "configs/sft_arithmetic.json",
                                      "run.dir=" + scratch("run"),
                                      "tiny.layers=1",
                                      "train.goal_loss=0",
                                      "tiny.width=16",
                                      "train.rows_per_step=2",
                                      "run.save_every=2",
                                      "run.resume=true"};
    auto with_steps = [&](const char* steps) {
        std::vector<std::string> all = words;
        all.push_back(steps);
        return rlhf(all);
    };
    ASSERT_EQ(with_steps("train.steps=2").status, 0);
    Outcome more = with_steps("train.steps=4");
    ASSERT_EQ(more.status, 0) << more.err;
    std::string events;
    for (const std::string& name : list_directory(scratch("run")))
        if (contains(name, "events.out.tfevents."))
            events += read_file(join_path(scratch("run"), name));
    int steps = 0;
    for (size_t at = 0; (at = events.find("loss_nats_per_token", at)) != std::string::npos; ++at)
        steps += events[at - 2] ==
                 '\n'; // 0a 13: the tag itself, not the end of eval_loss_nats_per_token
    EXPECT_EQ(steps, 4);
    Outcome page = rlhf({"report", scratch("run"), "out=-"});
    ASSERT_EQ(page.status, 0) << page.err;
    EXPECT_TRUE(contains(page.out, "held out"));
    EXPECT_FALSE(contains(page.out, "Reward"));
    expect_refusal(rlhf({"explain", scratch("run")}), {"no rl run"});
}

TEST(ReportCommand, Refusals) {
    Scratch scratch;
    expect_refusal(rlhf({"report"}), {"run directory is missing"});
    expect_refusal(rlhf({"report", scratch("nowhere")}), {"nowhere"});
    expect_refusal(rlhf({"report", scratch.path}), {"not a run directory"});
    expect_refusal(rlhf({"report", golden, "outt=x"}), {"outt", "\"out\""});
}

TEST(ExplainCommand, ShowsTokensWithTheirNumbers) {
    Outcome outcome = rlhf({"explain", golden, "step=1", "prompt_id=0", "colour=entropy", "out=-"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    expect_self_contained(outcome.out);
    for (const char* part : {"Step 1", "Prompt 0", "sample 3", "class=\"t x\"", "dropped: w = 0",
                             "dL/dlogp = ", "&lt;eos&gt;", "r in [0.8, 1.28]: yes", "k3 = "})
        EXPECT_TRUE(contains(outcome.out, part)) << part;
    EXPECT_FALSE(contains(outcome.out, "Prompt 1"));
    // The gradient is that of the command `loss` on the same rows.
    Scratch scratch;
    std::string rows = std::string(golden) + "/rollouts/000001.jsonl";
    write_file(scratch("algo.json"),
               "{\"algo\": {\"preset\": \"grpo\", \"kl\": \"k3\", \"kl_coef\": 0.02, "
               "\"clip_eps_high\": 0.28}, \"select\": {\"keep_tokens\": [0.6, 0.6]}}");
    ASSERT_EQ(
        rlhf({"loss", scratch("algo.json"), "rollouts=" + rows, "out=" + scratch("grads")}).status,
        0);
    int compared = 0;
    for (const Json& row : rows_of(scratch("grads")))
        if (row["prompt_id"] == 0)
            for (const Json& d : row["dlogp"]) {
                EXPECT_TRUE(contains(outcome.out, format("dL/dlogp = %.5g\"", d.get<double>())));
                ++compared;
            }
    EXPECT_GT(compared, 8);
}

TEST(ExplainCommand, Refusals) {
    expect_refusal(rlhf({"explain", golden, "step=9"}), {"step 9", "from 1 to 3"});
    expect_refusal(rlhf({"explain", golden, "prompt_id=5"}), {"prompt_id 5"});
    expect_refusal(rlhf({"explain", golden, "colour=red"}), {"colour", "entropy"});
}
