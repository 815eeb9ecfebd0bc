#include "task/task.h"

#include "testing.h"

#include <set>

static TaskConfig small_config() {
    TaskConfig config;
    config.name = "arithmetic";
    return config;
}

static std::vector<int32_t> ids_of(const std::string& text, bool bos, bool eos) {
    std::vector<int32_t> ids;
    if (bos) ids.push_back(arithmetic::bos);
    for (char c : text) ids.push_back((int32_t)std::string("0123456789+->").find(c));
    if (eos) ids.push_back(arithmetic::eos);
    return ids;
}

// Octal, low digit first: 17 + 25 = 44, 44 - 46 = -2 = 76 modulo 100.
TEST(Arithmetic, WorksOutAChainByHand) {
    ArithmeticConfig config;
    Chain chain{15, {{false, 21}, {true, 38}}};
    EXPECT_EQ(chain_prompt(config, chain), ids_of("+52-64>71", true, false));
    EXPECT_EQ(chain_answer(config, chain, nullptr), ids_of("+5244-6467", false, true));
    EXPECT_EQ(chain_result(config, chain), 62);
    config.digit_order = "high";
    EXPECT_EQ(chain_prompt(config, chain), ids_of("+25-46>17", true, false));
    EXPECT_EQ(chain_answer(config, chain, nullptr), ids_of("+2544-4676", false, true));
}

TEST(Arithmetic, CarriesRunThroughAllDigits) {
    ArithmeticConfig config;
    config.base = 10, config.digits = 4;
    config.digit_order = "high";
    Chain chain{9999, {{false, 1}, {true, 1}, {true, 9998}}};
    EXPECT_EQ(chain_answer(config, chain, nullptr),
              ids_of("+00010000-00019999-99980001", false, true));
}

TEST(Arithmetic, CleanDemonstrationsPassAndEveryStepIsRight) {
    for (const char* order : {"low", "high"})
        for (int base : {2, 7, 10})
            for (int digits : {1, 3}) {
                TaskConfig config = small_config();
                config.arithmetic.base = base, config.arithmetic.digits = digits;
                config.arithmetic.steps_min = 3, config.arithmetic.steps_max = 6;
                config.arithmetic.digit_order = order;
                Task task = make_task(config);
                for (int i = 0; i < 20; ++i) {
                    Problem problem = task.problem(Split::eval, i);
                    EXPECT_EQ(task.verify(problem, problem.demonstration_ids, "").reward, 1);
                    auto steps = task.verify_steps(problem, problem.demonstration_ids);
                    EXPECT_EQ(first_wrong_step(steps), -1);
                    EXPECT_EQ(task.verify(problem, problem.demonstration_ids, "").answer,
                              problem.answer);
                }
            }
}

TEST(Arithmetic, EveryWrongTokenIsSeenInItsStep) {
    Task task = make_task(small_config());
    for (int i = 0; i < 30; ++i) {
        Problem problem = task.problem(Split::train, i);
        const std::vector<int32_t>& right = problem.demonstration_ids;
        for (size_t t = 0; t < right.size(); ++t) {
            std::vector<int32_t> wrong = right;
            wrong[t] = (wrong[t] + 1) % arithmetic::vocabulary;
            EXPECT_EQ(first_wrong_step(task.verify_steps(problem, wrong)), (int)t / 5) << t;
            // the rule looks at the last result and the end only
            bool last = t + 3 >= right.size();
            EXPECT_EQ(task.verify(problem, wrong, "").reward, last ? 0 : 1);
        }
    }
}

TEST(Arithmetic, PartsCoverTheCompletionWhateverItIs) {
    Task task = make_task(small_config());
    Rng rng(3);
    std::set<std::string> reasons;
    for (int i = 0; i < 400; ++i) {
        Problem problem = task.problem(Split::train, i);
        std::vector<int32_t> ids = problem.demonstration_ids;
        if (i % 4 == 1) ids.resize(rng.below((int)ids.size()));
        if (i % 4 == 2) ids.resize(ids.size() + 1 + rng.below(5), 3);
        if (i % 4 == 3)
            for (int32_t& id : ids)
                if (rng.below(8) == 0) id = rng.below(arithmetic::vocabulary);
        int at = 0;
        for (const StepVerdict& part : task.verify_steps(problem, ids)) {
            EXPECT_EQ(part.begin, at);
            EXPECT_LT(part.begin, part.end);
            at = part.end;
            reasons.insert(part.reason);
        }
        EXPECT_EQ(at, (int)ids.size());
        if (i % 4 == 1 || i % 4 == 2) {
            EXPECT_EQ(task.verify(problem, ids, "").reward, 0);
        }
    }
    EXPECT_EQ(reasons, (std::set<std::string>{"right", "breaks off", "wrong operator",
                                              "operand miscopied", "the result is not a number",
                                              "the value before it is not a number", "wrong result",
                                              "does not end here"}));
}

TEST(Arithmetic, AStepIsJudgedByTheValueWrittenBeforeIt) {
    Task task = make_task(small_config());
    Problem problem;
    problem.prompt_ids = ids_of("+52-64>71", true, false);
    auto wrong_then_right = ids_of("+5234-6457", false, true); // 43 - 46 = 75
    auto steps = task.verify_steps(problem, wrong_then_right);
    ASSERT_EQ(steps.size(), 3u);
    EXPECT_FALSE(steps[0].right);
    EXPECT_TRUE(steps[1].right && steps[2].right);
    EXPECT_EQ(task.verify(problem, wrong_then_right, "").reward, 0);
}

TEST(Arithmetic, SplitsNeverShareAPromptWhateverTheSeed) {
    std::set<std::vector<int32_t>> train, eval;
    for (int64_t seed : {0, 1, 77}) {
        TaskConfig config = small_config();
        config.seed = seed;
        config.arithmetic.steps_max = 2;
        Task task = make_task(config);
        for (int i = 0; i < 3000; ++i) {
            train.insert(task.problem(Split::train, i).prompt_ids);
            eval.insert(task.problem(Split::eval, i).prompt_ids);
        }
    }
    for (auto& prompt : eval) EXPECT_FALSE(train.count(prompt));
    EXPECT_GT(eval.size(), 1000u);
}

TEST(Arithmetic, ProblemsDependOnSeedAndIndexAlone) {
    TaskConfig config = small_config();
    config.arithmetic.problems = 50;
    Task a = make_task(config), b = make_task(config);
    b.problem(Split::train, 3);
    EXPECT_EQ(a.problem(Split::train, 7).prompt_ids, b.problem(Split::train, 7).prompt_ids);
    EXPECT_EQ(a.problem(Split::train, 57).prompt_ids, b.problem(Split::train, 7).prompt_ids);
    EXPECT_NE(a.problem(Split::train, 8).prompt_ids, b.problem(Split::train, 7).prompt_ids);
    EXPECT_EQ(a.count(Split::train), 50);
    EXPECT_EQ(a.count(Split::eval), INT64_MAX);
    config.seed = 1;
    EXPECT_NE(make_task(config).problem(Split::train, 7).prompt_ids,
              b.problem(Split::train, 7).prompt_ids);
}

TEST(Arithmetic, CurriculumStartsShortAndThenMixesLengths) {
    TaskConfig config = small_config();
    config.arithmetic.curriculum_problems = 400;
    config.arithmetic.steps_min = 3, config.arithmetic.steps_max = 5;
    Task task = make_task(config);
    std::vector<int> early(7), late(7);
    for (int i = 0; i < 1300; ++i) {
        int steps = ((int)task.problem(Split::train, i).prompt_ids.size() - 4) / 3;
        ++(i < 400 ? early : late)[steps];
        EXPECT_GE(task.problem(Split::eval, i).prompt_ids.size(), 13u); // no curriculum in eval
    }
    for (int steps : {1, 2}) EXPECT_NEAR(early[steps], 200, 40);
    for (int steps : {3, 4, 5}) EXPECT_NEAR(late[steps], 300, 60);
    EXPECT_EQ(early[1] + early[2] + late[3] + late[4] + late[5], 1300);
}

// Rates of each fault among the steps where it can happen, against the configuration. 4 sigma.
TEST(Arithmetic, FaultsComeAsOftenAsConfigured) {
    ArithmeticConfig config;
    config.forget_carry = 0.3, config.forget_borrow = 0.5, config.invent_carry = 0.08;
    Rng rng(5);
    double n[3] = {}, hit[3] = {};
    for (int i = 0; i < 20000; ++i) {
        Chain chain = draw_chain(config, 1, rng);
        auto ids = chain_answer(config, chain, &rng);
        bool subtract = chain.steps[0].subtract;
        int a = (int)chain.start % 8, b = (int)chain.steps[0].operand % 8;
        bool due = subtract ? a < b : a + b >= 8;
        int kind = !due ? 2 : subtract ? 1 : 0;
        ++n[kind];
        hit[kind] += ids != chain_answer(config, chain, nullptr);
    }
    double want[3] = {0.3, 0.5, 0.08};
    for (int kind = 0; kind < 3; ++kind)
        EXPECT_NEAR(hit[kind] / n[kind], want[kind],
                    4 * std::sqrt(want[kind] * (1 - want[kind]) / n[kind]));

    for (auto [wrong_digit, miscopy] : {std::pair(0.2, 0.0), std::pair(0.0, 0.2)}) {
        ArithmeticConfig other;
        other.wrong_digit = wrong_digit, other.miscopy = miscopy;
        int wrong = 0, copied = 0;
        for (int i = 0; i < 5000; ++i) {
            Chain chain = draw_chain(other, 1, rng);
            auto ids = chain_answer(other, chain, &rng),
                 right = chain_answer(other, chain, nullptr);
            wrong += ids != right;
            copied += std::equal(ids.begin(), ids.begin() + 3, right.begin());
        }
        EXPECT_NEAR(wrong / 5000., 0.2, 0.023);
        EXPECT_NEAR(copied / 5000., 1 - miscopy, 0.023);
    }
}

TEST(Arithmetic, AFaultTravelsOnThroughTheChain) {
    TaskConfig config = small_config();
    config.arithmetic.steps_min = config.arithmetic.steps_max = 8;
    config.arithmetic.wrong_digit = 0.2;
    Task task = make_task(config);
    double right = 0, steps = 0, reward = 0;
    for (int i = 0; i < 500; ++i) {
        Problem problem = task.problem(Split::train, i);
        for (const StepVerdict& part : task.verify_steps(problem, problem.demonstration_ids))
            if (part.end - part.begin == 5) right += part.right, ++steps;
        reward += task.verify(problem, problem.demonstration_ids, "").reward;
    }
    EXPECT_NEAR(right / steps, 0.8, 0.03); // each step is right by itself at its own rate
    EXPECT_LT(reward / 500, 0.35); // the answer only if no fault stays: 0.8^8 = 0.17 and luck
}

TEST(Arithmetic, BadPromptsAreRefused) {
    ArithmeticConfig config;
    for (const char* bad : {"", "+52", "+52-6>71", "+59>71", ">71", "+52>7"})
        EXPECT_THROW(parse_chain(config, ids_of(bad, true, false)), Error) << bad;
}

// The smallest spaces have 8 and 18 prompts; drawing until one falls into the split must end.
TEST(Arithmetic, EvenTheSmallestTasksHaveBothSplits) {
    for (int base = 2; base <= 10; ++base) {
        TaskConfig tiny = small_config();
        tiny.arithmetic.base = base, tiny.arithmetic.digits = 1, tiny.arithmetic.steps_max = 1;
        Task task = make_task(tiny);
        EXPECT_NE(task.problem(Split::eval, 0).prompt, task.problem(Split::train, 0).prompt);
    }
}
