#include "reward/reward_loss.h"

#include "base/config.h"
#include "credit/channel.h"
#include "reward/cpo.h"
#include "reward/dpo.h"
#include "reward/implicit_prm.h"
#include "reward/ipo.h"
#include "reward/kto.h"
#include "reward/orm.h"
#include "reward/orpo.h"
#include "reward/pgtg.h"
#include "reward/prm.h"
#include "reward/qrm.h"

#include <cmath>

using Reads = RewardKind::Reads;
using Scores = std::span<const double>;
using Grads = std::span<double>;

// ---- the losses in one form ---------------------------------------------------------------------

static double orm(const RewardSettings&, const AnswerScores& w, const AnswerScores& l, Grads dw,
                  Grads dl) {
    return orm_loss(w.score.back(), l.score.back(), dw.back(), dl.back());
}

// The right word against the wrong one, each the whole answer: BCE on z = logp(yes) - logp(no), as
// softplus(-z) for yes and softplus(z) for no.
static double yes_no(const RewardSettings&, const AnswerScores& w, const AnswerScores& l, Grads dw,
                     Grads dl) {
    return orm_loss(w.score.back(), l.score.back(), dw.back(), dl.back());
}

static double pgtg(const RewardSettings&, const AnswerScores& w, const AnswerScores& l, Grads dw,
                   Grads dl) {
    return pgtg_loss(w.score, l.score, dw, dl);
}

static double qrm(const RewardSettings& settings, const AnswerScores& w, const AnswerScores& l,
                  Grads dw, Grads dl) {
    return qrm_loss(w.score, l.score, settings.beta, settings.gamma, dw, dl);
}

static double dpo(const RewardSettings& settings, const AnswerScores& w, const AnswerScores& l,
                  Grads dw, Grads dl) {
    const DpoTerm term = dpo_loss(w.score, w.logp_ref, l.score, l.logp_ref, settings.beta, 0);
    for (double& x : dw) x = term.dchosen;
    for (double& x : dl) x = term.drejected;
    return term.loss;
}

static double ipo(const RewardSettings& settings, const AnswerScores& w, const AnswerScores& l,
                  Grads dw, Grads dl) {
    return ipo_loss(w.score, w.logp_ref, l.score, l.logp_ref, settings.beta, dw, dl);
}

static double orpo(const RewardSettings& settings, const AnswerScores& w, const AnswerScores& l,
                   Grads dw, Grads dl) {
    return orpo_loss(w.score, l.score, settings.beta, dw, dl);
}

static double cpo(const RewardSettings& settings, const AnswerScores& w, const AnswerScores& l,
                  Grads dw, Grads dl) {
    return cpo_loss(w.score, l.score, settings.beta, dw, dl);
}

static double kto(const RewardSettings& settings, const AnswerScores& answer, Grads d) {
    return kto_loss(answer.score, answer.logp_ref, answer.label[0], answer.z0, settings.beta,
                    settings.desirable, settings.undesirable, d);
}

static double orm_pointwise(const RewardSettings& settings, const AnswerScores& answer, Grads d) {
    return orm_pointwise_loss(answer.score.back(), answer.label[0], settings.focal, d.back());
}

static double prm(const RewardSettings&, const AnswerScores& answer, Grads d) {
    return prm_loss(answer.score, answer.label, d);
}

static double implicit_prm(const RewardSettings& settings, const AnswerScores& answer, Grads d) {
    return implicit_prm_loss(answer.score, answer.logp_ref, answer.label[0], settings.beta, d);
}

// ---- the table ----------------------------------------------------------------------------------

constexpr Head at_last = Head::sequence_classification, at_each = Head::token_classification;
static const RewardKind kinds[] = {
    // clang-format off
    // name           head      read at         pool        ratio  policy beta sft labels        loss
    {"orm",           at_last,  Reads::last,   Pool::last, false, false, 1,   0, "",           orm,     nullptr},
    {"orm_pointwise", at_last,  Reads::last,   Pool::last, false, false, 1,   0, "0 or 1",     nullptr, orm_pointwise},
    {"prm",           at_each,  Reads::steps,  Pool::mean, false, false, 1,   0, "-1, 0 or 1", nullptr, prm},
    {"pgtg",          at_each,  Reads::tokens, Pool::mean, false, false, 1,   0, "",           pgtg,    nullptr},
    {"qrm",           at_each,  Reads::tokens, Pool::mean, false, false, 0.2, 0, "",           qrm,     nullptr},
    {"yes_no",        Head::lm, Reads::last,   Pool::last, false, false, 1,   0, "",           yes_no,  nullptr},
    {"dpo_rm",        Head::lm, Reads::tokens, Pool::sum,  true,  false, 0.1, 0, "",           dpo,     nullptr},
    {"implicit_prm",  Head::lm, Reads::tokens, Pool::sum,  true,  false, 1,   0, "0 or 1",     nullptr, implicit_prm},
    {"dpo",           Head::lm, Reads::tokens, Pool::sum,  true,  true,  0.1, 0, "",           dpo,     nullptr},
    {"ipo",           Head::lm, Reads::tokens, Pool::mean, true,  true,  0.1, 0, "",           ipo,     nullptr},
    {"kto",           Head::lm, Reads::tokens, Pool::sum,  true,  true,  0.1, 0, "0 or 1",     nullptr, kto},
    {"orpo",          Head::lm, Reads::tokens, Pool::mean, false, true,  0.1, 0, "",           orpo,    nullptr},
    {"cpo",           Head::lm, Reads::tokens, Pool::sum,  false, true,  0.1, 1, "",           cpo,     nullptr},
    {"simpo",         Head::lm, Reads::tokens, Pool::mean, false, true,  2,   0, "",           qrm,     nullptr},
    // clang-format on
};

void RewardSettings::visit(Fields& v) {
    std::vector<std::string> names = {""};
    for (const RewardKind& row : kinds) names.push_back(row.name);
    v.choice("kind", kind, names,
             "which reward model, or which preference loss of a policy (dpo, ipo, kto, orpo, cpo, "
             "simpo): loss, head and data");
    v.choice("head", head, {"scalar", "logit", "log_softmax"},
             "qrm: Z as a scalar read at the token itself, or as the taken token's logit or "
             "log-probability in the vocabulary head");
    v.input("reference", reference,
            "of the log-ratios (dpo_rm, implicit_prm, dpo, ipo, kto): the model they are taken to; "
            "empty: the one training starts from");
    v.field(
        "beta", beta, 0, 1e6,
        "beta: factor on the scores of qrm, dpo_rm, implicit_prm and the preference losses; 0: the "
        "kind's own (0.2, 0.1, 1; 0.1, simpo 2)");
    v.field("gamma", gamma, -1e6, 1e6, "gamma: margin of qrm and simpo");
    v.field(
        "sft_coef", sft_coef, -1, 1e6,
        "lambda: preference losses of pairs: weight of -mean logp of the chosen answer; -1: the "
        "kind's own (cpo 1, else 0)");
    v.field("desirable", desirable, 0, 1e6, "lambda_D: kto's weight of good answers");
    v.field("undesirable", undesirable, 0, 1e6, "lambda_U: kto's weight of bad answers");
    v.field("ce_coef", ce_coef, 0, 1e6,
            "eta: qrm with head=log_softmax: weight of the cross entropy on the chosen answer");
    v.field("focal", focal, 0, 100, "f: orm_pointwise: exponent of the focal weight; 0: none");
}

const RewardKind* find_reward_kind(const std::string& name) {
    for (const RewardKind& row : kinds)
        if (name == row.name) return &row;
    return nullptr;
}

std::span<const RewardKind> reward_kind_table() { return kinds; }

const RewardKind& reward_kind(const std::string& name) {
    if (const RewardKind* row = find_reward_kind(name)) return *row;
    std::string list;
    for (const RewardKind& row : kinds) list += (list.empty() ? "" : ", ") + std::string(row.name);
    fail("reward.kind is \"%s\"; it must be one of %s", name.c_str(), list.c_str());
}

void resolve_reward(RewardSettings& settings) {
    const RewardKind& kind = reward_kind(settings.kind);
    const bool qrm = settings.kind == "qrm";
    if (settings.beta == 0) settings.beta = kind.beta;
    CHECK(settings.sft_coef <= 0 || (kind.policy && kind.pairs()),
          "reward.sft_coef=%g belongs to the preference losses of pairs; %s is none",
          settings.sft_coef, kind.name);
    if (settings.sft_coef < 0) settings.sft_coef = kind.sft_coef;
    CHECK(settings.kind == "kto" || (settings.desirable == 1 && settings.undesirable == 1),
          "reward.desirable and reward.undesirable belong to reward.kind=kto");
    CHECK(qrm || settings.head == "scalar",
          "reward.head=%s belongs to reward.kind=qrm; %s has one head only", settings.head.c_str(),
          kind.name);
    CHECK(kind.ratio || settings.reference.empty(),
          "reward.reference=%s: the loss of %s has no reference", settings.reference.c_str(),
          kind.name);
    CHECK(settings.kind == "orm_pointwise" || settings.focal == 0,
          "reward.focal=%g belongs to reward.kind=orm_pointwise", settings.focal);
    if (!qrm || settings.head != "log_softmax") settings.ce_coef = 0;
}

ScoreHead trained_head(const RewardSettings& settings) {
    const RewardKind& kind = reward_kind(settings.kind);
    if (kind.model_head == Head::lm) return ScoreHead::log_prob;
    if (settings.head == "logit") return ScoreHead::logit;
    return settings.head == "log_softmax" ? ScoreHead::log_softmax : ScoreHead::scalar;
}

void shape_reward_model(ModelConfig& config, const RewardSettings& settings) {
    const ScoreHead head = trained_head(settings);
    const bool policy = reward_kind(settings.kind).policy; // an ordinary language model
    config.reward_kind = policy ? "" : settings.kind;
    config.reward_head =
        head == ScoreHead::logit || head == ScoreHead::log_softmax ? settings.head : "";
    config.head = head == ScoreHead::scalar ? reward_kind(settings.kind).model_head : Head::lm;
    if (config.head == Head::lm) return;
    config.score_bias = false; // a constant added to all scores changes no pair
}

// ---- the objective of a step --------------------------------------------------------------------

static AnswerScores answer_of(const RewardBatch& batch, int index, Scores score) {
    AnswerScores answer;
    answer.score = score;
    if (!batch.label.empty()) answer.label = batch.label[index];
    if (!batch.logp_ref.empty()) answer.logp_ref = batch.logp_ref[index];
    answer.z0 = batch.z0;
    return answer;
}

Objective reward_objective(const RewardSettings& settings, const RewardBatch& batch) {
    const RewardKind& kind = reward_kind(settings.kind);
    const size_t rows = batch.sequences.size();
    CHECK(rows > 0, "a step without an answer to train on");
    CHECK(!kind.pairs() || batch.paired, "reward.kind=%s needs pairs", kind.name);
    CHECK(kind.pairs() || batch.label.size() == rows, "reward.kind=%s needs labels", kind.name);
    CHECK(!kind.ratio || batch.logp_ref.size() == rows,
          "reward.kind=%s needs log-probabilities of the reference", kind.name);
    size_t anchored = 0; // K: fixed before the step is cut into micro-batches
    for (size_t s = 0; s < rows; s += 2) anchored += batch.sequences[s].target.size();
    const double anchor = settings.ce_coef / (double)anchored;
    const double weight = (kind.pairs() ? 2.0 : 1.0) / (double)rows;

    const ScoreHead head = trained_head(settings);
    Objective objective;
    want_head(objective, head);
    objective.loss = [settings, &kind, &batch, head, anchor,
                      weight](std::span<const TokenOutputs> outputs, std::span<TokenGrads> grads) {
        double loss = 0;
        for (size_t i = 0; i < outputs.size(); i += kind.pairs() ? 2 : 1) {
            const int index = outputs[i].index;
            std::span<const double> score = head_of(outputs[i], head);
            std::span<double> dscore = head_of(grads[i], head);
            if (!kind.pairs()) {
                loss += weight * kind.answer_loss(settings, answer_of(batch, index, score), dscore);
                for (double& x : dscore) x *= weight;
                continue;
            }
            CHECK(index % 2 == 0 && i + 1 < outputs.size() && outputs[i + 1].index == index + 1,
                  "the answers of a pair came apart: they must share a bundle");
            std::span<double> dother = head_of(grads[i + 1], head);
            loss +=
                weight * kind.pair_loss(settings, answer_of(batch, index, score),
                                        answer_of(batch, index + 1, head_of(outputs[i + 1], head)),
                                        dscore, dother);
            for (double& x : dscore) x *= weight;
            for (double& x : dother) x *= weight;
            if (anchor > 0) loss += ce_anchor(score, anchor, dscore);
            if (settings.sft_coef > 0)
                loss += ce_anchor(score, weight * settings.sft_coef / (double)score.size(), dscore);
        }
        return loss;
    };
    return objective;
}

// ---- kto's reference point ----------------------------------------------------------------------

std::vector<TrainSequence> mismatched(const RewardBatch& batch) {
    std::vector<TrainSequence> others;
    const size_t rows = batch.sequences.size(), stride = batch.paired ? 2 : 1;
    for (size_t s = 0; s < rows; ++s) {
        const TrainSequence &own = batch.sequences[s], &next = batch.sequences[(s + stride) % rows];
        TrainSequence& other = others.emplace_back();
        other.ids.assign(own.ids.begin(), own.ids.begin() + own.target[0]);
        const int first = (int)other.ids.size();
        other.ids.insert(other.ids.end(), next.ids.begin() + next.target[0], next.ids.end());
        // no longer than what the model has room for
        other.ids.resize(std::min(other.ids.size(), std::max(own.ids.size(), next.ids.size())));
        for (int t = first; t < (int)other.ids.size(); ++t) other.target.push_back(t);
    }
    return others;
}

double kto_reference_point(const std::vector<std::vector<double>>& logp,
                           const std::vector<std::vector<double>>& logp_ref) {
    double sum = 0;
    for (size_t s = 0; s < logp.size(); ++s)
        sum += pooled(logp[s], Pool::sum) - pooled(logp_ref[s], Pool::sum);
    return std::max(0.0, sum / (double)logp.size());
}

// ---- held-out figures ---------------------------------------------------------------------------

static double loss_of(const RewardSettings& settings, const RewardBatch& batch,
                      const std::vector<std::vector<double>>& outputs) {
    const ScoreHead head = trained_head(settings);
    std::vector<std::vector<double>> scratch = outputs;
    std::vector<TokenOutputs> rows;
    std::vector<TokenGrads> grads;
    for (size_t s = 0; s < outputs.size(); ++s) {
        TokenOutputs row{(int)s, {}, {}, {}, {}};
        TokenGrads grad;
        const bool scalar = head == ScoreHead::scalar, logit = head == ScoreHead::logit;
        (scalar ? row.value : logit ? row.logit : row.logp) = outputs[s];
        (scalar ? grad.dvalue : logit ? grad.dlogit : grad.dlogp) = scratch[s];
        rows.push_back(row), grads.push_back(grad);
    }
    return reward_objective(settings, batch).loss(rows, grads);
}

RewardFigures reward_figures(const RewardSettings& settings, const RewardBatch& batch,
                             const std::vector<std::vector<double>>& outputs) {
    const RewardKind& kind = reward_kind(settings.kind);
    RewardFigures figures;
    figures.loss = loss_of(settings, batch, outputs);
    std::vector<std::vector<double>> Z = outputs;
    double sum = 0, square = 0, count = 0;
    for (size_t s = 0; s < Z.size(); ++s)
        for (size_t t = 0; t < Z[s].size(); ++t) {
            if (kind.ratio) Z[s][t] -= batch.logp_ref[s][t];
            sum += Z[s][t], square += Z[s][t] * Z[s][t], ++count;
        }
    figures.spread = std::sqrt(std::max(0.0, square / count - sum / count * (sum / count)));
    const Pool pool = kind.pool;
    if (batch.paired) {
        const double pairs = (double)Z.size() / 2;
        figures.pair_accuracy = figures.gap = 0;
        for (size_t s = 0; s < Z.size(); s += 2) {
            const double gap = pooled(Z[s], pool) - pooled(Z[s + 1], pool);
            figures.gap += gap / pairs;
            figures.pair_accuracy += (gap > 0 ? 1 : gap == 0 ? 0.5 : 0) / pairs;
        }
    }
    if (kind.pairs()) return figures;
    double right = 0, labels = 0;
    for (size_t s = 0; s < Z.size(); ++s)
        for (size_t k = 0; k < batch.label[s].size(); ++k) {
            const bool steps = kind.reads == Reads::steps;
            const double label = steps ? batch.label[s][k] : 2 * batch.label[s][k] - 1;
            if (label == 0) continue;
            ++labels, right += (steps ? Z[s][k] : pooled(Z[s], pool)) * label > 0;
        }
    if (labels > 0) figures.label_accuracy = right / labels;
    return figures;
}
