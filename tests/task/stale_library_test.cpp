// The world of TRM: truth, faithfulness and verdicts by hand, cases in balance, facts held out.

#include "task/task.h"

#include <gtest/gtest.h>
#include <map>
#include <set>

namespace {

using Ids = std::vector<int32_t>;
using Role = LibraryQuestion::Role;

TaskConfig config_of(const std::string& role) {
    TaskConfig config;
    config.name = "stale_library", config.seed = 3;
    config.stale_library.role = role;
    return config;
}

std::string text(const Ids& ids) { return stale_library::words().text(ids, true); }

// Some fact that changes (or not), and a value other than the known one.
Fact fact_of(int entity, bool changes) { return {entity, changes ? 0 : 2}; }

struct Figures {
    std::map<std::string, double> of;
    Figures(const Task& task, const std::vector<Answered>& answers) {
        for (const TaskFigure& figure : task.figures(answers)) of[figure.name] = figure.value;
    }
};

} // namespace

TEST(StaleLibrary, TruthIsTheFreshDocumentOfWhatChangesAndElseWhatOneKnows) {
    const StaleLibraryConfig config;
    const Library library(config);
    for (bool changes : {false, true})
        for (bool fresh : {false, true}) {
            const Fact fact = fact_of(5, changes);
            const int known = library.known(fact), said = (known + 1) % config.values;
            LibraryQuestion question;
            question.lines = {{fresh, fact, said}};
            const int truth = changes && fresh ? said : known;
            EXPECT_EQ(question.truth(library, fact), truth);
            EXPECT_TRUE(question.faithful({fact, said}));
            EXPECT_FALSE(question.faithful({fact, known}));
            EXPECT_EQ(question.right(library, {fact, said}), truth == said);
            EXPECT_FALSE(question.faithful({fact_of(6, changes), said})) << "no document says so";
        }
}

TEST(StaleLibrary, AnExactJudgeWritesTrmsGrammar) {
    const StaleLibraryConfig config;
    const Library library(config);
    const Fact price{2, 0}, kebo{8, 2}; // Bafi price, Kebo metal
    const int its = library.known(kebo), other = (its + 1) % config.values;
    LibraryQuestion question;
    question.role = Role::judge;
    question.lines = {{true, price, 7}, {true, kebo, other}};
    question.sentences = {{price, 7}, {kebo, its}, {kebo, other}};
    const std::string recall = format(" know Kebo metal %d", 10 + its);
    const std::string same = format(", said %d, same", 10 + its),
                      differs = format(", said %d, other", 10 + other);
    EXPECT_EQ(text(library_verdicts(library, question, {"faithfulness", "reason"})),
              "[1] faithfulness: 1 | reason: document 17, said 17, same | correctness: 1\n"
              "[2] faithfulness: 0 | reason:" +
                  recall + same +
                  " | correctness: 1\n"
                  "[3] faithfulness: 1 | reason:" +
                  recall + differs + " | correctness: 0\n<eos>");
    EXPECT_EQ(text(library_verdicts(library, question, {})),
              "[1] faithfulness: 1 | reason: | correctness: 1\n"
              "[2] faithfulness: 1 | reason: | correctness: 1\n"
              "[3] faithfulness: 1 | reason: | correctness: 0\n<eos>");
    EXPECT_EQ(parse_library(library_prompt(question)).sentences.size(), 3u);
    EXPECT_EQ(library_prompt(parse_library(library_prompt(question))), library_prompt(question));
}

TEST(StaleLibrary, DemonstratedVerdictsAreRightAndItsFourCasesAreInBalance) {
    const Task task = make_task(config_of("judge"));
    const Library library((StaleLibraryConfig()));
    double count[library_cases] = {}, sentences = 0;
    for (int i = 0; i < 2000; ++i) {
        const Problem problem = task.problem(i % 2 ? Split::train : Split::eval, i);
        EXPECT_EQ(task.verify(problem, problem.demonstration_ids, "").reward, 1) << problem.prompt;
        EXPECT_EQ(first_wrong_step(task.verify_steps(problem, problem.demonstration_ids)), -1);
        const auto judged = task.judged(problem, problem.demonstration_ids);
        ASSERT_TRUE(judged);
        for (const JudgedSentence& each : *judged) {
            EXPECT_EQ(each.faithful, each.true_faithful);
            EXPECT_EQ(each.correct, each.true_correct);
            ++count[library_case(each.true_faithful, each.true_correct)], ++sentences;
        }
    }
    for (int k = 0; k < library_cases; ++k)
        EXPECT_NEAR(count[k] / sentences, 0.25, 0.03) << library_case_name(k);
}

TEST(StaleLibrary, AMixWithoutACaseHasNoneOfIt) {
    TaskConfig config = config_of("judge");
    config.stale_library.mix = {2, 1, 0, 1};
    const Task task = make_task(config);
    double count[library_cases] = {}, sentences = 0;
    for (int i = 0; i < 1000; ++i) {
        const Problem problem = task.problem(Split::train, i);
        const auto judged = task.judged(problem, problem.demonstration_ids);
        ASSERT_TRUE(judged);
        for (const JudgedSentence& each : *judged)
            ++count[library_case(each.true_faithful, each.true_correct)], ++sentences;
    }
    EXPECT_EQ(count[library_case(false, true)], 0);
    EXPECT_NEAR(count[library_case(true, true)] / sentences, 0.5, 0.04);
}

// Of a quarter of the facts nothing but bare statements is trained, whatever the seed.
TEST(StaleLibrary, FactsAreHeldOut) {
    std::map<std::string, std::set<std::pair<int, int>>> seen;
    for (const char* part : {"supervised", "labels", "held_out"})
        for (const char* role : {"judge", "answer"}) {
            TaskConfig config = config_of(role);
            const bool held_out = std::string(part) == "held_out";
            if (!held_out) config.stale_library.facts = part;
            config.seed = held_out;
            const Task task = make_task(config);
            for (int i = 0; i < 400; ++i) {
                const Problem problem = task.problem(held_out ? Split::eval : Split::train, i);
                const LibraryQuestion question = parse_library(problem.prompt_ids);
                for (const LibraryLine& line : question.lines)
                    seen[part].insert({line.fact.entity, line.fact.attribute});
            }
        }
    const size_t all = 4 * (size_t)StaleLibraryConfig().entities;
    EXPECT_EQ(seen["supervised"].size(), all / 2);
    EXPECT_EQ(seen["labels"].size(), all / 4);
    EXPECT_EQ(seen["held_out"].size(), all / 4);
    for (const auto& fact : seen["held_out"])
        EXPECT_FALSE(seen["supervised"].count(fact) || seen["labels"].count(fact));
    for (const auto& fact : seen["labels"]) EXPECT_FALSE(seen["supervised"].count(fact));
}

TEST(StaleLibrary, StatementsAreOfAllFactsAndAskedForOnTheSide) {
    TaskConfig config = config_of("judge");
    config.stale_library.know_share = 0.25;
    const Task task = make_task(config);
    double know = 0;
    for (int i = 0; i < 2000; ++i)
        know += parse_library(task.problem(Split::train, i).prompt_ids).role == Role::know;
    EXPECT_NEAR(know / 2000, 0.25, 0.03);
    EXPECT_EQ(parse_library(task.problem(Split::eval, 0).prompt_ids).role, Role::judge);
    const Task bare = make_task(config_of("know"));
    std::set<std::pair<int, int>> facts;
    const int all = 4 * StaleLibraryConfig().entities;
    for (int i = 0; i < all; ++i) {
        const Problem problem = bare.problem(Split::eval, i);
        EXPECT_EQ(bare.verify(problem, problem.demonstration_ids, "").reward, 1);
        const Fact fact = parse_library(problem.prompt_ids).requests[0];
        facts.insert({fact.entity, fact.attribute});
    }
    EXPECT_EQ((int)facts.size(), all);
}

TEST(StaleLibrary, AMisjudgedSentenceEarnsNothing) {
    const Task task = make_task(config_of("judge"));
    const int32_t right = stale_library::words().id(" | correctness: 1\n"), wrong = right - 1;
    for (int i = 0; i < 100; ++i) {
        const Problem problem = task.problem(Split::eval, i);
        Ids ids = problem.demonstration_ids;
        int sentence = 0;
        for (int32_t& id : ids) {
            if (id != right && id != wrong) continue;
            const int32_t before = id;
            id = right + wrong - id;
            EXPECT_EQ(task.verify(problem, ids, "").reward, 0);
            EXPECT_EQ(first_wrong_step(task.verify_steps(problem, ids)), sentence++);
            id = before;
        }
    }
}

TEST(StaleLibrary, AnswersAreDemonstratedWithTheFaultsThatAreAskedFor) {
    TaskConfig config = config_of("answer");
    StaleLibraryConfig& world = config.stale_library;
    world.obey = world.slip = world.skip = 0;
    const Task right = make_task(config);
    world.slip = 1;
    const Task slips = make_task(config);
    world.slip = 0, world.obey = 1;
    const Task obeys = make_task(config);
    for (int i = 0; i < 200; ++i) {
        const Problem problem = right.problem(Split::train, i);
        EXPECT_EQ(right.verify(problem, problem.demonstration_ids, "").reward, 1);
        EXPECT_EQ(problem.demonstration, problem.answer);
        const Problem slipped = slips.problem(Split::train, i);
        for (const StepVerdict& step : slips.verify_steps(slipped, slipped.demonstration_ids))
            EXPECT_EQ(step.right, step.kind < 0) << "the end alone";
        const Problem obeyed = obeys.problem(Split::train, i);
        const LibraryQuestion question = parse_library(obeyed.prompt_ids);
        for (const LibrarySentence& each : read_sentences(obeyed.demonstration_ids))
            EXPECT_TRUE(question.faithful(each));
    }
}

TEST(StaleLibrary, VerdictsThatCannotBeReadFindNothing) {
    const Task task = make_task(config_of("judge"));
    const Problem problem = task.problem(Split::train, 1);
    Ids ids = problem.demonstration_ids, cut(ids.begin(), ids.end() - 1), more = ids;
    more.push_back(0);
    for (const Ids& odd : {cut, more, Ids{}, Ids{ids.back()}}) {
        EXPECT_FALSE(task.judged(problem, odd));
        EXPECT_EQ(task.verify(problem, odd, "").reward, 0);
    }
    const Figures none(task, {{&problem, &cut}}), all(task, {{&problem, &ids}});
    EXPECT_EQ(none.of.at("readable"), 0);
    EXPECT_EQ(all.of.at("readable"), 1);
    EXPECT_EQ(all.of.at("hit_faithfulness"), 1);
}

// Always saying "wrong": F1 is 2q / (1 + q), q the share of wrong sentences.
TEST(StaleLibrary, F1OfSayingWrongAlways) {
    const Task task = make_task(config_of("judge"));
    const Library library((StaleLibraryConfig()));
    const int32_t right = stale_library::words().id(" | correctness: 1\n"), wrong = right - 1;
    std::vector<Problem> problems;
    std::vector<Ids> outputs;
    double sentences = 0, wrongs = 0;
    for (int i = 0; i < 300; ++i) {
        problems.push_back(task.problem(Split::eval, i));
        outputs.push_back(problems.back().demonstration_ids);
        for (int32_t& id : outputs.back()) {
            sentences += id == right || id == wrong, wrongs += id == wrong;
            if (id == right) id = wrong;
        }
    }
    std::vector<Answered> answers;
    for (size_t i = 0; i < problems.size(); ++i) answers.push_back({&problems[i], &outputs[i]});
    const double q = wrongs / sentences;
    const Figures figures(task, answers);
    EXPECT_NEAR(figures.of.at("f1_of_wrong"), 2 * q / (1 + q), 1e-12);
    EXPECT_EQ(figures.of.at("recall_of_wrong"), 1);
    EXPECT_EQ(figures.of.at("hit_faithful_right"), 0);
    EXPECT_EQ(figures.of.at("hit_unfaithful_wrong"), 1);
}

// Ten verdicts on each sentence, of which a fixed share says "wrong", rightly or not: what a threshold finds is
// known. Of single verdicts the curve holds the written words, whatever their probabilities are.
TEST(StaleLibrary, ThresholdsTradePrecisionForRecall) {
    const Task task = make_task(config_of("judge"));
    const int32_t right = stale_library::words().id(" | correctness: 1\n"), wrong = right - 1;
    std::vector<Problem> problems;
    for (int i = 0; i < 200; ++i) problems.push_back(task.problem(Split::eval, i));
    const double shares[2][3] = {{0, 0.2, 0.6}, {0.2, 0.4, 1}}; // of right sentences, of wrong ones
    std::vector<std::vector<Ids>> outputs(problems.size(), std::vector<Ids>(10));
    std::map<double, double> called[2]; // sentences by share
    std::vector<Answered> answers;
    for (size_t i = 0; i < problems.size(); ++i) {
        for (int sample = 0; sample < 10; ++sample) {
            Ids& ids = outputs[i][sample] = problems[i].demonstration_ids;
            int sentence = 0;
            for (int32_t& id : ids) {
                if (id != right && id != wrong) continue;
                const double share = shares[id == wrong][(i + sentence++) % 3];
                if (sample == 0) ++called[id == wrong][share];
                id = sample < 10 * share ? wrong : right;
            }
        }
        for (const Ids& ids : outputs[i]) answers.push_back({&problems[i], &ids});
    }
    const Figures figures(task, answers);
    for (auto [bonus, threshold] :
         {std::pair{"0", 0.5}, {"0_25", 0.4}, {"0_5", 1 / 3.}, {"2", 1 / 6.}}) {
        double found = 0, alarms = 0, all = 0;
        for (auto [share, count] : called[1]) found += share >= threshold ? count : 0, all += count;
        for (auto [share, count] : called[0]) alarms += share >= threshold ? count : 0;
        const std::string name = format("_of_wrong_at_bonus_%s", bonus);
        EXPECT_NEAR(figures.of.at("precision" + name), found / (found + alarms), 1e-12) << bonus;
        EXPECT_NEAR(figures.of.at("recall" + name), found / all, 1e-12) << bonus;
    }
    EXPECT_GT(figures.of.at("recall_of_wrong_at_bonus_2"),
              figures.of.at("recall_of_wrong_at_bonus_0"));

    std::vector<std::vector<double>> logp;
    std::vector<Answered> single;
    for (size_t i = 0; i < problems.size(); ++i) {
        const Ids& ids = outputs[i][3];
        logp.push_back(std::vector<double>(ids.size(), i % 2 ? -0.01 : -0.4));
        single.push_back({&problems[i], &ids});
    }
    for (size_t i = 0; i < single.size(); ++i) single[i].logp = logp[i];
    const Figures one(task, single);
    EXPECT_GE(one.of.at("best_f1_of_wrong"), one.of.at("f1_of_wrong"));
    EXPECT_FALSE(one.of.count("recall_of_wrong_at_bonus_2"));
}

TEST(StaleLibrary, AnswersAreCutIntoSentencesAndCovered) {
    const Task task = make_task(config_of("answer"));
    const Problem problem = task.problem(Split::train, 0);
    const LibraryQuestion question = parse_library(problem.prompt_ids);
    ASSERT_EQ(question.requests.size(), 3u);
    const Library library((StaleLibraryConfig()));
    const auto& words = stale_library::words();
    auto sentence = [&](Fact fact, int value) {
        return Ids{fact.entity, 64 + fact.attribute, 68 + value, words.id(". ")};
    };
    Ids ids;
    for (Fact fact : question.requests)
        for (int32_t id : sentence(fact, question.truth(library, fact))) ids.push_back(id);
    Ids ended = ids;
    ended.push_back(words.eos());
    EXPECT_EQ(task.verify(problem, ended, "").reward, 1);
    EXPECT_EQ(task.verify(problem, ended, "").useful, 1);
    EXPECT_EQ(task.verify(problem, ids, "").reward, 0) << "no end";
    auto steps = task.verify_steps(problem, ended);
    ASSERT_EQ(steps.size(), 4u);
    for (int s = 0; s < 3; ++s) EXPECT_TRUE(steps[s].right && steps[s].end == 4 * (s + 1));
    EXPECT_EQ(steps[3].kind, -1);

    // one request unanswered, one wrong, and something that is no sentence
    const Fact first = question.requests[0], second = question.requests[1];
    Ids bad = sentence(first, (question.truth(library, first) + 1) % 32);
    for (int32_t id : sentence(second, question.truth(library, second))) bad.push_back(id);
    bad.push_back(words.id("stale: "));
    const Verdict verdict = task.verify(problem, bad, "");
    EXPECT_EQ(verdict.reward, 0);
    EXPECT_NEAR(verdict.useful, 2 / 3., 1e-12);
    steps = task.verify_steps(problem, bad);
    ASSERT_EQ(steps.size(), 3u);
    EXPECT_FALSE(steps[0].right);
    EXPECT_TRUE(steps[1].right);
    EXPECT_EQ(steps[2].kind, library_case(false, false));
    const Figures figures(task, {{&problem, &ended}, {&problem, &bad}});
    EXPECT_NEAR(figures.of.at("coverage"), 5 / 6., 1e-12);
    EXPECT_NEAR(figures.of.at("right_coverage"), 4 / 6., 1e-12);
    EXPECT_NEAR(figures.of.at("right_sentences"), 4 / 5., 1e-12);
}

TEST(StaleLibrary, BadPromptsAndSettingsAreRefused) {
    EXPECT_THROW(parse_library({1, 2, 3}), Error);
    TaskConfig config = config_of("judge");
    config.stale_library.mix = {1, 1, 1};
    EXPECT_THROW(make_task(config), Error);
    config.stale_library.mix = {0, 0, 0, 0};
    EXPECT_THROW(make_task(config), Error);
    config = config_of("judge");
    config.stale_library.fields = {"doubt"};
    EXPECT_THROW(make_task(config), Error);
}
