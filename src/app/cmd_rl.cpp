// rlhf rl CONFIG: improve a policy against a reward. One step is the six stations of the design in a line:
//
//     task -> rollout -> credit -> advantage -> select -> update

#include "app/commands.h"
#include "app/memory_plan.h"
#include "app/rl_learner.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "credit/ranking.h"
#include "model/hf.h"
#include "report/tensorboard.h"
#include "rl/advantage.h"
#include "rl/doctor.h"
#include "rl/rows.h"
#include "task/metrics.h"
#include "train/run.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace {

// 64 bits of all parameters: two runs with the same number hold the same weights.
uint64_t fingerprint(const Trainer& trainer) {
    uint64_t hash = 0;
    for (const Param& param : full_weights(trainer).list) {
        std::vector<uint64_t> words((param.tensor.bytes() + 7) / 8, 0);
        trainer.model.ops->download(words.data(), param.tensor);
        for (uint64_t word : words)
            hash = (hash ^ word) * 0x9E3779B97F4A7C15ull, hash ^= hash >> 29;
    }
    return hash;
}

void store_rollouts(Run& run, int64_t step, const Batch& batch, const Plan& plan,
                    const std::vector<std::vector<double>>& sampled) {
    AtomicFile out(run.file(format("rollouts/%06lld.jsonl", (long long)step)));
    for (int i = 0; i < batch.numbers.rows(); ++i) {
        const Completion& completion = batch.completion[i];
        Json row = {{"step", step},
                    {"prompt_id", completion.prompt},
                    {"sample", completion.sample},
                    {"prompt_ids", batch.asked.prompt[completion.prompt]},
                    {"completion_ids", completion.ids},
                    {"text", batch.text[i]},
                    {"finish", completion.finished ? "stop" : "length"},
                    {"reason", batch.reason[i]},
                    {"logp_sampled", sampled[i]}};
        put_rollout(row, batch.numbers, i);
        put_plan(row, batch.numbers, plan, i);
        row["correct"] = batch.checker[i] > 0;
        for (const Channel& channel : batch.channels) // as the sources gave them
            row["scores"][channel.name] = channel.level == Level::token
                                              ? json_list(channel.values, batch.numbers, i)
                                              : Json(channel.values[i]);
        out.write(dump_row(row) + "\n");
    }
    out.commit();
}

double mean(const std::vector<double>& x) {
    double sum = 0;
    for (double value : x) sum += value;
    return x.empty() ? 0 : sum / (double)x.size();
}

// Half of a 95 % interval of the mean reward: the prompts are the independent draws, not the completions.
double mean_error(const Rollouts& r) {
    std::vector<double> sum(r.groups, 0.0), of_prompt;
    std::vector<int> count(r.groups, 0);
    for (int i = 0; i < r.rows(); ++i) sum[r.group[i]] += r.reward[i], ++count[r.group[i]];
    for (int g = 0; g < r.groups; ++g) of_prompt.push_back(sum[g] / count[g]);
    double square = 0, m = mean(of_prompt);
    for (double x : of_prompt) square += (x - m) * (x - m);
    return r.groups > 1 ? 1.96 * std::sqrt(square / (r.groups - 1.0) / r.groups) : 0;
}

// What the sources said of the step's completions, and how well each one's score of a completion ranks the
// right ones over the wrong ones: a model that is being hacked rises in the first and falls in the second.
void put_credit(Json& line, const Batch& batch) {
    line["checker_mean"] = mean(batch.checker);
    for (const Channel& channel : batch.channels) {
        if (channel.name == "rule") continue;
        std::vector<double> score =
            pooled_channel(channel, channel.name == "orm" ? "last" : "mean", batch.numbers.offset);
        line["score_mean_" + channel.name] = mean(score);
        std::vector<ScoredAnswer> answers;
        for (size_t i = 0; i < score.size(); ++i)
            answers.push_back({0, score[i], batch.checker[i] > 0});
        const double area = area_under_curve(answers);
        if (std::isfinite(area)) line["auc_" + channel.name] = area;
    }
}

// What a step says of itself.
Json step_line(int64_t step, const Batch& batch, const Plan& plan, const UpdateStats& update) {
    const Rollouts& r = batch.numbers;
    const LossParts& parts = update.parts;
    double length = 0, finished = 0, kl1 = 0, kl3 = 0;
    for (int i = 0; i < r.rows(); ++i) length += (double)r.length(i), finished += r.finished[i];
    for (size_t n = 0; n < r.logp_ref.size(); ++n) {
        double delta = r.logp_ref[n] - r.logp_old[n];
        kl1 -= delta, kl3 += std::exp(delta) - delta - 1;
    }
    int64_t kept_rows = std::count(plan.kept.begin(), plan.kept.end(), 1);
    int64_t kept_tokens = std::count(plan.token_kept.begin(), plan.token_kept.end(), 1);
    const double reward_error = mean_error(r);
    int64_t tokens = r.tokens();
    for (int i = 0; i < r.rows(); ++i) tokens += (int64_t)batch.asked.prompt[r.group[i]].size();
    Json line = {{"step", step},
                 {"loss", update.step.loss},
                 {"policy_loss", parts.policy},
                 {"kl_loss", parts.kl},
                 {"entropy_loss", parts.entropy},
                 {"grad_norm", update.step.grad_norm},
                 {"lr", update.lr},
                 {"tokens", tokens},
                 {"reward_mean", mean(r.reward)},
                 {"reward_mean_low", mean(r.reward) - reward_error},
                 {"reward_mean_high", mean(r.reward) + reward_error},
                 {"completion_tokens_mean", length / r.rows()},
                 {"finished_share", finished / r.rows()},
                 {"advantage_abs_mean", 0.0},
                 {"kept_rows", kept_rows},
                 {"dropped_rows", r.rows() - kept_rows},
                 {"kept_tokens", kept_tokens},
                 {"dropped_tokens", r.tokens() - kept_tokens},
                 {"computed_tokens", update.step.computed},
                 {"recorded_tokens", update.step.recorded},
                 {"shared_prompt_tokens_saved", 0},
                 {"equal_reward_groups", plan.equal_groups},
                 {"clip_frac", parts.tokens ? (double)parts.clipped / (double)parts.tokens : 0.0},
                 {"logp_gap_nats", update.gap},
                 {"optimiser_steps", update.steps}};
    double absolute = 0;
    for (double a : plan.advantage) absolute += std::abs(a);
    line["advantage_abs_mean"] = absolute / (double)std::max<int64_t>(1, r.tokens());
    // Inputs of the trained completions, had each gone through the network with its prompt.
    line["shared_prompt_tokens_saved"] = update.step.tokens - update.step.computed;
    if (!r.entropy.empty()) line["entropy_nats_per_token"] = mean(r.entropy);
    if (!r.logp_ref.empty()) {
        line["kl_k1_nats_per_token"] = kl1 / (double)r.tokens();
        line["kl_k3_nats_per_token"] = kl3 / (double)r.tokens();
    }
    if (batch.rounds > 1 || batch.dropped_groups) {
        line["sampling_rounds"] = batch.rounds;
        line["dropped_groups"] = batch.dropped_groups;
    }
    return line;
}

} // namespace

static int rl(RlConfig& config, const Args& args) {
    resolve_algorithm(config.algo, args, config.sample.max_new_tokens);
    check_select(config.select);
    CHECK(!config.task.name.empty(), "task.name is missing: arithmetic, gsm8k or jsonl");
    CHECK(!config.model.path.empty(),
          "model.path is missing: the policy to start from (rlhf sft makes one)");
    Fields fields;
    config.visit(fields);
    const int64_t steps = config.train.steps;
    Run run(config.run, fields, steps);
    if (run.finished()) {
        std::printf("finished: %s has %lld of %lld steps; the model is %s\n",
                    config.run.dir.c_str(), (long long)run.step, (long long)steps,
                    run.checkpoint.c_str());
        return 0;
    }
    if (reads_start(config)) run.reads("model.path", config.model.path);
    const std::string start = model_directory(config.model.path);
    const bool resumed = run.step > 0;
    std::string critic_start =
        config.critic.path.empty() ? start : model_directory(config.critic.path);
    Learner learner(config, start, resumed ? run.checkpoint : start,
                    resumed ? join_path(run.checkpoint, "critic") : critic_start);
    Json state = Json::object();
    if (resumed) {
        state = run.resumed_state();
        learner.next_problem = json_int(state, "next_problem", run.checkpoint);
        learner.ema = json_number(state, "ema", run.checkpoint);
        const bool rounded = state_has_weights(learner.trainer, config.run.save_dtype);
        load_trainer(learner.trainer, rounded, join_path(run.checkpoint, "trainer.safetensors"));
        if (learner.critic)
            load_trainer(*learner.critic_trainer, rounded,
                         join_path(run.checkpoint, "critic_trainer.safetensors"));
    }
    PlannedRun planned;
    planned.tokens_per_micro_batch = config.train.tokens_per_micro_batch;
    planned.rl = true, planned.reference = learner.reference != nullptr;
    planned.batch = std::min(config.sample.batch, config.train.prompts_per_step * config.sample.n);
    planned.new_tokens = config.sample.max_new_tokens;
    print_plan(learner.policy->config, learner.compute, planned);
    run.begin();
    EventLog events;
    events.open(config.run.dir, run.step);
    make_directories(run.file("rollouts"));

    Progress progress("rl", "steps", steps, run.step);
    if (resumed) progress.message(format("continuing from %s", run.checkpoint.c_str()));
    auto evaluate = [&](Json& line, const char* when) {
        if (config.train.eval_problems == 0) return 0.0;
        Evaluation result = learner.evaluate();
        line["eval_pass@1"] = result.pass.value;
        line["eval_pass@1_low"] = result.pass.low, line["eval_pass@1_high"] = result.pass.high;
        line["eval_completion_tokens_mean"] = result.length;
        if (const int k = config.train.eval_samples; k > 1) {
            const std::string name = format("eval_pass@%d", k);
            line[name] = result.pass_k.value;
            line[name + "_low"] = result.pass_k.low, line[name + "_high"] = result.pass_k.high;
        }
        progress.message(format("pass@1 %s %.3f [%.3f, %.3f] on %lld held-out problems", when,
                                result.pass.value, result.pass.low, result.pass.high,
                                (long long)learner.held_out));
        return result.pass.value;
    };
    double after = 0;
    for (int64_t step = run.step + 1; step <= steps; ++step) {
        Json before = Json::object(); // of an evaluation before the first step
        if (step == 1) state["eval_before"] = evaluate(before, "before");
        const double begin = now();
        const AlgoConfig& algo = config.algo;

        // 1 to 3. task, rollout, credit: G completions of each prompt, and what each earned
        Batch batch;
        GenerateStats sampling;
        double credit_seconds = 0;
        // With dynamic sampling some of it would be thrown away; with more steps than one it would be used once.
        const bool one_update = config.train.epochs * config.train.minibatches == 1;
        Recording recording(learner.trainer.pass, config.train.tokens_per_micro_batch);
        Recording* record = one_update && config.train.max_rounds == 1 ? &recording : nullptr;
        while (batch.rounds < config.train.max_rounds) {
            int missing = config.train.prompts_per_step - (int)batch.asked.problem.size();
            if (missing == 0) break;
            learner.roll_out(batch, step, missing, sampling, credit_seconds, record);
        }
        batch.texts.prompt = batch.asked.prompt;
        Rollouts& r = batch.numbers;
        std::vector<std::vector<double>> sampled;
        for (const Completion& completion : batch.completion) sampled.push_back(completion.logp);
        const std::vector<TrainSequence> sequences = all_tokens(r, batch.texts);
        const double credit_begin = now();
        learner.give_credit(batch, sequences);
        credit_seconds += now() - credit_begin;

        UpdatePlan how;
        how.epochs = config.train.epochs, how.minibatches = config.train.minibatches;
        how.seed = mix64((uint64_t)config.run.seed ^ mix64((uint64_t)step));
        how.temperature = config.sample.temperature;
        how.value_with_policy = config.critic.shared;
        how.recording = record;
        how.adopt_logp_old = !learner.exact && one_update && algo.kl_in == "loss";
        double gap = 0;
        // what frozen networks say of the same tokens
        const double reference_begin = now();
        if (!learner.exact && !how.adopt_logp_old) {
            std::vector<double> old = learner.outputs_of(learner.trainer.pass, sequences, false);
            for (size_t n = 0; n < old.size(); ++n)
                gap = std::max(gap, std::abs(old[n] - r.logp_old[n]));
            r.logp_old = old;
        }
        r.logp = r.logp_old;
        if (learner.reference)
            r.logp_ref = learner.outputs_of(*learner.reference_pass, sequences, false);
        if (Pass* critic = learner.value_pass())
            r.value = r.value_old = learner.outputs_of(*critic, sequences, true);
        const double reference_seconds = now() - reference_begin;

        // 4 and 5. advantage, select
        AlgoConfig with_ema = algo;
        with_ema.advantage.ema = learner.ema;
        SelectConfig select = config.select;
        select.progress = steps > 1 ? (double)(step - 1) / (double)(steps - 1) : 0;
        Plan plan;
        compute_advantages(plan, r, with_ema);
        select_rows_and_tokens(plan, r, algo, select, step);
        if (config.train.drop_truncated)
            for (int i = 0; i < r.rows(); ++i)
                if (!r.finished[i]) {
                    plan.kept[i] = 0;
                    std::fill_n(plan.token_kept.begin() + r.offset[i], r.length(i), 0);
                }
        learner.ema = next_ema(with_ema, r);

        // 6. update
        const double train_begin = now();
        const double lr = config.optim.lr(step, steps);
        UpdateStats update = update_policy(learner.trainer, r, batch.texts, plan, algo, select, how,
                                           config.optim.adamw, lr);
        UpdateStats critic;
        if (learner.critic) {
            double critic_lr =
                config.optim.adamw.lr > 0 ? lr / config.optim.adamw.lr * config.critic.lr : 0;
            critic = update_critic(*learner.critic_trainer, r, batch.texts, plan, algo, select, how,
                                   config.optim.adamw, critic_lr);
        }
        update.gap = std::max(update.gap, gap);
        const double train_seconds = now() - train_begin;

        // the doctor looks at the weights of the whole batch
        std::vector<int> all_rows(r.rows());
        for (int i = 0; i < r.rows(); ++i) all_rows[i] = i;
        weigh(plan, r, algo, select, all_rows);
        Json broken = Json::array();
        std::string note;
        for (const Finding& finding :
             examine(r, plan, algo, update.parts, update.grads, one_update)) {
            if (finding.health == Health::broken)
                broken.push_back(std::string(finding.law) + ": " + finding.text);
            if (finding.health == Health::note) note = finding.text;
        }

        Json line = step_line(step, batch, plan, update);
        put_credit(line, batch);
        if (config.critic.shared) line["value_loss"] = update.parts.value;
        if (learner.critic)
            line["value_loss"] = critic.parts.value,
            line["critic_grad_norm"] = critic.step.grad_norm;
        for (auto& [key, value] : before.items()) // eval_pass@1 -> eval_before_pass@1
            line["eval_before_" + key.substr(5)] = value;
        line["doctor"] = broken;
        if (!note.empty()) line["note"] = note;
        const double step_seconds = now() - begin;
        line["step_seconds"] = step_seconds;
        line["seconds"] = {{"prompt", sampling.prefill_seconds},
                           {"decode", sampling.decode_seconds},
                           {"credit", credit_seconds},
                           {"reference", reference_seconds},
                           {"train", train_seconds}};
        line["decode_tokens_per_s"] =
            (double)sampling.new_tokens / std::max(1e-9, sampling.decode_seconds);
        line["fingerprint"] = format("%016llx", (unsigned long long)fingerprint(learner.trainer));
        bool due = config.train.eval_every > 0 && step % config.train.eval_every == 0;
        if (due || step == steps)
            after = evaluate(line, format("after step %lld", (long long)step).c_str());
        if (config.train.store_every > 0 && step % config.train.store_every == 0)
            store_rollouts(run, step, batch, plan, sampled);
        run.log(line);
        events.write(line);
        state["next_problem"] = learner.next_problem, state["ema"] = learner.ema;
        if (run.save_due(step)) {
            run.save(step, state, [&](const std::string& directory) {
                const std::string& dtype = config.run.save_dtype;
                const bool rounded = state_has_weights(learner.trainer, dtype);
                Params weights = full_weights(learner.trainer);
                write_model(*learner.policy, directory, dtype, &weights);
                save_trainer(learner.trainer, rounded, join_path(directory, "trainer.safetensors"));
                if (!learner.critic) return;
                make_directories(join_path(directory, "critic"));
                weights = full_weights(*learner.critic_trainer);
                write_model(*learner.critic, join_path(directory, "critic"), dtype, &weights);
                save_trainer(*learner.critic_trainer, rounded,
                             join_path(directory, "critic_trainer.safetensors"));
            });
            // The tokenizer's next copy comes from here: the checkpoint before it may be removed by then.
            learner.policy->source = run.checkpoint;
            if (learner.critic) learner.critic->source = join_path(run.checkpoint, "critic");
        }
        for (const Json& law : broken) progress.message("doctor: " + law.get<std::string>());
        if (update.steps == 0)
            progress.message(format("step %lld trained on nothing: %s", (long long)step,
                                    note.empty() ? "no completion was kept" : note.c_str()));
        progress.update(step,
                        format("reward %.3f  %.2f s (prompt %.2f decode %.2f credit %.2f reference "
                               "%.2f train %.2f)  %.0f tokens/s",
                               mean(r.reward), step_seconds, sampling.prefill_seconds,
                               sampling.decode_seconds, credit_seconds, reference_seconds,
                               train_seconds, line["tokens"].get<double>() / step_seconds));
    }
    if (config.train.eval_problems > 0)
        std::printf("pass@1 %.3f before, %.3f after\n", state["eval_before"].get<double>(), after);
    std::printf("the model is %s\n", run.checkpoint.c_str());
    return 0;
}

extern const Command rl_command;
const Command rl_command =
    command<RlConfig, rl>("rl", "improve a policy against a reward (GRPO, PPO, ...)");
