// The losses of the reward models: PyTorch autograd (tests/reference/make_golden_rewards.py), known
// values, the properties that Q-RM's loss must have, and central differences by every score.

#include "base/json.h"
#include "credit/sigmoid.h"
#include "reward/qrm.h"
#include "reward/reward_loss.h"
#include "testing.h"

namespace {

// A step without a network: the objective is handed these scores.
struct Step {
    RewardSettings settings;
    RewardBatch batch;
    std::vector<std::vector<double>> scores, grads;

    Step(const RewardSettings& settings_, const std::vector<std::vector<double>>& scores_)
        : settings(settings_), scores(scores_) {
        resolve_reward(settings);
        batch.paired = reward_kind(settings.kind).pairs();
        for (const std::vector<double>& row : scores) {
            TrainSequence& sequence = batch.sequences.emplace_back();
            for (int t = 1; t <= (int)row.size(); ++t) sequence.target.push_back(t);
        }
    }
    double loss() {
        const ScoreHead head = trained_head(settings);
        grads.clear();
        for (const auto& row : scores) grads.emplace_back(row.size(), 0.0);
        std::vector<TokenOutputs> outputs;
        std::vector<TokenGrads> answers;
        for (size_t s = 0; s < scores.size(); ++s) {
            std::span<const double> z = scores[s];
            std::span<double> g = grads[s];
            const bool scalar = head == ScoreHead::scalar, logit = head == ScoreHead::logit;
            TokenOutputs output{(int)s, {}, {}, {}, {}};
            TokenGrads grad;
            (scalar ? output.value : logit ? output.logit : output.logp) = z;
            (scalar ? grad.dvalue : logit ? grad.dlogit : grad.dlogp) = g;
            outputs.push_back(output), answers.push_back(grad);
        }
        return reward_objective(settings, batch).loss(outputs, answers);
    }
};

std::vector<std::vector<double>> matrix(const Json& json) {
    std::vector<std::vector<double>> rows;
    for (const Json& row : json) rows.push_back(row.get<std::vector<double>>());
    return rows;
}

RewardSettings settings_of(const Json& json) {
    RewardSettings settings;
    settings.kind = json["kind"];
    settings.head = json.value("head", "scalar");
    settings.beta = json.value("beta", 0.0);
    settings.gamma = json.value("gamma", 2.0);
    settings.ce_coef = json.value("ce_coef", 0.0);
    settings.focal = json.value("focal", 0.0);
    settings.sft_coef = json.value("sft_coef", -1.0);
    settings.desirable = json.value("desirable", 1.0);
    settings.undesirable = json.value("undesirable", 1.0);
    return settings;
}

Json golden() { return read_json("tests/golden/rewards/cases.json"); }

double qrm(const std::vector<double>& w, const std::vector<double>& l, std::vector<double>& dw,
           std::vector<double>& dl) {
    dw.resize(w.size()), dl.resize(l.size());
    return qrm_loss(w, l, 0.2, 2, dw, dl);
}

double sum_of(const std::vector<double>& values) {
    double sum = 0;
    for (double value : values) sum += value;
    return sum;
}

} // namespace

TEST(RewardLoss, EveryLossAgreesWithAutograd) {
    const Json cases = golden()["steps"];
    ASSERT_GE(cases.size(), 31u);
    for (const Json& c : cases) {
        SCOPED_TRACE(c["name"].get<std::string>());
        Step step(settings_of(c["reward"]), matrix(c["scores"]));
        if (c.contains("labels")) step.batch.label = matrix(c["labels"]);
        if (c.contains("logp_ref")) step.batch.logp_ref = matrix(c["logp_ref"]);
        step.batch.z0 = c.value("z0", 0.0);
        EXPECT_TRUE(close(step.loss(), c["loss"].get<double>(), 1e-13));
        const auto want = matrix(c["grads"]);
        for (size_t s = 0; s < want.size(); ++s)
            for (size_t t = 0; t < want[s].size(); ++t)
                EXPECT_TRUE(std::abs(step.grads[s][t] - want[s][t]) < 1e-14)
                    << s << ", " << t << ": " << step.grads[s][t] << ", wanted " << want[s][t];
    }
}

// Through the head: dL/dlogits of the vocabulary heads, dL/dhidden and dL/dw of the scalar one.
TEST(RewardLoss, EveryHeadAgreesWithAutograd) {
    const Ops& ops = cpu_ops(DType::f64);
    const Json cases = golden(); // outlives the loop over a part of it
    for (const Json& c : cases["heads"]) {
        const std::string head = c["head"];
        SCOPED_TRACE(head);
        RewardSettings settings;
        settings.kind = "qrm", settings.head = head, settings.ce_coef = c.value("ce_coef", 0.0);
        std::vector<TestTensor> x, y;
        std::vector<std::vector<double>> scores;
        const Json& inputs = c[head == "scalar" ? "hidden" : "logits"];
        for (const Json& answer : inputs) {
            const int64_t T = (int64_t)answer.size(), W = (int64_t)answer[0].size();
            x.push_back(zeros({T, W}));
            for (int64_t i = 0; i < T * W; ++i) x.back().set(i, answer[i / W][i % W]);
        }
        TestTensor w = zeros({1, x[0].view.shape[1]}), dw = zeros({1, x[0].view.shape[1]});
        for (int64_t i = 0; head == "scalar" && i < w.size(); ++i) w.set(i, c["w"][i]);
        std::vector<TestTensor> lse;
        for (size_t s = 0; s < x.size(); ++s) {
            const int64_t T = x[s].view.shape[0];
            y.push_back(head == "scalar" ? zeros({T, 1}) : zeros({T}));
            lse.push_back(zeros({T}));
            if (head == "scalar") {
                ops.linear_forward(y[s], x[s], Weight{w, {}, {}}, {});
            } else {
                ops.token_logprob_forward(y[s], {}, lse[s], x[s],
                                          indices(c["tokens"][s].get<std::vector<int32_t>>()), 1);
            }
            scores.emplace_back();
            for (int64_t t = 0; t < T; ++t)
                scores.back().push_back(y[s].get(t) + (head == "logit" ? lse[s].get(t) : 0));
        }
        Step step(settings, scores);
        EXPECT_TRUE(close(step.loss(), c["loss"].get<double>(), 1e-13));
        for (size_t s = 0; s < x.size(); ++s) {
            TestTensor dx = zeros({x[s].view.shape[0], x[s].view.shape[1]});
            for (int64_t t = 0; t < y[s].size(); ++t) y[s].set(t, step.grads[s][t]);
            if (head == "scalar") {
                ops.linear_backward(dx, dw, {}, y[s], x[s], Weight{w, {}, {}});
            } else {
                ops.copy(dx, x[s]);
                for (int64_t t = 0; t < lse[s].size(); ++t)
                    if (head == "logit") lse[s].set(t, 1e30); // no normaliser: every p is 0
                ops.token_logprob_backward(dx, y[s], {}, {}, lse[s],
                                           indices(c["tokens"][s].get<std::vector<int32_t>>()), 1);
            }
            const Json& want = c[head == "scalar" ? "dhidden" : "dlogits"][s];
            const int64_t W = dx.view.shape[1];
            for (int64_t i = 0; i < dx.size(); ++i)
                EXPECT_NEAR(dx.get(i), want[i / W][i % W].get<double>(), 1e-14);
        }
        for (int64_t i = 0; head == "scalar" && i < dw.size(); ++i)
            EXPECT_NEAR(dw.get(i), c["dw"][i], 1e-14);
    }
}

TEST(Qrm, KnownValues) {
    std::vector<double> dw, dl;
    EXPECT_NEAR(qrm({1, 2, 3}, {0.5, -0.5}, dw, dl), 1.7839007409, 5e-11);
    for (double x : dw) EXPECT_NEAR(x, -0.0554678923, 5e-11);
    for (double x : dl) EXPECT_NEAR(x, 0.0832018385, 5e-11);
    EXPECT_NEAR(qrm({0, 0, 0}, {0}, dw, dl), 2.1269280110, 5e-11);
    EXPECT_NEAR(sum_of(dl), 0.2 * 0.8807970780, 1e-10); // sigma(2) beta
    // The weight has fallen to a half where the mean gap is gamma / beta = 10.
    qrm({11, 9}, {0, 0, 0}, dw, dl);
    EXPECT_NEAR(sum_of(dl), 0.2 * 0.5, 1e-15);
    EXPECT_TRUE(std::isfinite(qrm({-1e4}, {1e4}, dw, dl)) && std::isfinite(dw[0])) << "no overflow";
}

TEST(Qrm, Properties) {
    Rng rng(4);
    std::vector<double> w(5), l(3), dw, dl, dw2, dl2;
    for (auto* side : {&w, &l})
        for (double& z : *side) z = 2 * rng.normal();
    const double loss = qrm(w, l, dw, dl);
    EXPECT_NEAR(sum_of(dw) + sum_of(dl), 0, 1e-16); // within a pair
    // a constant on all Z changes neither the loss nor its derivative
    std::vector<double> w7 = w, l7 = l;
    for (double& z : w7) z += 7;
    for (double& z : l7) z += 7;
    EXPECT_NEAR(qrm(w7, l7, dw2, dl2), loss, 1e-14);
    for (size_t t = 0; t < w.size(); ++t) EXPECT_NEAR(dw[t], dw2[t], 1e-15);
    // an answer twice as long, the same Z again: the same loss, half the gradient per token
    std::vector<double> twice = w;
    twice.insert(twice.end(), w.begin(), w.end());
    EXPECT_NEAR(qrm(twice, l, dw2, dl2), loss, 1e-14);
    EXPECT_NEAR(dw2[9], dw[4] / 2, 1e-16);
    EXPECT_NEAR(dl2[2], dl[2], 1e-16);
    // the order of the pairs does not matter
    RewardSettings settings;
    settings.kind = "qrm";
    Step a(settings, {w, l, {1, 2}, {0.5}}), b(settings, {{1, 2}, {0.5}, w, l});
    EXPECT_NEAR(a.loss(), b.loss(), 1e-15);
    EXPECT_EQ(a.grads[0], b.grads[2]);
    EXPECT_EQ(a.grads[3], b.grads[1]);
}

TEST(RewardLoss, CentralDifferencesByEveryScore) {
    Rng rng(8);
    auto answers = [&](std::vector<int> lengths) {
        std::vector<std::vector<double>> scores;
        for (int length : lengths) {
            scores.emplace_back();
            for (int t = 0; t < length; ++t) scores.back().push_back(1.5 * rng.normal());
        }
        return scores;
    };
    for (const RewardKind& kind_row : reward_kind_table()) {
        const char* kind = kind_row.name;
        RewardSettings settings;
        settings.kind = kind;
        if (kind_row.policy && kind_row.pairs()) settings.sft_coef = 0.7;
        if (settings.kind == "qrm") settings.head = "log_softmax", settings.ce_coef = 0.7;
        if (settings.kind == "orm_pointwise") settings.focal = 2;
        const bool last = std::string(kind).starts_with("orm");
        Step step(settings, answers(last ? std::vector{1, 1, 1, 1} : std::vector{3, 5, 1, 2}));
        for (const auto& row : step.scores) {
            step.batch.logp_ref.push_back(std::vector<double>(row.size(), -0.5));
            std::vector<double> label = {(double)rng.below(2)};
            if (settings.kind == "prm") {
                label.clear();
                for (size_t t = 0; t < row.size(); ++t) label.push_back(rng.below(3) - 1);
            }
            step.batch.label.push_back(label);
        }
        if (kind_row.policy) // log-probabilities
            for (auto& answer : step.scores)
                for (double& z : answer) z = -0.2 - std::abs(z);
        step.batch.z0 = 0.3;
        step.loss();
        const auto grads = step.grads;
        for (size_t s = 0; s < grads.size(); ++s)
            for (size_t t = 0; t < grads[s].size(); ++t) {
                const double h = 1e-5, at = step.scores[s][t];
                step.scores[s][t] = at + h;
                const double up = step.loss();
                step.scores[s][t] = at - h;
                const double down = step.loss();
                step.scores[s][t] = at;
                EXPECT_NEAR(grads[s][t], (up - down) / (2 * h), 1e-9) << kind << s << t;
            }
    }
}

// beta .1, lambda .2
TEST(Preferences, DpoWithASupervisedTerm) {
    RewardSettings settings;
    settings.kind = "dpo", settings.sft_coef = 0.2;
    Step step(settings, {{-.2, -.4, -.1}, {-.6, -.9}});
    step.batch.logp_ref = {{-.3, -.5, -.4}, {-.5, -.7}};
    EXPECT_NEAR(step.loss(), .700614, 5e-7);
    for (double g : step.grads[0]) EXPECT_NEAR(g, -.114668, 5e-7);
    for (double g : step.grads[1]) EXPECT_NEAR(g, .048001, 5e-7);
}

TEST(Preferences, ASimPoStepIsAQrmStepOnLogProbabilities) {
    RewardSettings simpo, qrm;
    simpo.kind = "simpo", simpo.beta = 0.7, simpo.gamma = 0.4;
    qrm.kind = "qrm", qrm.head = "log_softmax", qrm.ce_coef = 0, qrm.beta = 0.7, qrm.gamma = 0.4;
    const std::vector<std::vector<double>> logp = {{-1, -2}, {-0.5}, {-3}, {-1, -1, -4}};
    Step a(simpo, logp), b(qrm, logp);
    EXPECT_EQ(a.loss(), b.loss());
    EXPECT_EQ(a.grads, b.grads);
}

TEST(Preferences, KtosReferencePointIsOfOtherPromptsAnswersAndNeverNegative) {
    RewardBatch batch;
    batch.sequences = {{{1, 2, 7, 8}, {2, 3}}, {{3, 9}, {1}}, {{4, 5, 6, 10}, {3}}};
    const std::vector<TrainSequence> others = mismatched(batch);
    EXPECT_EQ(others[0].ids, std::vector<int32_t>({1, 2, 9}));
    EXPECT_EQ(others[0].target, std::vector<int32_t>({2}));
    EXPECT_EQ(others[1].ids, std::vector<int32_t>({3, 10}));
    EXPECT_EQ(others[2].ids, std::vector<int32_t>({4, 5, 6, 7})) << "cut to the longer of the two";
    EXPECT_NEAR(kto_reference_point({{-1, -1}, {-2}}, {{-1.5, -1}, {-2.1}}), 0.3, 1e-15);
    EXPECT_EQ(kto_reference_point({{-3}}, {{-1}}), 0);
    // of pairs: another pair's
    batch.paired = true;
    batch.sequences.push_back({{4, 5, 6, 11}, {3}});
    batch.sequences[1] = {{1, 2, 9}, {2}};
    EXPECT_EQ(mismatched(batch)[1].ids, std::vector<int32_t>({1, 2, 11}));
}

TEST(RewardLoss, FiguresOfHeldOutPairs) {
    RewardSettings settings;
    settings.kind = "qrm";
    Step step(settings, {{1, 3}, {0}, {1}, {2}, {4}, {4, 4}});
    RewardFigures figures = reward_figures(step.settings, step.batch, step.scores);
    EXPECT_NEAR(figures.loss, step.loss(), 1e-15);
    EXPECT_NEAR(figures.pair_accuracy, (1 + 0 + 0.5) / 3, 1e-15);
    EXPECT_NEAR(figures.gap, (2 - 1 + 0) / 3.0, 1e-15);
    EXPECT_TRUE(std::isnan(figures.label_accuracy));
    settings.kind = "prm";
    Step prm(settings, {{1, -2, 0.5}, {3}});
    prm.batch.label = {{1, 1, 0}, {1}};
    figures = reward_figures(prm.settings, prm.batch, prm.scores);
    EXPECT_NEAR(figures.label_accuracy, 2.0 / 3, 1e-15); // the 0 is no label
    EXPECT_TRUE(std::isnan(figures.pair_accuracy));
}
