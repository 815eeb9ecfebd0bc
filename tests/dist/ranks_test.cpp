// Runs of several processes as a user starts them: what they write is what one process writes.

#include "dist/mpirun.h"

#include "dist/chooser.h"

#include <set>

namespace {

const Words few_steps =
    tiny_sft + Words{"train.steps=4", "train.rows_per_step=7", "data.eval_rows=5"};

// The policy that the runs start from.
std::string start(const Scratch& at) {
    const Outcome outcome = rlhf(few_steps + Words{"run.dir=" + at("start")});
    EXPECT_EQ(outcome.status, 0) << outcome.err;
    return at("start/checkpoints/000004");
}

// A reward that differs between completions of a policy that knows nothing: its own log-probability.
Words tiny_rl(const Scratch& at, const Words& more = {}) {
    return Words{"rl",
                 "model.path=" + at("start"),
                 "task.name=arithmetic",
                 "task.arithmetic.steps_max=2",
                 "credit=[{\"source\":\"self\",\"to\":\"reward\",\"pool\":\"mean\"}]",
                 "sample.n=3",
                 "sample.max_new_tokens=12",
                 "train.steps=3",
                 "train.prompts_per_step=5",
                 "train.eval_problems=4",
                 "optim.lr=0.01",
                 "compute.threads=1"} +
           more;
}

// Of metrics.jsonl, without what is measured by the clock and what says how many ranks there were.
std::string numbers_of(const std::string& run) {
    std::string all;
    for (Json row : rows_of(run + "/metrics.jsonl")) {
        for (const char* name : {"step_seconds", "seconds", "decode_tokens_per_s", "tokens_per_s",
                                 "ranks", "idle_seconds", "layout", "predicted_seconds"})
            row.erase(name);
        all += row.dump() + "\n";
    }
    return all;
}

std::string newest(const std::string& run) {
    const std::string checkpoints = run + "/checkpoints";
    return join_path(checkpoints, list_directory(checkpoints).back());
}

std::string saved(const std::string& run) { return read_file(newest(run) + "/model.safetensors"); }

void expect_the_same_for_any_number_of_ranks(const Words& words, const Scratch& at,
                                             const std::string& name,
                                             std::initializer_list<int> numbers,
                                             const std::string& environment = "") {
    const std::string one = at(name + "1");
    const Outcome alone = rlhf(words + Words{"run.dir=" + one, "dist.determinism=2"});
    ASSERT_EQ(alone.status, 0) << alone.err;
    for (int ranks : numbers) {
        const std::string many = at(name + std::to_string(ranks));
        const Words all = words + Words{"run.dir=" + many, "dist.determinism=2"};
        const Outcome together = run_line(mpirun_line(ranks, all, environment), at("mpirun."));
        ASSERT_EQ(together.status, 0) << together.err;
        EXPECT_EQ(numbers_of(many), numbers_of(one)) << name << ", ranks: " << ranks;
        EXPECT_TRUE(saved(many) == saved(one)) << name << ", ranks: " << ranks;
    }
}

} // namespace

TEST(Ranks, GrpoHasTheSameBitsOnOneTwoAndFour) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    expect_the_same_for_any_number_of_ranks(tiny_rl(at), at, "grpo", {2, 4});
    EXPECT_EQ(read_file(at("grpo4/rollouts/000003.jsonl")),
              read_file(at("grpo1/rollouts/000003.jsonl")));
    // It is not the same because nothing is learnt.
    std::set<std::string> weights;
    for (const Json& row : rows_of(at("grpo4/metrics.jsonl")))
        weights.insert(row["fingerprint"].get<std::string>());
    EXPECT_EQ(weights.size(), 3u);
    EXPECT_EQ(rows_of(at("grpo4/metrics.jsonl"))[0]["ranks"], 4);
}

TEST(Ranks, WithoutTheKeyTheSumsDifferByRoundingAlone) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    ASSERT_EQ(rlhf(tiny_rl(at, {"run.dir=" + at("one")})).status, 0);
    const Outcome two = rlhf_on(2, at, tiny_rl(at, {"run.dir=" + at("two")}));
    const Outcome again = rlhf_on(2, at, tiny_rl(at, {"run.dir=" + at("again")}));
    ASSERT_EQ(two.status, 0) << two.err;
    const auto one_rows = rows_of(at("one/metrics.jsonl")), rows = rows_of(at("two/metrics.jsonl"));
    ASSERT_EQ(rows.size(), one_rows.size());
    for (size_t i = 0; i < rows.size(); ++i)
        for (const char* name : {"loss", "grad_norm", "reward_mean"})
            EXPECT_NEAR(rows[i][name].get<double>(), one_rows[i][name].get<double>(), 1e-5)
                << name << ", step " << i + 1;
    EXPECT_EQ(numbers_of(at("again")), numbers_of(at("two")));
    EXPECT_TRUE(saved(at("again")) == saved(at("two")));
    EXPECT_FALSE(saved(at("two")) == saved(at("one"))); // which is what the key is for
}

TEST(Ranks, TheFirstAloneSpeaks) {
    NEEDS_MPI();
    Scratch at;
    const Outcome outcome = rlhf_on(3, at, few_steps + Words{"run.dir=" + at("run")});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    const std::string words = "the model is ";
    const size_t first = outcome.out.find(words);
    EXPECT_NE(first, std::string::npos);
    EXPECT_EQ(outcome.out.find(words, first + 1), std::string::npos) << outcome.out;
}

TEST(Ranks, OneFaultOfTheInputIsToldOnce) {
    NEEDS_MPI();
    Scratch at;
    const Outcome outcome = rlhf_on(3, at, Words{"rl", "task.name=arithmetic", "sample.m=1"});
    EXPECT_EQ(outcome.status, 1);
    const std::string words = "error: ";
    const size_t first = outcome.err.find(words);
    ASSERT_NE(first, std::string::npos) << outcome.err;
    EXPECT_EQ(outcome.err.find(words, first + 1), std::string::npos) << outcome.err;
    const Outcome help = rlhf_on(2, at, Words{"help"});
    EXPECT_EQ(help.status, 1);
    EXPECT_TRUE(contains(help.err, "is the work of one")) << help.err;
}

TEST(RanksSlow, EightRanksOfWhichSomeHaveNothingToDo) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    // 5 prompts, 8 ranks
    expect_the_same_for_any_number_of_ranks(tiny_rl(at), at, "grpo", {8});
    expect_the_same_for_any_number_of_ranks(few_steps, at, "sft", {2, 3, 4, 8});
}

// Which rank writes and trains what is drawn by lot, anew in each step.
TEST(RanksSlow, WhoeverGetsWhichPrompts) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    expect_the_same_for_any_number_of_ranks(tiny_rl(at), at, "grpo", {2, 4}, "RLHF_DEAL_BLINDLY=1");
    expect_the_same_for_any_number_of_ranks(tiny_rl(at, {"algo.preset=ppo", "train.epochs=2"}), at,
                                            "ppo", {3}, "RLHF_DEAL_BLINDLY=2");
    expect_the_same_for_any_number_of_ranks(few_steps, at, "sft", {3}, "RLHF_DEAL_BLINDLY=3");
}

TEST(RanksSlow, PpoWithItsCritic) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    const Words ppo = {"algo.preset=ppo", "train.minibatches=2", "train.epochs=2"};
    expect_the_same_for_any_number_of_ranks(tiny_rl(at, ppo), at, "ppo", {2, 4, 8});
    EXPECT_TRUE(read_file(newest(at("ppo8")) + "/trainer/critic/model.safetensors") ==
                read_file(newest(at("ppo1")) + "/trainer/critic/model.safetensors"));
    const Words shared = {"algo.preset=ppo", "critic.shared=true", "algo.kl=k3",
                          "algo.kl_coef=0.1"};
    expect_the_same_for_any_number_of_ranks(tiny_rl(at, shared), at, "shared", {3});
}

TEST(RanksSlow, CapoWithAJudge) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    const Words capo = {"algo.preset=capo", "credit=[{\"source\":\"capo\",\"model\":\"oracle\","
                                            "\"precision\":0.9,\"recall\":0.8}]"};
    expect_the_same_for_any_number_of_ranks(tiny_rl(at, capo), at, "capo", {2, 4, 8});
    EXPECT_GT(rows_of(at("capo1/metrics.jsonl"))[0]["grad_norm"], 0);
}

TEST(RanksSlow, DynamicSamplingHasOneQuotaForAllRanks) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    // Of a task that is hard for this policy hardly a prompt teaches anything: every round is asked.
    const Words dynamic = {"algo.preset=dapo", "train.max_rounds=3", "dist.oversample=1.5",
                           "credit=[{\"source\":\"rule\"}]", "task.arithmetic.steps_max=1"};
    expect_the_same_for_any_number_of_ranks(tiny_rl(at, dynamic), at, "dapo", {3});
    for (const Json& row : rows_of(at("dapo1/metrics.jsonl")))
        EXPECT_EQ(row["kept_rows"].get<int>() + row["dropped_rows"].get<int>(), 5 * 3);
}

TEST(RanksSlow, PairsRewardAndEval) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    // A policy that is half right would need minutes: what is right here is told by an easy rule.
    const Words model = {"model.path=" + at("start"), "task.name=arithmetic",
                         "task.arithmetic.steps_max=1", "compute.threads=1"};
    const Words eval = Words{"eval", "problems=20", "sample.n=3", "format=json"} + model;
    std::string text;
    for (int ranks : {0, 1, 3}) {
        const Outcome outcome = rlhf_on(ranks, at, eval + Words{"out=" + at("rows")});
        ASSERT_EQ(outcome.status, 0) << outcome.err;
        const std::string rows = outcome.out + read_file(at("rows"));
        if (text.empty()) text = rows;
        EXPECT_EQ(rows, text) << ranks;
    }
    std::string pairs;
    for (int i = 0; i < 12; ++i)
        pairs += Json({{"prompt_ids", {1, 2 + i % 5, 3}},
                       {"chosen_ids", {4 + i % 3, 5, 2}},
                       {"rejected_ids", {6, 7 + i % 4}}})
                     .dump() +
                 "\n";
    write_file(at("pairs"), pairs);
    for (const char* kind : {"orm", "qrm", "dpo"}) {
        const Words reward = {"reward",
                              std::string("reward.kind=") + kind,
                              "train.steps=3",
                              "train.rows_per_step=5",
                              "data.train=" + at("pairs"),
                              "data.eval=" + at("pairs"),
                              "optim.lr=0.01",
                              "compute.threads=1",
                              "model.path=" + at("start")};
        expect_the_same_for_any_number_of_ranks(reward, at, kind, {2, 4, 8});
    }
}

// ---- placement of roles -------------------------------------------------------------------------

// The judge is a model that knows nothing; what it writes goes by its own seeds, and its failures count.
static Words with_a_judge(const Scratch& at, const Words& more = {}) {
    write_file(at("judge.jinja"),
               "{{ question }}{% for segment in segments %}{{ segment }}{% endfor %}");
    return tiny_rl(at,
                   Words{"credit=[{\"source\":\"capo\",\"model\":\"" + at("start") +
                             "\",\"template\":\"" + at("judge.jinja") +
                             "\",\"critiques\":2,"
                             "\"temperature\":1,\"max_new_tokens\":20},{\"source\":\"self\",\"to\":"
                             "\"reward\",\"pool\":\"mean\"}]",
                         "algo.preset=capo"} +
                       more);
}

TEST(Ranks, WhoGeneratesAndWhoJudgesChangesNothingThatComesOut) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    const Outcome alone = rlhf(with_a_judge(at, {"run.dir=" + at("one"), "dist.determinism=2"}));
    ASSERT_EQ(alone.status, 0) << alone.err;
    EXPECT_GT(rows_of(at("one/metrics.jsonl"))[0]["judge_tokens_capo"], 0);
    for (const char* placement : {"share", "split", "fluid", "auto"}) {
        const std::string run = at(placement);
        const Outcome many =
            rlhf_on(3, at,
                    with_a_judge(at, {"run.dir=" + run, "dist.determinism=2", "dist.tickets=true",
                                      std::string("dist.placement=") + placement}));
        ASSERT_EQ(many.status, 0) << placement << many.err;
        EXPECT_EQ(numbers_of(run), numbers_of(at("one"))) << placement;
        EXPECT_TRUE(saved(run) == saved(at("one"))) << placement;
        for (const Json& row : rows_of(run + "/metrics.jsonl")) {
            const std::string layout = row["layout"];
            if (placement != std::string("auto")) {
                EXPECT_EQ(layout.rfind(placement, 0), 0u) << layout;
            }
        }
        // Who does what is seen: with a split of three, the first generates and two judge.
        int judges = 0;
        for (int rank = 0; rank < 3; ++rank) {
            std::set<std::string> did;
            double end = 0;
            for (const Json& row : rows_of(run + format("/timeline/%d.jsonl", rank))) {
                did.insert(row["what"].get<std::string>());
                EXPECT_LT(row["begin"], row["end"]);
                EXPECT_GE(row["begin"].get<double>(), end - 1e-6) << row.dump();
                end = row["end"];
            }
            EXPECT_TRUE(did.count("train"));
            if (placement == std::string("split")) {
                EXPECT_EQ(did.count("generate"), rank == 0);
                // On a busy machine one of the two may come too late every time.
                EXPECT_LE(did.count("judge"), rank > 0 ? 1u : 0u);
                judges += (int)did.count("judge");
            }
        }
        if (placement == std::string("split")) {
            EXPECT_GE(judges, 1);
        }
    }
    const Outcome report = rlhf({"report", at("fluid"), "out=-"});
    ASSERT_EQ(report.status, 0) << report.err;
    for (const char* words : {"What the ranks did", "rank 2", "generate",
                              "from the first step to "
                              "the last: fluid."})
        EXPECT_TRUE(contains(report.out, words)) << words;
    // The chooser's decisions, from what was written beside them.
    int decisions = 0;
    for (const Json& row : rows_of(at("auto/placement.jsonl"))) {
        Chooser chooser;
        EXPECT_EQ(row.contains("began"), decisions == 0);
        if (decisions == 0) {
            const Json& began = row["began"];
            const Decision first =
                chooser.begin(Measured::read(began["expected"]), Demand::read(began["demand"]));
            EXPECT_EQ(first.json().dump(), began["decision"].dump());
            EXPECT_EQ(chooser.state(), row["chooser"]);
        }
        chooser.restore(row["chooser"]);
        const Decision again = chooser.decide(Measured::read(row["measured"]),
                                              Demand::read(row["demand"]), row["seconds"]);
        EXPECT_EQ(again.json().dump(), row["decision"].dump());
        ++decisions;
    }
    EXPECT_EQ(decisions, 3);
}

TEST(RanksSlow, DynamicSamplingWithAJudgeOnOtherRanks) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    const Words dynamic = {"train.max_rounds=3", "dist.oversample=1.5", "dist.determinism=2"};
    const Outcome alone = rlhf(with_a_judge(at, dynamic + Words{"run.dir=" + at("one")}));
    ASSERT_EQ(alone.status, 0) << alone.err;
    for (const char* placement : {"split", "fluid"}) {
        const Outcome many =
            rlhf_on(2, at,
                    with_a_judge(at, dynamic + Words{"run.dir=" + at(placement),
                                                     std::string("dist.placement=") + placement}));
        ASSERT_EQ(many.status, 0) << many.err;
        EXPECT_EQ(numbers_of(at(placement)), numbers_of(at("one"))) << placement;
    }
}

// Without the integer sums a number of ranks has bits of its own, and keeps them: through a death behind
// the first checkpoint, a start from it, and whoever judged what.
TEST(RanksSlow, ARunThatDiedEndsWithTheBitsOfItsNumberOfRanks) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    const Words sft = few_steps + Words{"optim.lr=0.01"};
    const Words grpo = tiny_rl(at, {"train.steps=4"});
    const Words fluid = with_a_judge(at, {"train.steps=4", "dist.placement=fluid"});
    const Words ppo = tiny_rl(at, {"train.steps=4", "algo.preset=ppo"});
    int number = 0;
    for (const Words& command : {sft, grpo, fluid, ppo}) {
        const Words words =
            command + Words{"dist.determinism=1", "run.save_every=1", "run.resume=true"};
        const std::string whole = at(format("whole%d", number)),
                          died = at(format("died%d", number));
        ++number;
        ASSERT_EQ(rlhf_on(2, at, words + Words{"run.dir=" + whole}).status, 0);
        const Words again = words + Words{"run.dir=" + died};
        const Outcome killed = run_line(mpirun_line(2, again, "RLHF_DIE_AT_SAVE=8"), at("killed."));
        EXPECT_EQ(killed.status, 137) << killed.err;
        const Words kept = list_directory(died + "/checkpoints");
        EXPECT_TRUE(!kept.empty() && kept.back() < "000004") << kept.size();
        const Outcome more = rlhf_on(2, at, again);
        ASSERT_EQ(more.status, 0) << more.err;
        EXPECT_TRUE(saved(died) == saved(whole)) << command[0] << " " << number;
        EXPECT_EQ(numbers_of(died), numbers_of(whole));
    }
}

// Each machine has its own tickets; nobody's text is another one for it.
TEST(RanksSlow, TicketsOfSeveralMachines) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    ASSERT_EQ(rlhf(with_a_judge(at, {"run.dir=" + at("one"), "dist.determinism=2"})).status, 0);
    for (const char* placement : {"share", "split", "fluid"}) {
        const std::string run = at(placement);
        const Outcome many =
            run_line(mpirun_line(4,
                                 with_a_judge(at, {"run.dir=" + run, "dist.determinism=2",
                                                   "dist.tickets=true",
                                                   std::string("dist.placement=") + placement}),
                                 "RLHF_RANKS_PER_MACHINE=2"),
                     at("mpirun."));
        ASSERT_EQ(many.status, 0) << placement << many.err;
        EXPECT_EQ(numbers_of(run), numbers_of(at("one"))) << placement;
        EXPECT_TRUE(saved(run) == saved(at("one"))) << placement;
    }
}

// What a step had beyond its quota is the next one's, in a run that goes on, too.
TEST(RanksSlow, SurplusIsKeptForAStep) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    // A digit: a policy that knows nothing is right now and then.
    std::string rows;
    for (int i = 0; i < 200; ++i)
        rows += format("{\"prompt\": \"+1%d\", \"answer\": \"%d\"}\n", i % 10, i % 10);
    write_file(at("rows"), rows);
    write_file(at("held_out"), "{\"prompt\": \"+21\", \"answer\": \"1\"}\n");
    const int prompts = 3;
    const Words words = tiny_rl(
        at, {"algo.preset=dapo", "train.max_rounds=3", "dist.oversample=3", "dist.surplus=keep",
             "task.name=jsonl", "task.data=" + at("rows"), "task.eval_data=" + at("held_out"),
             "credit=[{\"source\":\"rule\"}]", "train.prompts_per_step=3", "sample.n=6",
             "sample.max_new_tokens=2", "train.eval_problems=1", "train.steps=6",
             "run.save_every=1", "run.resume=true", "dist.determinism=2"});
    ASSERT_EQ(rlhf(words + Words{"run.dir=" + at("one")}).status, 0);
    int carried = 0, surplus = 0;
    const auto steps = rows_of(at("one/metrics.jsonl"));
    for (size_t i = 0; i < steps.size(); ++i) {
        const int now_carried = steps[i].value("carried_groups", 0);
        EXPECT_EQ(now_carried, std::min(surplus, prompts)) << i;
        surplus = steps[i].value("surplus_groups", 0);
        EXPECT_EQ(steps[i]["doctor"].dump(), "[]") << i;
        carried += now_carried;
    }
    EXPECT_GT(carried, 0);
    const Words more = words + Words{"run.dir=" + at("many")};
    EXPECT_EQ(run_line(mpirun_line(2, more, "RLHF_DIE_AT_SAVE=16"), at("killed.")).status, 137);
    EXPECT_FALSE(list_directory(at("many/checkpoints")).empty());
    ASSERT_EQ(rlhf_on(3, at, more).status, 0);
    EXPECT_EQ(numbers_of(at("many")), numbers_of(at("one")));
    EXPECT_TRUE(saved(at("many")) == saved(at("one")));
    const Outcome dropped = rlhf(words + Words{"run.dir=" + at("drop"), "dist.surplus=drop"});
    ASSERT_EQ(dropped.status, 0);
    EXPECT_FALSE(saved(at("drop")) == saved(at("one")));
}

// Relative to each rank's own directory there are two judges that differ by one bit.
TEST(RanksSlow, JudgesThatDifferAreAnError) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    for (const char* rank : {"0", "1"}) {
        make_directories(at(std::string("d") + rank));
        std::system(("cp -r " + in_quotes(at("start/checkpoints/000004")) + " " +
                     in_quotes(at(std::string("d") + rank + "/judge")))
                        .c_str());
    }
    const std::string file = at("d1/judge/model.safetensors");
    std::string bytes = read_file(file);
    bytes[bytes.size() - 9] ^= 1;
    write_file(file, bytes);
    Words words = with_a_judge(at, {"run.dir=" + at("run")});
    for (std::string& word : words) {
        const std::string judge = "\"model\":\"" + at("start") + "\"";
        if (const size_t place = word.find(judge); place != std::string::npos)
            word.replace(place, judge.size(), "\"model\":\"judge\"");
    }
    const std::string enter = "here=$PWD; cd " + in_quotes(at("d")) +
                              "$OMPI_COMM_WORLD_RANK; set -- \"$@\"; "
                              "case $0 in /*) ;; *) exec \"$here/$0\" \"$@\" ;; esac";
    const Outcome outcome = run_line(mpirun_line(2, words, "", 120, enter), at("mpirun."));
    EXPECT_NE(outcome.status, 0);
    EXPECT_TRUE(contains(outcome.err, "the weights of the model that judges are not the same"))
        << outcome.err;
}

TEST(Ranks, APlacementWithoutAJudgeIsAnError) {
    NEEDS_MPI();
    Scratch at;
    start(at);
    const Outcome outcome =
        rlhf_on(2, at, tiny_rl(at, {"run.dir=" + at("run"), "dist.placement=split"}));
    EXPECT_EQ(outcome.status, 1);
    EXPECT_TRUE(contains(outcome.err, "needs a model that judges")) << outcome.err;
}
