// The doctor on a healthy batch, and on one sick in each way: every law must be able to break.

#include "rl/advantage.h"
#include "rl/aggregation.h"
#include "rl/doctor.h"
#include "rl/select.h"
#include "testing.h"

namespace {
struct Patient {
    Rollouts r;
    AlgoConfig algo = preset_algorithm("grpo");
    Selection kept;
    Weights weights;
    LossParts parts;
    BatchGrads grads;

    explicit Patient(const std::vector<double>& rewards = {1, 0, 1, 1, 0, 0}) {
        for (int i = 0; i < (int)rewards.size(); ++i) {
            r.group.push_back(i / 3);
            r.reward.push_back(rewards[i]);
            r.finished.push_back(1);
            r.offset.push_back(r.offset.back() + 2 + i % 2);
        }
        r.groups = (int)rewards.size() / 3;
        for (int64_t n = 0; n < r.tokens(); ++n) r.logp.push_back(-0.1 * (double)n);
        r.logp_old = r.logp;
        update();
    }
    void update(const SelectConfig& choice = SelectConfig()) {
        kept = select(r, advantages(r, algo), algo, choice);
        weights = weigh(r, kept, algo, Denominator::of_aggregation);
        BatchLoss loss = batch_loss(r, kept, weights, algo);
        parts = loss.parts;
        grads = loss.grads;
    }
    Health health(const char* law) const {
        for (const Finding& finding : examine(r, kept, weights, algo, parts, grads, true))
            if (std::string(finding.law) == law) return finding.health;
        ADD_FAILURE() << "no law named " << law;
        return Health::note;
    }
};
} // namespace

TEST(Doctor, HealthyBatch) {
    Patient patient;
    for (const Finding& finding : examine(patient.r, patient.kept, patient.weights, patient.algo,
                                          patient.parts, patient.grads, true))
        EXPECT_TRUE(finding.health == Health::holds || finding.health == Health::note)
            << finding.law << ": " << finding.text;
}

TEST(Doctor, ZeroLossIsExplained) {
    Patient patient;
    EXPECT_NEAR(patient.parts.policy, 0, 1e-12); // on-policy, advantages sum to 0
    Finding finding =
        zero_loss_explained(patient.r, patient.kept, patient.weights, patient.parts, patient.grads);
    EXPECT_EQ(finding.text.find("ratio is 1 and advantages sum to 0; the gradient is alive"), 0u)
        << finding.text;
    Patient equal({1, 1, 1, 0, 0, 0});
    finding = zero_loss_explained(equal.r, equal.kept, equal.weights, equal.parts, equal.grads);
    EXPECT_NE(finding.text.find("2 prompts with equal rewards"), std::string::npos) << finding.text;
    SelectConfig drop;
    drop.drop_zero = true;
    equal.update(drop);
    finding = zero_loss_explained(equal.r, equal.kept, equal.weights, equal.parts, equal.grads);
    EXPECT_NE(finding.text.find("trains on nothing"), std::string::npos) << finding.text;
}

TEST(Doctor, AnAdvantageOfAnotherCompletion) {
    Patient patient;
    patient.kept.A.completion[0] = patient.kept.A.completion[1];
    EXPECT_EQ(patient.health("group advantages sum to 0"), Health::broken);
}

TEST(Doctor, RatioBeforeTheFirstUpdate) {
    Patient patient;
    patient.r.logp[3] += 1e-12;
    EXPECT_EQ(patient.health("first-pass ratio is 1"), Health::broken);
    patient.r.logp[3] = NAN;
    EXPECT_EQ(patient.health("first-pass ratio is 1"), Health::broken);
}

TEST(Doctor, EosWithoutWeight) {
    Patient patient;
    for (int i = 0; i < patient.r.completions(); ++i)
        patient.weights.policy[patient.r.offset[i + 1] - 1] = 0;
    EXPECT_EQ(patient.health("EOS has weight"), Health::broken);
}

TEST(Doctor, TokensOwnedTwiceOrNever) {
    Patient patient;
    patient.weights.policy[4] = 0;
    EXPECT_EQ(patient.health("every token has one owner"), Health::broken);
    patient = Patient();
    patient.kept.completion[1] = 0;
    EXPECT_EQ(patient.health("every token has one owner"), Health::broken);
    patient = Patient();
    for (double& w : patient.weights.policy)
        w *= 2; // as if each micro-batch had its own denominator
    EXPECT_EQ(patient.health("every token has one owner"), Health::broken);
    patient = Patient();
    patient.kept.A.token.pop_back();
    EXPECT_EQ(patient.health("every token has one owner"), Health::broken);
}

TEST(Doctor, NotFinite) {
    Patient patient;
    patient.grads.dlogp[2] = INFINITY;
    EXPECT_EQ(patient.health("loss and gradient are finite"), Health::broken);
    patient = Patient();
    patient.parts.kl = NAN;
    EXPECT_EQ(patient.health("loss and gradient are finite"), Health::broken);
}
