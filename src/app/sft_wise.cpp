#include "app/sft_wise.h"

#include "app/wise_heads.h"
#include "base/rng.h"
#include "model/hf.h"

#include <algorithm>

void WiseTrainSettings::visit(Fields& v) {
    struct Weights {
        WiseWeights& w;
        void visit(Fields& fields) {
            fields.field("id", w.id, 0, 1e6, "intent detection");
            fields.field("ke", w.ke, 0, 1e6, "keyphrase extraction");
            fields.field("ap", w.ap, 0, 1e6, "action prediction");
            fields.field("qs", w.qs, 0, 1e6, "query selection");
            fields.field("ps", w.ps, 0, 1e6, "passage selection");
            fields.field("rg", w.rg, 0, 1e6, "response generation");
        }
    } of_losses{weights};
    v.object("weights", of_losses, "heads: of the six losses");
    v.field("freeze_trunk_steps", freeze_trunk_steps, 0, 1e9,
            "heads: so many first steps train the heads alone");
    v.field("eval_turns", eval_turns, 0, 1e9,
            "held-out turns that the model says at each evaluation (eval_success, ..); 0: none");
    v.field("copy", copy,
            "heads: the authors' copy term in the response's probability; eval then needs it, too");
    v.choice("nothing_selected", nothing_selected, {"masked", "learnt"},
             "heads: a turn without keyphrases, selected queries or passages: masked leaves it out "
             "of that loss, as the authors do; learnt says that all are wrong");
    v.choice("denominator", denominator, {"mask_plus_one", "mean"},
             "heads: of KE, QS and PS; mask_plus_one is the authors'");
}

std::unique_ptr<Model> load_model_with_heads(const std::string& directory,
                                             const ComputeConfig& compute, uint64_t seed) {
    ModelConfig shape = read_model_config(directory);
    CHECK(shape.row_heads == 0 || shape.row_heads == WiseHeads::count,
          "%s has %d row heads, which are not WISE's", directory.c_str(), shape.row_heads);
    shape.row_heads = WiseHeads::count;
    auto model = make_model(shape, compute, false);
    const uint64_t head_seed = mix64(seed + 2);
    read_weights(*model, directory, &head_seed);
    return model;
}

static uint64_t hash_of(const WisePacked& turn, uint64_t hash) {
    for (const auto* list : {&turn.queries, &turn.passages})
        for (const std::vector<int32_t>& one : *list)
            for (int32_t id : one) hash = mix64(hash ^ (uint64_t)id);
    for (int32_t id : turn.context) hash = mix64(hash + (uint64_t)id);
    for (int32_t id : turn.response) hash = mix64(hash ^ (uint64_t)id);
    return hash;
}

namespace {

struct WiseData {
    WiseEncoder encoder;
    WiseTurns turns;
    int context; // the model's

    WisePacked packed(Split split, int64_t i) const {
        const WiseExample example = turns.example(split, i);
        WisePacked turn = encoder.pack(example, true);
        size_t longest = turn.response.size();
        for (const auto* list : {&turn.queries, &turn.passages})
            for (const auto& one : *list) longest = std::max(longest, one.size());
        CHECK(
            (int)(turn.context.size() + longest) <= context,
            "%s: conversations[%d]: context and candidate have %zu tokens; the model's context is "
            "%d. Lower wise.context_tokens or wise.passage_tokens",
            example.conversation->where.c_str(), example.turn.utterance,
            turn.context.size() + longest, context);
        return turn;
    }
};

Json members(const WiseLosses& losses, const std::string& prefix) {
    return {{prefix + "id", losses.id}, {prefix + "ke", losses.ke}, {prefix + "ap", losses.ap},
            {prefix + "qs", losses.qs}, {prefix + "ps", losses.ps}, {prefix + "rg", losses.rg}};
}

} // namespace

void prepare_wise(TrainLoop& loop, const WiseTraining& training) {
    const WiseTrainSettings& settings = training.settings;
    CHECK(!loop.trainer.model.compute.ranks,
          "train.objective=wise trains on one process; leave mpirun out");
    CHECK(settings.freeze_trunk_steps == 0 || loop.optim.adamw.weight_decay == 0,
          "wise.freeze_trunk_steps=%lld with optim.weight_decay=%g: the decay would change what is "
          "frozen; set optim.weight_decay=0",
          (long long)settings.freeze_trunk_steps, loop.optim.adamw.weight_decay);
    auto data = std::make_shared<WiseData>(
        WiseData{{training.inputs, training.task.wise, settings.nothing_selected == "learnt"},
                 wise_examples(training.task),
                 loop.trainer.model.config.max_positions});
    CHECK(data->turns.count(Split::train) > 0, "nothing to train on: set task.conversations");
    std::vector<WisePacked> held_out;
    const int64_t most = training.eval_rows ? training.eval_rows : 256;
    for (int64_t i = 0; i < std::min(data->turns.count(Split::eval), most); ++i)
        held_out.push_back(data->packed(Split::eval, i));
    uint64_t hash = 0;
    for (int64_t i = 0; i < std::min<int64_t>(data->turns.count(Split::train), 64); ++i)
        hash = hash_of(data->packed(Split::train, i), hash);
    loop.loss_name = "loss";
    loop.fingerprint = format("%016llx", (unsigned long long)hash);

    WiseObjective objective;
    objective.weight = settings.weights;
    objective.plus_one = settings.denominator == "mask_plus_one";
    objective.copy = settings.copy;
    loop.gradients = [=, &trainer = loop.trainer, n = (int64_t)training.rows_per_step,
                      frozen = settings.freeze_trunk_steps](int64_t step, Json& line) {
        std::vector<WisePacked> batch;
        for (int64_t i = (step - 1) * n; i < step * n; ++i)
            batch.push_back(data->packed(Split::train, i));
        WiseObjective now = objective;
        now.heads_only = step <= frozen;
        WiseLosses losses;
        StepStats stats = accumulate_wise(trainer, batch, now, losses);
        line.update(members(losses, "loss_"));
        return stats;
    };
    if (held_out.empty()) return;
    loop.evaluate = [=, &trainer = loop.trainer](bool before) {
        const WiseLosses losses = evaluate_wise(trainer.pass, held_out,
                                                trainer.tokens_per_micro_batch, objective, nullptr);
        const double loss = weighted_sum(losses, objective.weight);
        Json line = members(losses, before ? "eval_before_loss_" : "eval_loss_");
        line[before ? "eval_loss_before" : "eval_loss"] = loss;
        return TrainLoop::Held{line,
                               format("loss %.4f (id %.3f ke %.3f ap %.3f qs %.3f ps %.3f rg %.3f)",
                                      loss, losses.id, losses.ke, losses.ap, losses.qs, losses.ps,
                                      losses.rg),
                               loss};
    };
}
