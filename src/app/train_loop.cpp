#include "app/train_loop.h"

#include "base/beat.h"
#include "base/clock.h"
#include "base/rng.h"
#include "dist/processes.h"
#include "report/tensorboard.h"

#include <cstdio>
#include <optional>

std::string fingerprint_of(const std::vector<TrainSequence>& sequences) {
    uint64_t hash = sequences.size();
    for (const TrainSequence& row : sequences) {
        for (int32_t id : row.ids) hash = mix64(hash ^ (uint64_t)id);
        for (int32_t t : row.target) hash = mix64(hash + (uint64_t)t);
    }
    return format("%016llx", (unsigned long long)hash);
}

bool tell_if_finished(const Run& run, const TrainSettings& train) {
    if (!run.finished()) return false;
    check_goal(run, train);
    if (this_process().rank == 0)
        std::printf("finished: %s has %lld of %lld steps%s; the model is %s\n",
                    run.settings.dir.c_str(), (long long)run.step, (long long)train.steps,
                    run.ended_early() ? " and the loss it was to reach" : "",
                    run.checkpoint.c_str());
    return true;
}

void check_goal(const Run& run, const TrainSettings& train) {
    CHECK(train.goal_loss == 0 || run.ended_early(),
          "not learnt: after %lld steps the held-out loss of %s is still above train.goal_loss=%g. "
          "The model is %s; another run.seed, more train.steps or another optim.lr may help",
          (long long)run.step, run.settings.dir.c_str(), train.goal_loss, run.checkpoint.c_str());
}

void TrainLoop::go() {
    const int64_t steps = train.steps;
    CHECK(train.goal_loss == 0 || (evaluate && train.eval_every > 0),
          "train.goal_loss=%g is a bound on the held-out loss: set train.eval_every, and data.eval "
          "where the rows come from a file",
          train.goal_loss);
    Json state = {{"data", fingerprint}};
    if (run.step > 0) {
        Json saved = run.resumed_state();
        CHECK(saved["data"] == state["data"],
              "%s does not hold the rows that %s was trained on; put them back, or choose another "
              "run.dir",
              data_name.c_str(), run.checkpoint.c_str());
        state = saved;
        load_checkpoint(run, trainer);
    }
    // Of several ranks the first alone writes and speaks; it begins when all have looked at the directory.
    const bool speaks = trainer.rank() == 0;
    EventLog events;
    std::optional<Progress> progress;
    wait_for_ranks(trainer);
    if (speaks) {
        run.begin();
        events.open(run.settings.dir, run.step);
        progress.emplace(name, "steps", steps, run.step);
    }
    auto tell = [&](const std::string& text) {
        if (progress) progress->message(text);
    };
    if (run.step > 0) tell(format("continuing from %s", run.checkpoint.c_str()));
    for (int64_t step = run.step + 1; !run.finished(); ++step) {
        Json line = {{"step", step}};
        if (step == 1 && evaluate) {
            Held held = evaluate(true);
            state["before"] = held.members;
            line.update(held.members);
            tell("before: " + held.words);
        }
        enter_phase("train");
        double start = now();
        Json more = Json::object();
        StepStats stats = gradients(step, more);
        double lr = optim.lr(step, steps);
        apply_update(trainer, optim.adamw, lr, stats);
        double seconds = now() - start;

        line.update({{loss_name, stats.loss},
                     {"grad_norm", stats.grad_norm},
                     {"lr", lr},
                     {"tokens", stats.tokens},
                     {"step_seconds", seconds},
                     {"trained_tokens", stats.targets},
                     {"micro_batches", stats.micro_batches},
                     {"tokens_per_s", (double)stats.tokens / seconds}});
        line.update(more);
        bool due = train.eval_every > 0 && step % train.eval_every == 0;
        if (evaluate && (due || step == steps)) {
            enter_phase("evaluate");
            Held held = evaluate(false);
            after = held.members;
            line.update(held.members);
            tell(format("after step %lld: ", (long long)step) + held.words);
            if (train.goal_loss > 0 && held.loss <= train.goal_loss) run.end();
        }
        if (speaks) {
            run.log(line);
            events.write(line);
        }
        enter_phase("save");
        if (run.save_due(step)) save_checkpoint(run, trainer, step, state);
        if (progress)
            progress->update(step, format("loss %.4f  %.0f tokens/s", stats.loss,
                                          (double)stats.tokens / seconds));
    }
    if (state.contains("before")) before = state["before"];
    check_goal(run, train);
}
