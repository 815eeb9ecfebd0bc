// DRM's dimensions against the networks asked one row at a time.

#include "app/judge/dimensions.h"

#include "app/inputs.h"
#include "command.h"

#include <cmath>

namespace {
std::vector<double> log_probs(RewardModel& model, std::vector<int32_t> ids,
                              const std::vector<int32_t>& more) {
    TrainSequence sequence;
    for (int32_t id : more) {
        sequence.target.push_back((int32_t)ids.size());
        ids.push_back(id);
    }
    sequence.ids = ids;
    return token_scores(model, {sequence})[0];
}
double share(double z) { return 1 / (1 + std::exp(-z)); }
} // namespace

TEST(Dimensions, EachIsOfItsOwnTokensAndItsOwnRow) {
    Scratch at;
    TaskConfig config;
    config.name = "chain_lookup";
    const Task task = make_task(config);
    TinySettings tiny;
    tiny.layers = 1, tiny.width = 16, tiny.heads = 2;
    write_tiny_model(tiny, *task.vocabulary, 3, at("tiny"));
    auto model = load_reward_model(at("tiny"), "", {}, 2048);
    std::vector<Json> rows;
    std::vector<std::string> where;
    for (int i = 0; i < 3; ++i) {
        const Problem problem = task.problem(Split::train, i);
        rows.push_back(
            {{"prompt_ids", problem.prompt_ids}, {"completion_ids", problem.demonstration_ids}});
        where.push_back(problem.where);
    }
    DimensionCounts counts;
    const auto judged =
        judge_dimensions(rows, where, task, model.get(), model.get(), nullptr, counts);
    for (int i = 0; i < 3; ++i) {
        const Problem problem = task.problem(Split::train, i);
        const auto answer = task.reasoned(problem, problem.demonstration_ids);
        ASSERT_TRUE(answer);
        const auto logp = log_probs(*model, problem.prompt_ids, problem.demonstration_ids);
        double reasoning = 0, of_answer = 0;
        for (int t = 0; t < answer->reasoning_end; ++t) reasoning += logp[t];
        for (size_t t = answer->answer_begin; t < logp.size(); ++t) of_answer += logp[t];
        EXPECT_NEAR(judged[i]["confidence_reasoning"].get<double>(),
                    reasoning / answer->reasoning_end, 1e-5);
        EXPECT_NEAR(judged[i]["confidence_answer"].get<double>(), of_answer, 1e-5);
        const JudgeRows& asked = answer->rows;
        for (const auto& [term, row] : {std::pair{"question", &asked.question},
                                        {"documents", &asked.documents},
                                        {"answer", &asked.answer}}) {
            const double z =
                log_probs(*model, *row, {asked.yes})[0] - log_probs(*model, *row, {asked.no})[0];
            EXPECT_NEAR(judged[i]["relevance"][term].get<double>(), share(z), 1e-5) << term;
        }
        EXPECT_EQ(judged[i]["coherence"], answer->coherence);
    }
    EXPECT_EQ(counts.malformed, 0);
}
