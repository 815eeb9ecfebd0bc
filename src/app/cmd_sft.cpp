// rlhf sft CONFIG: supervised fine-tuning on rows, or on a task's worked answers.

#include "app/commands.h"
#include "app/inputs.h"
#include "base/rng.h"
#include "model/hf.h"
#include "report/tensorboard.h"
#include "train/order.h"
#include "train/run.h"
#include "train/sft_loss.h"

#include <chrono>
#include <cstdio>

namespace {

struct SftConfig {
    ModelSettings model;
    TinySettings tiny;
    RunSettings run;
    ComputeSettings compute;
    DataSettings data;
    ChatConfig chat;
    TaskConfig task;
    TrainSettings train;
    OptimSettings optim;
    void visit(Fields& v) {
        v.object("model", model, "the model to start from; without one, the built-in tiny model");
        v.object("tiny", tiny, "the built-in model");
        v.object("run", run, "the run directory");
        v.object("compute", compute, "the machine");
        v.object("data", data, "rows to train on");
        v.object("chat", chat, "conversations");
        v.object("task", task, "instead of data.train: worked answers of a task");
        v.object("train", train, "steps");
        v.object("optim", optim, "AdamW");
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
    // 64 bits of all rows: a resumed run must see what it saw before.
    std::string fingerprint() const {
        uint64_t hash = rows.size();
        for (const TrainSequence& row : rows) {
            for (int32_t id : row.ids) hash = mix64(hash ^ (uint64_t)id);
            for (int32_t t : row.target) hash = mix64(hash + (uint64_t)t);
        }
        return format("%016llx", (unsigned long long)hash);
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

constexpr int TASK_EVAL_ROWS =
    256; // of a task that has no end, unless data.eval_rows says otherwise

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
        if (!limit) limit = count == INT64_MAX ? TASK_EVAL_ROWS : count;
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

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// The directory to load from: the checkpoint, the user's model, or the built-in one, made here.
std::string start_directory(const SftConfig& config, Run& run) {
    if (!run.checkpoint.empty()) return run.checkpoint;
    if (!config.model.path.empty()) return model_directory(config.model.path);
    CHECK(config.task.name == "arithmetic",
          "model.path is missing: the directory of the model to train (only task.name=arithmetic "
          "has a built-in model)");
    run.begin();
    write_tiny_model(config.tiny, (uint64_t)config.run.seed, run.file("initial"));
    return run.file("initial");
}

} // namespace

static int sft(SftConfig& config, const Args&) {
    Fields fields;
    config.visit(fields);
    const ComputeConfig compute = apply_compute(config.compute);
    const int64_t steps = config.train.steps;
    Run run(config.run, fields, steps);
    if (run.finished()) {
        std::printf("finished: %s has %lld of %lld steps; the model is %s\n",
                    config.run.dir.c_str(), (long long)run.step, (long long)steps,
                    run.checkpoint.c_str());
        return 0;
    }
    std::string directory = start_directory(config, run);
    std::unique_ptr<Model> model = load_model(directory, compute, false);
    CHECK(model->config.head == Head::lm, "%s is a reward model; sft needs a language model",
          directory.c_str());
    Inputs inputs = open_inputs(directory, model->config, config.data.template_name,
                                config.data.add_eos, config.chat);
    std::vector<TrainSequence> held_out;
    TrainingData data = open_data(config, inputs.options, held_out);
    const int budget = config.train.tokens_per_micro_batch;
    Trainer trainer(*model, budget, budget);

    Json state = {{"rows", data.rows.size()}, {"data", data.fingerprint()}};
    if (run.step > 0) {
        Json saved = run.resumed_state();
        CHECK(saved["data"] == state["data"],
              "%s does not hold the rows that %s was trained on; put them back, or choose another "
              "run.dir",
              config.data.train.c_str(), run.checkpoint.c_str());
        state = saved;
        load_checkpoint(run, trainer);
    }
    run.begin();
    EventLog events;
    events.open(config.run.dir, run.step);

    Progress progress("sft", "steps", steps, run.step);
    if (run.step > 0) progress.message(format("continuing from %s", run.checkpoint.c_str()));
    double after = 0;
    for (int64_t step = run.step + 1; step <= steps; ++step) {
        Json line = {{"step", step}};
        if (step == 1 && !held_out.empty()) {
            double before = mean_loss(trainer, held_out);
            state["eval_loss_before"] = line["eval_loss_before_nats_per_token"] = before;
            progress.message(format("eval loss before %.4f nats per token", before));
        }
        auto start = std::chrono::steady_clock::now();
        std::vector<TrainSequence> sequences = data.step(step);
        StepStats stats = accumulate_gradients(trainer, sequences, sft_loss(sequences));
        double lr = config.optim.lr(step, steps);
        apply_update(trainer, config.optim.adamw, lr, stats);
        double seconds = seconds_since(start);

        line.update({{"loss_nats_per_token", stats.loss},
                     {"grad_norm", stats.grad_norm},
                     {"lr", lr},
                     {"tokens", stats.tokens},
                     {"step_seconds", seconds},
                     {"trained_tokens", stats.targets},
                     {"micro_batches", stats.micro_batches},
                     {"tokens_per_s", (double)stats.tokens / seconds}});
        bool due = config.train.eval_every > 0 && step % config.train.eval_every == 0;
        if (!held_out.empty() && (due || step == steps)) {
            line["eval_loss_nats_per_token"] = after = mean_loss(trainer, held_out);
            progress.message(
                format("eval loss after step %lld %.4f nats per token", (long long)step, after));
        }
        run.log(line);
        events.write(line);
        if (run.save_due(step)) save_checkpoint(run, trainer, step, state);
        progress.update(
            step, format("loss %.4f  %.0f tokens/s", stats.loss, (double)stats.tokens / seconds));
    }
    if (!held_out.empty())
        std::printf("eval loss %.4f before, %.4f after, nats per token\n",
                    state["eval_loss_before"].get<double>(), after);
    std::printf("the model is %s\n", run.checkpoint.c_str());
    return 0;
}

extern const Command sft_command;
const Command sft_command =
    command<SftConfig, sft>("sft", "supervised fine-tuning on rows or a task's worked answers");
