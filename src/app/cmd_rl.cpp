// rlhf rl CONFIG: improve a policy against a reward. One step is the six stations of the design in
// a line; each takes what the ones before it returned and returns a value:
//
//     task -> rollout -> credit -> advantage -> select -> update

#include "app/commands.h"
#include "app/memory_plan.h"
#include "app/rl_log.h"
#include "base/clock.h"
#include "dist/processes.h"
#include "model/hf.h"
#include "rl/advantage.h"

#include <algorithm>
#include <cstdio>

static void check_config(RlConfig& config, const Args& args) {
    resolve_algorithm(config.algo, args, config.sample.max_new_tokens);
    check_select(config.select);
    CHECK(config.reference.empty() || needs_reference(config.algo),
          "reference = %s has no effect without a KL; set algo.kl, for instance to k3",
          config.reference.c_str());
    CHECK((config.critic.path.empty() && !config.critic.shared) || needs_value(config.algo),
          "algo.preset = %s has no critic: critic.path and critic.shared have no effect; ppo and "
          "ppo_qrm have one",
          config.algo.preset.c_str());
    CHECK(!config.task.name.empty(), "task.name is missing; rlhf help rl lists the tasks");
    CHECK(config.replay.rows_per_step == 0 || !config.replay.task.name.empty(),
          "replay.rows_per_step=%d needs replay.task.name: whose worked answers are replayed",
          config.replay.rows_per_step);
    CHECK(
        config.wise.candidates == "file",
        "wise.candidates=search is of sft, eval and chat: a rollout of rl is written in one piece");
    CHECK(!config.model.path.empty(),
          "model.path is missing: the policy to start from (rlhf sft makes one)");
}

static void print_memory(const RlConfig& config, const Learner& learner) {
    PlannedRun planned;
    planned.tokens_per_micro_batch = config.train.tokens_per_micro_batch;
    planned.rl = true;
    planned.reference = learner.reference != nullptr;
    planned.batch = std::min(config.sample.batch, config.train.prompts_per_step * config.sample.n);
    planned.new_tokens = config.sample.max_new_tokens;
    print_plan(learner.policy->config, learner.compute, planned);
}

static int rl(RlConfig& config, const Args& args) {
    check_config(config, args);
    config.task.wise = config.wise;
    const int64_t steps = config.train.steps;
    Fields fields;
    config.visit(fields);
    ComputeConfig compute = apply_compute(config.compute);
    const Ranks ranks(compute, config.dist);
    Run run(config.run, fields, steps, compute.ranks);
    if (run.finished()) {
        if (ranks.speaks())
            std::printf("finished: %s has %lld of %lld steps; the model is %s\n",
                        config.run.dir.c_str(), (long long)run.step, (long long)steps,
                        run.checkpoint.c_str());
        return 0;
    }
    if (reads_start(config)) run.reads("model.path", config.model.path);
    Learner learner(config, run, compute);
    ranks.wait(); // all have looked at the directory before the first writes into it
    if (ranks.speaks()) print_memory(config, learner), run.begin();
    RlLog log(run, config, ranks.speaks());
    if (run.step == 0) learner.pass_before = log.evaluate(learner, "eval_before_", "before");

    for (int64_t step = run.step + 1; step <= steps; ++step) {
        const double start = now();
        const SelectConfig choice = at_step(config.select, step, steps);

        const Batch batch = learner.roll_out(step);                   // 1 task, 2 rollout: o_i
        const auto chosen = learner.choose(batch, choice, step);      // (5, before judges)
        const StepCredit credit = learner.give_credit(batch, chosen); // 3 credit: R_i, c_it
        const Consulted said = learner.consult(batch);                //   logp_old, logp_ref, V
        const Rollouts r = numbers_of(batch, credit, said);           //
        const Advantages A = advantages(r, config.algo, learner.ema); // 4 advantage: A_it
        const Selection kept = select(r, A, config.algo, choice, step, chosen); // 5 select
        const Updated update = learner.update(batch, r, kept, step); // 6 update: the weights

        learner.ema = A.ema;
        learner.place(batch, update, now() - start);
        log.write(
            {step, batch, credit, said, as_trained(r, update.policy), kept, update, now() - start},
            learner);
        if (run.save_due(step)) learner.save(run, step);
    }
    log.end(learner);
    return 0;
}

extern const Command rl_command;
const Command rl_command =
    command<RlConfig, rl>("rl", "improve a policy against a reward (GRPO, PPO, ...)");
