#include "train/wise.h"

#include "ops/values.h"
#include "rollout/generate.h"
#include "testing.h"
#include "tiny_model.h"

#include <algorithm>

namespace {

ModelConfig heads_config() {
    ModelConfig config = tiny_config("qwen3");
    config.row_heads = WiseHeads::count;
    return config;
}

std::unique_ptr<Model> model_with_heads(DType dtype = DType::f64) {
    ComputeConfig compute;
    compute.dtype = dtype;
    return tiny_model(heads_config(), compute);
}

WisePacked turn(int queries, int passages, int intent, int action, uint64_t seed) {
    WisePacked t;
    const int V = 37;
    t.context = random_ids(9 + (int)seed % 5, V, seed);
    t.keyphrase.assign(t.context.size(), 0);
    t.keyphrase[3] = t.keyphrase[4] = 1;
    for (int k = 0; k < queries; ++k) {
        t.queries.push_back(random_ids(4 + k, V, 100 * seed + k));
        t.query_gold.push_back(k == 1);
    }
    for (int k = 0; k < passages; ++k) {
        t.passages.push_back(random_ids(6 + 2 * k, V, 200 * seed + k));
        t.passage_gold.push_back(k == 0);
    }
    t.response = random_ids(7, V, 300 * seed);
    t.response_first = 3;
    t.intent = intent, t.action = action;
    t.has_intent = t.has_keyphrases = t.has_action = t.has_response = true;
    t.has_queries = queries > 0, t.has_passages = passages > 0;
    return t;
}

std::vector<WisePacked> some_turns() {
    std::vector<WisePacked> turns = {turn(3, 2, 4, 7, 1), turn(2, 3, 0, 22, 2),
                                     turn(0, 0, 11, 0, 3), turn(1, 4, 3, 9, 4)};
    turns[1].has_keyphrases = false;
    turns[3].has_passages = false;
    return turns;
}

std::vector<double> gradient(const Trainer& trainer) {
    return download_values(*trainer.model.ops, trainer.flat_grads);
}

double dot(const std::vector<double>& a, const std::vector<double>& b) {
    double sum = 0;
    for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
    return sum;
}

// dL/dw along a random direction against central differences.
void check_gradient(const WiseObjective& objective, const std::vector<WisePacked>& turns) {
    auto model = model_with_heads();
    Trainer trainer(*model, 4096, 64);
    WiseLosses losses;
    accumulate_wise(trainer, turns, objective, losses);
    const std::vector<double> grad = gradient(trainer);
    const Tensor weights = flat_array(model->weights, DType::f64);
    const std::vector<double> at = download_values(*model->ops, weights);
    Rng rng(5);
    std::vector<double> direction(at.size(), 0);
    for (double& x : direction) x = rng.normal();
    auto loss_at = [&](double h) {
        std::vector<double> moved = at;
        for (size_t i = 0; i < at.size(); ++i) moved[i] += h * direction[i];
        upload_values(*model->ops, weights, moved);
        refresh_weights(model->params, *model->ops);
        return weighted_sum(evaluate_wise(trainer.pass, turns, 4096, objective, nullptr),
                            objective.weight);
    };
    const double h = 2e-6, want = (loss_at(h) - loss_at(-h)) / (2 * h), got = dot(grad, direction);
    EXPECT_NEAR(got, want, 1e-6 * (std::abs(want) + 1e-3));
    EXPECT_GT(std::abs(want), 1e-6);
}

double binary(double z, bool y) { return std::log(1 + std::exp(y ? -z : z)); }

// The authors' masked mean, written out.
double masked_mean(const std::vector<std::vector<double>>& z,
                   const std::vector<std::vector<uint8_t>>& y, const std::vector<bool>& mask,
                   bool plus_one) {
    double sum = 0, count = plus_one;
    for (size_t b = 0; b < z.size(); ++b) {
        if (!mask[b]) continue;
        double mean = 0;
        for (size_t k = 0; k < z[b].size(); ++k) mean += binary(z[b][k], y[b][k]) / z[b].size();
        sum += mean, ++count;
    }
    return sum / count;
}

} // namespace

TEST(WiseHeads, GradientOfEveryLossAlone) {
    double WiseWeights::*const each[] = {&WiseWeights::id, &WiseWeights::ke, &WiseWeights::ap,
                                         &WiseWeights::qs, &WiseWeights::ps, &WiseWeights::rg};
    for (double WiseWeights::*one : each) {
        WiseObjective objective;
        objective.weight = {0, 0, 0, 0, 0, 0};
        objective.weight.*one = 1.5;
        check_gradient(objective, some_turns());
    }
}

TEST(WiseHeads, GradientOfAllSixLosses) {
    WiseObjective objective;
    objective.weight = {1, 0.5, 2, 0.7, 1.3, 0.9};
    objective.plus_one = false;
    check_gradient(objective, some_turns());
}

// W4
// Responses of tokens that stand in context and evidence.
static std::vector<WisePacked> turns_to_copy() {
    std::vector<WisePacked> turns = some_turns();
    for (WisePacked& turn : turns) {
        turn.response = {turn.context[4], turn.context[5], 7, turn.context[3]};
        turn.response_first = 3;
        turn.response.insert(turn.response.end(), {turn.context[5], 7, 9, turn.response[1]});
        turn.evidence = {{0, 2, 0.8}, {1, 2, 1}};
    }
    return turns;
}

TEST(WiseHeads, GradientWithTheCopyTerm) {
    WiseObjective objective;
    objective.copy = true;
    check_gradient(objective, turns_to_copy());
    objective.weight = {0, 0, 0, 0, 0, 1};
    check_gradient(objective, turns_to_copy());
}

// The loss with the copy term is that of the likeliest token where that token is right.
TEST(WiseHeads, DecodingWithTheCopyTermIsTheLossesOwn) {
    auto model = model_with_heads();
    Pass pass(*model, 4096, 64, false);
    WiseObjective objective;
    objective.copy = true;
    objective.weight = {0, 0, 0, 0, 0, 1};
    auto loss_of = [&](const WisePacked& turn) {
        return evaluate_wise(pass, {turn}, 4096, objective, nullptr).rg;
    };
    for (WisePacked turn : turns_to_copy()) {
        turn.response.resize(4), turn.response_first = 4;
        const int32_t next = next_with_copy(pass, {turn}, 4096).at(0);
        turn.response.push_back(next);
        const double least = loss_of(turn);
        for (int32_t other = 0; other < 37; ++other) {
            turn.response.back() = other;
            if (other == next)
                EXPECT_EQ(loss_of(turn), least);
            else
                EXPECT_GT(loss_of(turn), least) << other;
        }
    }
}

TEST(WiseHeads, MasksAndDenominatorsOfTheVector) {
    const std::vector<std::vector<double>> z = {{1.2, -.4, .3}, {.5, .5, -1}};
    const std::vector<std::vector<uint8_t>> y = {{1, 0, 0}, {1, 0, 0}};
    EXPECT_NEAR(masked_mean(z, y, {true, false}, false), .543551, 1e-6);
    EXPECT_NEAR(masked_mean(z, y, {true, false}, true), .271775, 1e-6);

    auto model = model_with_heads();
    Pass pass(*model, 4096, 64, false);
    const std::vector<WisePacked> turns = some_turns();
    for (bool plus_one : {false, true}) {
        WiseObjective objective;
        objective.plus_one = plus_one;
        std::vector<WiseReading> read;
        const WiseLosses losses = evaluate_wise(pass, turns, 4096, objective, &read);
        std::vector<std::vector<double>> ke, qs, ps;
        std::vector<std::vector<uint8_t>> ke_y, qs_y, ps_y;
        for (size_t i = 0; i < turns.size(); ++i) {
            ke.push_back({read[i].keyphrase.begin() + 2, read[i].keyphrase.end()});
            ke_y.push_back({turns[i].keyphrase.begin() + 2, turns[i].keyphrase.end()});
            qs.push_back(read[i].queries), qs_y.push_back(turns[i].query_gold);
            ps.push_back(read[i].passages), ps_y.push_back(turns[i].passage_gold);
        }
        EXPECT_NEAR(losses.ke, masked_mean(ke, ke_y, {1, 0, 1, 1}, plus_one), 1e-12);
        EXPECT_NEAR(losses.qs, masked_mean(qs, qs_y, {1, 1, 0, 1}, plus_one), 1e-12);
        EXPECT_NEAR(losses.ps, masked_mean(ps, ps_y, {1, 1, 0, 0}, plus_one), 1e-12);
        double id = 0;
        for (size_t i = 0; i < turns.size(); ++i) {
            double sum = 0;
            for (double one : read[i].intent) sum += std::exp(one);
            id += (std::log(sum) - read[i].intent[turns[i].intent]) / 4;
        }
        EXPECT_NEAR(losses.id, id, 1e-12);
    }
}

// P4: all candidates begin at the same position, so their order means nothing, to the last bit.
TEST(WiseHeads, AnotherOrderOfTheCandidatesPermutesTheirSelectionAlone) {
    auto model = model_with_heads(DType::f32);
    Pass pass(*model, 4096, 64, false);
    std::vector<WisePacked> turns = {turn(4, 4, 1, 2, 6)}, permuted = turns;
    std::reverse(permuted[0].queries.begin(), permuted[0].queries.end());
    std::swap(permuted[0].passages[0], permuted[0].passages[2]);
    std::vector<WiseReading> a, b;
    evaluate_wise(pass, turns, 4096, {}, &a);
    evaluate_wise(pass, permuted, 4096, {}, &b);
    EXPECT_EQ(a[0].intent, b[0].intent);
    EXPECT_EQ(a[0].keyphrase, b[0].keyphrase);
    EXPECT_EQ(a[0].action, b[0].action);
    std::reverse(b[0].queries.begin(), b[0].queries.end());
    std::swap(b[0].passages[0], b[0].passages[2]);
    EXPECT_EQ(a[0].queries, b[0].queries);
    EXPECT_EQ(a[0].passages, b[0].passages);
    EXPECT_NE(a[0].passages[0], a[0].passages[2]);
}

// Candidates see the context and themselves, nothing else; the context sees no candidate.
TEST(WiseHeads, CandidatesAreHiddenFromOneAnother) {
    auto model = model_with_heads(DType::f32);
    Pass pass(*model, 4096, 64, false);
    std::vector<WisePacked> turns = {turn(2, 2, 1, 2, 6)}, changed = turns;
    changed[0].passages[1][0] = (changed[0].passages[1][0] + 1) % 37;
    std::vector<WiseReading> a, b;
    evaluate_wise(pass, turns, 4096, {}, &a);
    evaluate_wise(pass, changed, 4096, {}, &b);
    EXPECT_EQ(a[0].intent, b[0].intent);
    EXPECT_EQ(a[0].keyphrase, b[0].keyphrase);
    EXPECT_EQ(a[0].queries, b[0].queries);
    EXPECT_EQ(a[0].passages[0], b[0].passages[0]);
    EXPECT_NE(a[0].passages[1], b[0].passages[1]);
    // P2, inside the prefix: all rows change.
    changed = turns;
    changed[0].context.back() = (changed[0].context.back() + 1) % 37;
    evaluate_wise(pass, changed, 4096, {}, &b);
    EXPECT_NE(a[0].intent, b[0].intent);
    EXPECT_NE(a[0].keyphrase[2], b[0].keyphrase[2]);
    EXPECT_NE(a[0].queries[0], b[0].queries[0]);
}

// P5
TEST(WiseHeads, AMaskedTaskLeavesItsHeadWithoutGradient) {
    auto model = model_with_heads();
    Trainer trainer(*model, 4096, 64);
    std::vector<WisePacked> turns = some_turns();
    WiseLosses losses;
    auto heads = [&] { return download_values(*model->ops, trainer.grads.row_heads.w); };
    accumulate_wise(trainer, turns, {}, losses);
    const std::vector<double> before = heads();
    for (WisePacked& one : turns) one.has_passages = false;
    accumulate_wise(trainer, turns, {}, losses);
    const std::vector<double> after = heads();
    EXPECT_EQ(losses.ps, 0);
    const int C = model->config.C;
    for (int head = 0; head < WiseHeads::count; ++head)
        for (int c = 0; c < C; ++c) {
            if (head == WiseHeads::ps)
                EXPECT_EQ(after[head * C + c], 0);
            else
                EXPECT_EQ(after[head * C + c], before[head * C + c]);
        }
    EXPECT_NE(before[WiseHeads::ps * C], 0);
}

// P6
TEST(WiseHeads, EachCoordinateOfTheMaximumHasItsGradientInOneRow) {
    const int C = 5;
    std::vector<double> h = {1,      2, 3, 4, 5, /**/ 5, 4, 3, 2, 1,
                             /**/ 9, 9, 9, 9, 9, /**/ 1, 4, 0, 8, 5};
    const MaxPool pool(h, C, {0, 1, 3}); // row 2 is not asked
    EXPECT_EQ(pool.value, (std::vector<double>{5, 4, 3, 8, 5}));
    EXPECT_EQ(pool.from, (std::vector<int>{1, 1, 0, 3, 0})); // of equal ones the first
    std::vector<double> dh(h.size(), 0), d = {1, 2, 4, 8, 16};
    pool.backward(d, dh);
    for (int c = 0; c < C; ++c) {
        double sum = 0;
        int rows = 0;
        for (int r = 0; r < 4; ++r) sum += dh[r * C + c], rows += dh[r * C + c] != 0;
        EXPECT_EQ(sum, d[c]);
        EXPECT_EQ(rows, 1);
    }
}

// P7
TEST(WiseHeads, MicroBatchesDoNotChangeTheGradient) {
    auto model = model_with_heads();
    WiseLosses losses;
    std::vector<double> whole;
    double loss = 0;
    for (int budget : {4096, 60, 1}) {
        Trainer trainer(*model, budget, 64);
        const StepStats stats = accumulate_wise(trainer, some_turns(), {}, losses);
        if (whole.empty()) {
            EXPECT_EQ(stats.micro_batches, 1);
            whole = gradient(trainer), loss = stats.loss;
            continue;
        }
        EXPECT_GT(stats.micro_batches, 1);
        EXPECT_NEAR(stats.loss, loss, 1e-12);
        const std::vector<double> cut = gradient(trainer);
        for (size_t i = 0; i < whole.size(); ++i) ASSERT_NEAR(cut[i], whole[i], 1e-12);
    }
}

TEST(WiseHeads, AFrozenTrunkGetsNoGradientAndTheHeadsTheirOwn) {
    auto model = model_with_heads();
    Trainer trainer(*model, 4096, 64);
    WiseLosses losses;
    WiseObjective objective;
    accumulate_wise(trainer, some_turns(), objective, losses);
    const std::vector<double> own = download_values(*model->ops, trainer.grads.row_heads.w);
    objective.heads_only = true;
    accumulate_wise(trainer, some_turns(), objective, losses);
    EXPECT_EQ(download_values(*model->ops, trainer.grads.row_heads.w), own);
    std::vector<double> all = gradient(trainer);
    double rest = 0;
    for (double x : all) rest += x * x;
    EXPECT_NEAR(rest, dot(own, own), 1e-12);
}

// P3: decoding from the cache behind a prefix says what the whole pass says.
TEST(WiseHeads, DecodingBehindAPrefixGivesTheWholePassesLogits) {
    auto model = model_with_heads(DType::f32);
    const std::vector<std::vector<int32_t>> prompts = {random_ids(12, 37, 1), random_ids(70, 37, 2),
                                                       random_ids(9, 37, 3)};
    SampleConfig sample;
    sample.max_new_tokens = 6, sample.n = 2;
    sample.prefixes = {5, 70, 0};
    const auto completions = generate(*model, prompts, sample);
    std::vector<TrainSequence> sequences;
    for (const Completion& completion : completions) {
        TrainSequence& sequence = sequences.emplace_back();
        sequence.ids = prompts[completion.prompt];
        sequence.prefix = sample.prefixes[completion.prompt];
        for (int32_t id : completion.ids) {
            sequence.target.push_back((int32_t)sequence.ids.size());
            sequence.ids.push_back(id);
        }
    }
    Pass pass(*model, 4096, 64, false);
    const auto whole = evaluate_sequences(pass, sequences, 4096, {});
    for (TrainSequence& sequence : sequences) sequence.prefix = 0;
    const auto causal = evaluate_sequences(pass, sequences, 4096, {});
    for (size_t i = 0; i < completions.size(); ++i)
        for (size_t t = 0; t < completions[i].ids.size(); ++t) {
            EXPECT_NEAR(completions[i].logp[t], whole[i].logp[t], 2e-5);
            if (sample.prefixes[completions[i].prompt]) {
                EXPECT_NE(whole[i].logp[t], causal[i].logp[t]);
            }
        }
}

TEST(WiseHeads, AModelWithoutThemIsRefused) {
    auto model = tiny_model(tiny_config());
    Trainer trainer(*model, 4096, 64);
    WiseLosses losses;
    EXPECT_THROW(accumulate_wise(trainer, some_turns(), {}, losses), Error);
}
