// rlhf sft CONFIG: supervised fine-tuning on rows, or on a task's worked answers.

#include "app/commands.h"
#include "app/eval_wise.h"
#include "app/inputs.h"
#include "app/memory_plan.h"
#include "app/problems.h"
#include "app/sft_wise.h"
#include "app/train_loop.h"
#include "dist/processes.h"
#include "model/hf.h"
#include "text/verdict_fields.h"
#include "train/order.h"
#include "train/sft_loss.h"

#include <cstdio>

namespace {

struct SftTrainSettings : TrainSettings { // train.*
    std::vector<double> verdict_weights = {1, 1, 1};
    void visit(Fields& v) {
        TrainSettings::visit(v);
        v.field(
            "verdict_weights", verdict_weights, 0, 1e6,
            "TRM: weights of a verdict's tokens in the loss: faithfulness, reason, correctness; "
            "what is no verdict has 1");
    }
    bool weighted() const { return verdict_weights != std::vector<double>{1, 1, 1}; }
};

struct SftConfig {
    ModelSettings model;
    TinySettings tiny;
    RunSettings run;
    ComputeSettings compute;
    DataSettings data;
    ChatConfig chat;
    TaskConfig task;
    WiseSettings wise;
    WiseTrainSettings wise_training;
    std::string objective = "tokens";
    struct WiseKeys { // wise.*
        SftConfig& config;
        void visit(Fields& v) {
            config.wise.visit(v);
            config.wise_training.visit(v);
        }
    };
    SftTrainSettings train;
    OptimSettings optim;
    DistSettings dist;
    void visit(Fields& v) {
        v.object("model", model, "the model to start from; without one, the built-in tiny model");
        v.object("tiny", tiny, "the built-in model");
        v.object("run", run, "the run directory");
        v.object("compute", compute, "the machine");
        v.object("data", data, "rows to train on");
        v.object("chat", chat, "conversations");
        v.object("task", task, "instead of data.train: worked answers of a task");
        WiseKeys wise_keys{*this};
        v.object("wise", wise_keys, "conversational search");
        v.object("train", train, "steps");
        v.choice("train.objective", objective, {"tokens", "wise"},
                 "tokens: -log p of each trained token; wise: WISE's six losses, of the tasks wise "
                 "and mini_wise with task.form=heads");
        v.object("optim", optim, "AdamW");
        v.object("dist", dist, "several processes (mpirun)");
    }
};

// The sequences of every step: rows of a file, or a task's problems.
struct TrainingData {
    std::vector<TrainSequence> rows;
    RowOrder order{1, false, 0};
    Task task;
    int rows_per_step = 0;
    RowOptions options;

    std::vector<TrainSequence> step(int64_t number) {
        std::vector<TrainSequence> sequences;
        if (rows.empty())
            for (int64_t i = (number - 1) * rows_per_step; i < number * rows_per_step; ++i)
                sequences.push_back(of_task(Split::train, i));
        else
            for (int row : order.of_step(number, rows_per_step)) sequences.push_back(rows[row]);
        return sequences;
    }
    TrainSequence of_task(Split split, int64_t i) {
        return train_sequence(problem_row(task.problem(split, i), options, RowNeed::completion));
    }
};

std::vector<TrainSequence> read_sequences(const std::string& path, const RowOptions& options) {
    std::vector<TrainSequence> sequences;
    for (const Row& row : read_rows(path, options, RowNeed::completion)) {
        sequences.push_back(train_sequence(row));
        CHECK(!sequences.back().target.empty(), "%s: the row has no token to train on",
              row.where.c_str());
    }
    return sequences;
}

// Of every target: its verdict's field's.
std::vector<std::vector<double>> field_weights(const std::vector<TrainSequence>& sequences,
                                               const std::vector<double>& weights,
                                               const Tokenizer& tokenizer) {
    std::vector<std::vector<double>> all;
    for (const TrainSequence& sequence : sequences) {
        const std::vector<int32_t> trained(sequence.ids.begin() + sequence.target[0],
                                           sequence.ids.end());
        std::vector<size_t> begins;
        const std::string text = tokenizer.decode(trained, true, &begins);
        const std::vector<Segment> fields = verdict_fields(text);
        const std::vector<int> field = token_segments(begins, fields);
        all.emplace_back();
        for (int32_t t : sequence.target) {
            const size_t k = (size_t)(t - sequence.target[0]);
            const bool written = field[k] >= 0 && begins[k] != std::string::npos;
            const std::string name = written ? fields[field[k]].name : "";
            all.back().push_back(name == "faithfulness"  ? weights[0]
                                 : name == "reason"      ? weights[1]
                                 : name == "correctness" ? weights[2]
                                                         : 1);
        }
    }
    return all;
}

// Of a task that has no end, unless data.eval_rows says otherwise.
constexpr int task_eval_rows = 256;

TrainingData open_data(const SftConfig& config, const RowOptions& options,
                       std::vector<TrainSequence>& held_out) {
    TrainingData data;
    data.options = options;
    data.rows_per_step = config.train.rows_per_step;
    int64_t limit = config.data.eval_rows;
    if (!config.task.name.empty()) {
        CHECK(config.data.train.empty() && config.data.eval.empty(),
              "task.name=%s and data.train=%s: both say what to train on; leave one of them out",
              config.task.name.c_str(), config.data.train.c_str());
        data.task = make_task(config.task);
        int64_t count = data.task.count(Split::eval);
        if (!limit) limit = count == INT64_MAX ? task_eval_rows : count;
        check_lengths(data.task, Split::train, INT64_MAX, options, RowNeed::completion);
        check_lengths(data.task, Split::eval, limit, options, RowNeed::completion);
        for (int64_t i = 0; i < std::min(count, limit); ++i)
            held_out.push_back(data.of_task(Split::eval, i));
    } else {
        CHECK(!config.data.train.empty(),
              "nothing to train on: set data.train=FILE, or task.name for made-up problems");
        data.rows = read_sequences(config.data.train, options);
        data.order = RowOrder((int)data.rows.size(), config.data.shuffle, config.run.seed);
        if (!config.data.eval.empty()) held_out = read_sequences(config.data.eval, options);
        if (limit && limit < (int64_t)held_out.size()) held_out.resize(limit);
    }
    return data;
}

// Mean of -logp over all targets, nats per token.
double mean_loss(Trainer& trainer, const std::vector<TrainSequence>& sequences) {
    double sum = 0;
    int64_t count = 0;
    for (const SequenceOutputs& row :
         evaluate_sequences(trainer.pass, sequences, trainer.tokens_per_micro_batch, {}))
        for (double logp : row.logp) sum -= logp, ++count;
    return sum / (double)count;
}

// The directory to load from: the checkpoint, the user's model, or the built-in one, made here.
std::string start_directory(const SftConfig& config, Run& run, const Ranks& ranks) {
    if (!run.checkpoint.empty()) return run.checkpoint;
    if (!config.model.path.empty()) return model_directory(config.model.path);
    if (config.task.name == "wise" || config.task.name == "mini_wise") {
        if (ranks.speaks()) {
            run.begin();
            write_tiny_model(config.tiny, mini_wise_vocabulary(), (uint64_t)config.run.seed,
                             run.file("initial"));
        }
        ranks.wait();
        return run.file("initial");
    }
    const std::string& about = config.tiny.writes_about;
    TaskConfig task = config.task;
    if (!about.empty()) task.name = about;
    const Vocabulary* vocabulary = task.name.empty() ? nullptr : make_task(task).vocabulary;
    CHECK(vocabulary,
          "model.path is missing: the directory of the model to train (only the built-in tasks, as "
          "task.name=arithmetic, have a built-in model, and tiny.writes_about one that judges)");
    if (ranks.speaks()) {
        run.begin();
        write_tiny_model(config.tiny, about.empty() ? *vocabulary : vocabulary->with_ascii(),
                         (uint64_t)config.run.seed, run.file("initial"));
    }
    ranks.wait();
    return run.file("initial");
}

} // namespace

static int sft(SftConfig& config, const Args&) {
    config.task.wise = config.wise;
    Fields fields;
    config.visit(fields);
    ComputeConfig compute = apply_compute(config.compute);
    const Ranks ranks(compute, config.dist);
    const bool speaks = ranks.speaks();
    Run run(config.run, fields, config.train.steps, compute.ranks);
    if (tell_if_finished(run, config.train)) return 0;
    const bool wise = config.objective == "wise";
    CHECK(!wise || config.task.name == "wise" || config.task.name == "mini_wise",
          "train.objective=wise needs task.name=wise or mini_wise, found \"%s\"",
          config.task.name.c_str());
    CHECK(wise || config.task.form != "heads",
          "task.form=heads is trained by train.objective=wise, found train.objective=%s",
          config.objective.c_str());
    CHECK(!wise || !compute.ranks,
          "train.objective=wise is trained by one process, without dist.determinism=2");
    ranks.wait(); // all have looked at the directory before the first writes into it
    std::string directory = start_directory(config, run, ranks);
    std::unique_ptr<Model> model =
        wise ? load_model_with_heads(directory, compute, (uint64_t)config.run.seed)
             : load_model(directory, compute, false);
    CHECK(model->config.head == Head::lm, "%s is a reward model; sft needs a language model",
          directory.c_str());
    model->config.reward_head = model->config.reward_kind = ""; // a language model leaves here
    Inputs inputs = open_inputs(directory, model->config, config.data.template_name,
                                config.data.add_eos, config.chat);
    CHECK(config.train.verdict_weights.size() == 3,
          "train.verdict_weights needs three weights: faithfulness, reason, correctness; found %zu",
          config.train.verdict_weights.size());
    CHECK(!config.train.weighted() || inputs.tokenizer,
          "train.verdict_weights needs a tokenizer to see the fields; %s has none",
          directory.c_str());
    std::vector<TrainSequence> held_out;
    TrainingData data;
    if (!wise) data = open_data(config, inputs.options, held_out);
    const int budget = config.train.tokens_per_micro_batch;
    PlannedRun planned;
    planned.tokens_per_micro_batch = budget, planned.ranks = compute.parts();
    if (speaks) print_plan(model->config, compute, planned);
    Trainer trainer(*model, budget, budget);

    TrainLoop loop{"sft",
                   "loss_nats_per_token",
                   run,
                   trainer,
                   config.train,
                   config.optim,
                   config.data.train,
                   fingerprint_of(data.rows)};
    loop.gradients = [&](int64_t step, Json&) {
        std::vector<TrainSequence> sequences = data.step(step);
        std::vector<std::vector<double>> weights;
        if (config.train.weighted())
            weights = field_weights(sequences, config.train.verdict_weights, *inputs.tokenizer);
        return accumulate_gradients(trainer, sequences, sft_loss(sequences, weights));
    };
    if (!held_out.empty())
        loop.evaluate = [&](bool before) {
            double loss = mean_loss(trainer, held_out);
            const char* name =
                before ? "eval_loss_before_nats_per_token" : "eval_loss_nats_per_token";
            return TrainLoop::Held{
                {{name, loss}}, format("eval loss %.4f nats per token", loss), loss};
        };
    if (wise)
        prepare_wise(loop, {inputs, config.task, config.wise_training, config.train.rows_per_step,
                            config.data.eval_rows});
    if (const int turns = config.wise_training.eval_turns; loop.evaluate && turns > 0)
        loop.evaluate = [&, turns, losses = loop.evaluate](bool before) {
            TrainLoop::Held held = losses(before);
            if (before) return held;
            const Json said =
                wise_progress(*model, inputs, config.task, turns, config.wise_training.copy);
            held.members.update(said);
            held.words += format(", task success %s", said["eval_success"].dump().c_str());
            return held;
        };
    loop.go();
    if (!speaks) return 0;
    if (!held_out.empty())
        std::printf("eval loss %.4f before, %.4f after, nats per token\n",
                    loop.before["eval_loss_before_nats_per_token"].get<double>(),
                    loop.after["eval_loss_nats_per_token"].get<double>());
    std::printf("the model is %s\n", run.checkpoint.c_str());
    return 0;
}

extern const Command sft_command;
const Command sft_command =
    command<SftConfig, sft>("sft", "supervised fine-tuning on rows or a task's worked answers");
