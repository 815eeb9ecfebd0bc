// Reward models in use: which number a head gives for which token, and what their directories say.

#include "base/file.h"
#include "command.h"
#include "message_of.h"
#include "model/hf.h"
#include "model/same_tokenizer.h"
#include "reward/reward_model.h"
#include "testing.h"
#include "tiny_model.h"

#include <cstring>
#include <filesystem>

namespace {

ModelConfig config_of(ScoreHead head) {
    ModelConfig config = tiny_config();
    if (head == ScoreHead::scalar) config.head = Head::token_classification;
    return config;
}

ComputeConfig f64() {
    ComputeConfig compute;
    compute.dtype = DType::f64;
    return compute;
}

TrainSequence sequence_of(const std::vector<int32_t>& ids, int first) {
    TrainSequence sequence;
    sequence.ids = ids;
    for (int t = first; t < (int)ids.size(); ++t) sequence.target.push_back(t);
    return sequence;
}

std::vector<double> scores_of(ScoreHead head, const std::vector<int32_t>& ids, int first) {
    auto model = tiny_model(config_of(head), f64());
    Pass pass(*model, 64, 8, false);
    return head_scores(pass, head, {sequence_of(ids, first)}, 64)[0];
}

// A directory with a random model that has this head, and the tokens' texts "t0", "t1", ...
std::string write_directory(const std::string& path, ModelConfig config, uint64_t seed,
                            const std::string& renamed = "") {
    auto model = tiny_model(config, {}, false, seed);
    AtomicDirectory directory(path);
    write_model(*model, directory.temporary, "f32");
    Json vocabulary = Json::object();
    for (int id = 0; id < config.V; ++id)
        vocabulary[id == 5 && !renamed.empty() ? renamed : "t" + std::to_string(id)] = id;
    Json tokenizer = {{"model", {{"type", "BPE"}, {"vocab", vocabulary}}}};
    write_file(join_path(directory.temporary, "tokenizer.json"), tokenizer.dump());
    directory.commit();
    return path;
}

} // namespace

// A function of state and action: another action changes its own score, at every head, and none
// before it.
TEST(RewardModel, TheScoreOfATokenDependsOnThatTokenAndOnNoneAfterIt) {
    const int first = 4, changed = 7;
    std::vector<int32_t> ids = random_ids(12, 37, 3), other = ids;
    other[changed] = (ids[changed] + 1) % 37;
    for (ScoreHead head : {ScoreHead::scalar, ScoreHead::logit, ScoreHead::log_softmax}) {
        SCOPED_TRACE(score_head_name(head));
        std::vector<double> a = scores_of(head, ids, first), b = scores_of(head, other, first);
        ASSERT_EQ(a.size(), ids.size() - first);
        for (int t = first; t < changed; ++t) EXPECT_EQ(a[t - first], b[t - first]) << t;
        for (int t = changed; t < (int)ids.size(); ++t)
            EXPECT_GT(std::abs(a[t - first] - b[t - first]), 1e-6) << t;
    }
}

// The logit and its log-probability differ by a number of the state alone.
TEST(RewardModel, LogitsAreThoseOfTheLmHead) {
    std::vector<int32_t> prefix = random_ids(6, 37, 9);
    double sum = 0, shift = 0;
    for (int id = 0; id < 37; ++id) {
        std::vector<int32_t> ids = prefix;
        ids.push_back(id);
        double logit = scores_of(ScoreHead::logit, ids, 6)[0];
        double logp = scores_of(ScoreHead::log_softmax, ids, 6)[0];
        if (id == 0) shift = logit - logp;
        EXPECT_TRUE(close(logit - logp, shift, 1e-12));
        sum += std::exp(logit);
    }
    EXPECT_TRUE(close(std::log(sum), shift, 1e-12));
}

// Central differences through the whole model, by the parameters it has.
TEST(RewardModel, TheGradientOfALogitIsRight) {
    for (bool tied : {false, true}) {
        ModelConfig config = tiny_config();
        config.tied_embeddings = tied;
        auto model = tiny_model(config, f64());
        std::vector<TrainSequence> sequences = {sequence_of(random_ids(9, 37, 1), 3),
                                                sequence_of(random_ids(5, 37, 2), 1)};
        std::vector<std::vector<double>> a;
        Rng rng(5);
        for (const TrainSequence& sequence : sequences) {
            a.emplace_back();
            for (size_t t = 0; t < sequence.target.size(); ++t) a.back().push_back(rng.normal());
        }
        Objective objective;
        want_head(objective, ScoreHead::logit);
        objective.loss = [&](std::span<const TokenOutputs> outputs, std::span<TokenGrads> grads) {
            double loss = 0;
            for (size_t s = 0; s < outputs.size(); ++s)
                for (size_t t = 0; t < outputs[s].logit.size(); ++t) {
                    grads[s].dlogit[t] = a[outputs[s].index][t];
                    loss += a[outputs[s].index][t] * outputs[s].logit[t];
                }
            return loss;
        };
        Trainer trainer(*model, 64, 8);
        accumulate_gradients(trainer, sequences, objective);
        auto loss = [&] {
            auto scores = head_scores(trainer.pass, ScoreHead::logit, sequences, 64);
            double sum = 0;
            for (size_t s = 0; s < scores.size(); ++s)
                for (size_t t = 0; t < scores[s].size(); ++t) sum += a[s][t] * scores[s][t];
            return sum;
        };
        for (size_t p = 0; p < model->params.list.size(); ++p) {
            Tensor x = model->params.list[p].tensor, dx = trainer.grads.list[p].tensor;
            double want = 0, length = 0, h = 1e-5;
            std::vector<double> u(x.size()), at(x.as<double>(), x.as<double>() + x.size());
            for (int64_t i = 0; i < x.size(); ++i) {
                u[i] = rng.normal();
                want += u[i] * dx.as<double>()[i];
                length += dx.as<double>()[i] * dx.as<double>()[i];
            }
            auto moved = [&](double by) {
                for (int64_t i = 0; i < x.size(); ++i) x.as<double>()[i] = at[i] + by * u[i];
                double value = loss();
                std::memcpy(x.data, at.data(), x.bytes());
                return value;
            };
            double near = (moved(h) - moved(-h)) / (2 * h);
            double far = (moved(2 * h) - moved(-2 * h)) / (4 * h);
            EXPECT_LE(std::abs((4 * near - far) / 3 - want), 1e-7 * (std::sqrt(length) + 1e-3))
                << model->params.list[p].name;
        }
    }
}

// The values are transformers' (tests/reference/padded_scores.py).
TEST(RewardModel, ASequenceClassifierIsReadBeforeItsPadding) {
    using Ids = std::vector<int32_t>;
    const Ids texts[] = {{5, 9, 17, 2}, {5, 9, 17}, {5, 9, 2, 17, 2, 2}, {5, 9, 0, 17, 0}};
    struct Case {
        Json pad;
        double want[4];
    };
    for (const Case& c : {Case{0, {3.556829, 3.374722, 3.643908, 0.908072}},
                          {2, {3.374722, 3.374722, 1.926712, 2.938258}},
                          {nullptr, {3.556829, 3.374722, 3.643908, 2.938258}}}) {
        Scratch at;
        std::filesystem::copy("tests/golden/models/sequence_classification", at("m"));
        Json config = read_json(at("m/config.json"));
        config["pad_token_id"] = c.pad;
        remove_tree(at("m/config.json"));
        write_file(at("m/config.json"), config.dump());
        auto reward = load_reward_model(at("m"), "", {}, 64);
        std::vector<TrainSequence> all;
        for (const Ids& ids : texts) all.push_back(sequence_of(ids, 2));
        auto scores = token_scores(*reward, all);
        for (size_t i = 0; i < 4; ++i) {
            ASSERT_EQ(scores[i].size(), texts[i].size() - 2);
            EXPECT_NEAR(scores[i].back(), c.want[i], 2e-5) << c.pad << " " << i;
        }
        if (c.pad != 2) continue;
        // a completion of padding alone is read at the prompt's last token
        auto scored =
            token_scores(*reward, {sequence_of({5, 9, 2}, 2), sequence_of({5, 9, 17}, 1)});
        EXPECT_EQ(scored[0][0], scored[1][0]);
        // also where the prompt goes through the network once for several completions
        std::vector<TrainSequence> group = {sequence_of({5, 9, 17}, 2), sequence_of({5, 9, 2}, 2)};
        for (TrainSequence& sequence : group) sequence.prompt = 0, sequence.shared = 1;
        EXPECT_NEAR(token_scores(*reward, group)[1][0], scored[1][0], 1e-6);
        EXPECT_TRUE(contains(message_of([&] {
                                 token_scores(*reward, {sequence_of({5, 2, 2}, 1)});
                             }),
                             "padding id 2"));
    }
}

TEST(RewardModel, DirectoriesSayWhichHeadTheyHave) {
    Scratch at;
    ModelConfig lm = tiny_config(), token = lm, sequence = lm, logit = lm, soft = lm, dpo = lm;
    token.head = Head::token_classification, token.reward_kind = "qrm";
    sequence.head = Head::sequence_classification, sequence.reward_kind = "orm";
    logit.reward_head = "logit", logit.reward_kind = "qrm";
    soft.reward_head = "log_softmax", soft.reward_kind = "qrm";
    dpo.reward_kind = "dpo_rm";
    struct Case {
        const char* name;
        ModelConfig config;
        ScoreHead head;
        Pool pool;
    };
    for (const Case& c : {Case{"lm", lm, ScoreHead::log_prob, Pool::mean},
                          {"token", token, ScoreHead::scalar, Pool::mean},
                          {"sequence", sequence, ScoreHead::scalar, Pool::last},
                          {"logit", logit, ScoreHead::logit, Pool::mean},
                          {"soft", soft, ScoreHead::log_softmax, Pool::mean}}) {
        std::string path = write_directory(at(c.name), c.config, 1);
        auto reward = load_reward_model(path, "", {}, 64);
        EXPECT_EQ(reward->head, c.head) << c.name;
        EXPECT_EQ(reward->pool, c.pool) << c.name;
        EXPECT_EQ(reward->kind, c.config.reward_kind) << c.name;
    }
    std::string path = write_directory(at("dpo"), dpo, 2);
    std::string message = message_of([&] { load_reward_model(path, "", {}, 64); });
    EXPECT_TRUE(contains(message, "dpo_rm") && contains(message, "reference")) << message;
    auto reward = load_reward_model(path, at("lm"), {}, 64);
    EXPECT_EQ(reward->head, ScoreHead::log_ratio);
    EXPECT_EQ(reward->pool, Pool::sum);
    message = message_of([&] { load_reward_model(at("token"), at("lm"), {}, 64); });
    EXPECT_TRUE(contains(message, "no reference")) << message;
    message = message_of([&] { load_reward_model(path, at("token"), {}, 64); });
    EXPECT_TRUE(contains(message, "language model")) << message;

    // its own reference: no reward at all
    auto same = load_reward_model(at("lm"), at("lm"), {}, 64);
    auto nothing = token_scores(*same, {sequence_of(random_ids(9, 37, 1), 3)});
    for (double score : nothing[0]) EXPECT_EQ(score, 0);
    auto difference = token_scores(*reward, {sequence_of(random_ids(9, 37, 1), 3)})[0];
    auto own = load_reward_model(at("lm"), "", {}, 64);
    auto reference = token_scores(*own, {sequence_of(random_ids(9, 37, 1), 3)})[0];
    auto of_dpo = head_scores(*reward->pass, ScoreHead::log_prob,
                              {sequence_of(random_ids(9, 37, 1), 3)}, 64)[0];
    for (size_t t = 0; t < difference.size(); ++t)
        EXPECT_DOUBLE_EQ(difference[t], of_dpo[t] - reference[t]);
}

TEST(RewardModel, AnotherVocabularyIsRefused) {
    Scratch at;
    ModelConfig config = tiny_config(), larger = config;
    larger.V = 41;
    std::string policy = write_directory(at("policy"), config, 1);
    std::string renamed = write_directory(at("renamed"), config, 2, "other");
    std::string more = write_directory(at("more"), larger, 2);
    EXPECT_EQ(message_of([&] { check_same_tokenizer(policy, policy); }), "no error");
    std::string message = message_of([&] { check_same_tokenizer(policy, renamed); });
    EXPECT_TRUE(contains(message, "other") && contains(message, renamed)) << message;
    message = message_of([&] { check_same_tokenizer(policy, more); });
    EXPECT_TRUE(contains(message, "t37") && contains(message, "no id")) << message;
    message = message_of([&] { check_same_tokenizer(more, policy); });
    EXPECT_TRUE(contains(message, "41") && contains(message, "37")) << message;
    remove_tree(at("more/tokenizer.json"));
    message = message_of([&] { check_same_tokenizer(policy, more); });
    EXPECT_TRUE(contains(message, "41") && contains(message, "37")) << message;
}
