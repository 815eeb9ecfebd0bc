// rlhf rl CONFIG: improve a policy against a reward. One step is the six stations of the design in a line:
//
//     task -> rollout -> credit -> advantage -> select -> update

#include "app/commands.h"
#include "app/inputs.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rng.h"
#include "model/hf.h"
#include "report/tensorboard.h"
#include "rl/advantage.h"
#include "rl/doctor.h"
#include "rl/rows.h"
#include "rl/update.h"
#include "rollout/generate.h"
#include "task/metrics.h"
#include "train/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>

namespace {

struct PromptSettings { // data.*: how a problem becomes a prompt
    std::string template_name = "none";
    void visit(Fields& v) {
        v.choice("template", template_name, {"none", "chat"},
                 "chat asks by the model's chat template; none: the prompt as it is");
    }
};

struct RlTrainSettings { // train.*
    int64_t steps = 100;
    int prompts_per_step = 16, epochs = 1, minibatches = 1, tokens_per_micro_batch = 4096;
    int max_rounds = 1, eval_every = 0, eval_problems = 256, store_every = 1;
    bool drop_truncated = false;
    void visit(Fields& v) {
        v.field("steps", steps, 1, 9e15, "S: batches of rollouts in the run");
        v.field("prompts_per_step", prompts_per_step, 1, 1e6, "B: prompts of one step");
        v.field("epochs", epochs, 1, 1000, "passes over the rollouts of a step");
        v.field("minibatches", minibatches, 1, 1e6, "optimiser steps per pass, whole prompts each");
        v.field("tokens_per_micro_batch", tokens_per_micro_batch, 1, 1e8,
                "tokens in memory at once; changes speed and memory, not the result");
        v.field(
            "max_rounds", max_rounds, 1, 1000,
            "dynamic sampling [Yu et al. 2025, DAPO, eq. 11]: new prompts take the place of those "
            "whose rewards are all equal, in at most so many rounds; 1: off");
        v.field(
            "drop_truncated", drop_truncated,
            "completions that reached the length limit do not train (DAPO's overlong filtering)");
        v.field("eval_every", eval_every, 0, 1e9,
                "steps between evaluations; 0: before the first and after the last only");
        v.field("eval_problems", eval_problems, 0, 1e9,
                "problems of the held-out split per evaluation; 0: no evaluation");
        v.field("store_every", store_every, 0, 1e9,
                "steps between stored rollouts (RUN/rollouts/STEP.jsonl); 0: never");
    }
};

struct CriticSettings { // critic.*
    std::string path;
    double lr = 1e-4;
    void visit(Fields& v) {
        v.field("path", path,
                "model to start the critic from; empty: the policy's start, with a new head");
        v.field("lr", lr, 0, 10,
                "the critic's peak learning rate; schedule and the rest are optim's");
    }
};

struct RlConfig {
    ModelSettings model;
    RunSettings run;
    ComputeSettings compute;
    TaskConfig task;
    PromptSettings data;
    ChatConfig chat;
    RlTrainSettings train;
    SampleConfig sample;
    Json credit = Json::array({{{"source", "rule"}}});
    AlgoConfig algo;
    SelectConfig select;
    CriticSettings critic;
    std::string reference;
    OptimSettings optim;
    RlConfig() { sample.n = 8; }
    void visit(Fields& v) {
        v.object("model", model, "the policy");
        v.object("run", run, "the run directory");
        v.object("compute", compute, "the machine");
        v.object("task", task, "station 1: prompts and the rule that checks answers");
        v.object("data", data, "how a problem becomes a prompt");
        v.object("chat", chat, "conversations");
        v.object("sample", sample, "station 2: rollout");
        v.json("credit", credit, "station 3: a list of {\"source\": \"rule\", \"weight\": 1}");
        v.object("algo", algo, "stations 4 and 6: advantage and loss");
        v.object("select", select, "station 5: what trains");
        v.object("train", train, "steps");
        v.object("critic", critic, "the value model (algo.preset=ppo)");
        v.field("reference", reference,
                "model that the KL is measured against; empty: the policy's start");
        v.object("optim", optim, "AdamW");
    }
};

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

// 64 bits of all parameters: two runs with the same number hold the same weights.
uint64_t fingerprint(const Model& model) {
    uint64_t hash = 0;
    for (const Param& param : model.params.list) {
        std::vector<uint64_t> words((param.tensor.bytes() + 7) / 8, 0);
        model.ops->download(words.data(), param.tensor);
        for (uint64_t word : words)
            hash = (hash ^ word) * 0x9E3779B97F4A7C15ull, hash ^= hash >> 29;
    }
    return hash;
}

struct Asked { // problems with their prompts
    std::vector<Problem> problem;
    std::vector<std::vector<int32_t>> prompt;
    void add(const Task& task, Split split, int64_t i, const RowOptions& options) {
        problem.push_back(task.problem(split, i));
        prompt.push_back(problem_row(problem.back(), options, RowNeed::prompt).ids);
    }
};

// One batch of rollouts with everything that is known of it.
struct Batch {
    Asked asked; // (groups)
    std::vector<Completion> completion;
    std::vector<std::string> text, reason;
    Rollouts numbers;
    RolloutTexts texts;
    int rounds = 0;
    int dropped_groups = 0; // by dynamic sampling: prompts whose rewards were all equal
};

struct Evaluation {
    Estimate pass;
    double length = 0;
};

struct Learner {
    Learner(RlConfig& config_, const std::string& start, const std::string& policy_directory,
            const std::string& critic_directory)
        : config(config_), compute(apply_compute(config.compute)),
          policy(load_model(policy_directory, compute, true)),
          trainer(*policy, config.train.tokens_per_micro_batch,
                  config.train.tokens_per_micro_batch),
          task(make_task(config.task)),
          inputs(open_inputs(policy_directory, policy->config, config.data.template_name, true,
                             config.chat)) {
        CHECK(policy->config.head == Head::lm, "%s is a reward model; rl needs a language model",
              policy_directory.c_str());
        CHECK(config.sample.temperature > 0,
              "sample.temperature=0 gives every sample of a prompt the same text; set it above 0");
        const int budget = config.train.tokens_per_micro_batch;
        if (needs_reference(config.algo)) {
            std::string directory =
                config.reference.empty() ? start : model_directory(config.reference);
            reference = load_model(directory, compute, false);
            CHECK(reference->config.V == policy->config.V,
                  "the reference %s has a vocabulary of %d, the policy one of %d",
                  directory.c_str(), reference->config.V, policy->config.V);
            reference_pass = std::make_unique<Pass>(*reference, budget, budget, false);
        }
        if (needs_value(config.algo)) {
            ModelConfig shape = read_model_config(critic_directory);
            shape.head = Head::token_classification, shape.score_bias = false;
            shape.tied_embeddings = true; // no LM head
            critic = make_model(shape, compute, false);
            uint64_t seed = mix64((uint64_t)config.run.seed + 1);
            read_weights(*critic, critic_directory, &seed);
            critic_trainer = std::make_unique<Trainer>(*critic, budget, budget);
        }
        // Bit for bit what the trainer computes: no pass is spent on it.
        exact = compute.dtype == DType::f64 || cpu_gemm_is_batch_invariant(compute.gemm);
    }

    const RlConfig& config;
    ComputeConfig compute;
    std::unique_ptr<Model> policy, reference, critic;
    Trainer trainer;
    std::unique_ptr<Trainer> critic_trainer;
    std::unique_ptr<Pass> reference_pass;
    Task task;
    Inputs inputs;
    bool exact;               // sampled log-probabilities are the trainer's
    int64_t next_problem = 0; // of the training split
    double ema = 0;           // of the baseline "ema"

    // Stations 1 to 3 of one round: G completions of each prompt, and what the rule says.
    void roll_out(Batch& batch, int64_t step, int prompts, GenerateStats& stats,
                  double& credit_seconds) {
        const int first = (int)batch.asked.problem.size(), G = config.sample.n;
        Asked fresh;
        for (int p = 0; p < prompts; ++p)
            fresh.add(task, Split::train, next_problem++, inputs.options);
        SampleConfig sample = config.sample;
        sample.seed =
            (int64_t)(mix64((uint64_t)config.run.seed ^ mix64(sample.seed + batch.rounds)) >> 12);
        sample.entropy = needs_entropy(config.select) || config.algo.entropy_coef != 0;
        GenerateStats round;
        std::vector<Completion> drawn =
            generate(*policy, fresh.prompt, sample, (uint32_t)step, &round);
        stats.prompt_tokens += round.prompt_tokens, stats.new_tokens += round.new_tokens;
        stats.prefill_seconds += round.prefill_seconds,
            stats.decode_seconds += round.decode_seconds;

        double start = now();
        int kept = 0;
        for (int p = 0; p < prompts; ++p) {
            std::vector<double> rewards;
            std::vector<Verdict> verdicts;
            std::vector<std::string> texts;
            for (int s = 0; s < G; ++s) {
                const Completion& completion = drawn[(size_t)p * G + s];
                texts.push_back(inputs.text(completion.ids));
                verdicts.push_back(task.verify(fresh.problem[p], completion.ids, texts.back()));
                double weight = json_number_or(config.credit[0], "weight", 1, "credit");
                rewards.push_back(weight * verdicts.back().reward);
                CHECK(std::isfinite(rewards.back()), "the reward of %s is not finite (%g)",
                      fresh.problem[p].where.c_str(), rewards.back());
            }
            // In the last round everything is taken, so that a step never ends without rollouts.
            if (config.train.max_rounds > 1 && batch.rounds + 1 < config.train.max_rounds &&
                !has_signal(rewards)) {
                ++batch.dropped_groups;
                continue;
            }
            const int group = first + kept++;
            batch.asked.problem.push_back(fresh.problem[p]);
            batch.asked.prompt.push_back(fresh.prompt[p]);
            for (int s = 0; s < G; ++s) {
                Completion completion = std::move(drawn[(size_t)p * G + s]);
                completion.prompt = group;
                add_row(batch, std::move(completion), rewards[s], texts[s], verdicts[s].reason);
            }
        }
        ++batch.rounds;
        credit_seconds += now() - start;
    }

    static void add_row(Batch& batch, Completion completion, double reward, const std::string& text,
                        const std::string& reason) {
        Rollouts& r = batch.numbers;
        r.group.push_back(completion.prompt);
        r.groups = std::max(r.groups, completion.prompt + 1);
        r.offset.push_back(r.offset.back() + (int64_t)completion.ids.size());
        r.reward.push_back(reward);
        r.finished.push_back(completion.finished);
        r.logp_old.insert(r.logp_old.end(), completion.logp.begin(), completion.logp.end());
        r.entropy.insert(r.entropy.end(), completion.entropy.begin(), completion.entropy.end());
        batch.texts.completion.push_back(completion.ids);
        batch.text.push_back(text);
        batch.reason.push_back(reason);
        batch.completion.push_back(std::move(completion));
    }

    std::vector<double> outputs_of(Pass& pass, const std::vector<TrainSequence>& sequences,
                                   bool value) {
        OutputOptions options;
        options.temperature = config.sample.temperature;
        options.logp = !value, options.value = value;
        std::vector<double> all;
        for (const SequenceOutputs& row :
             evaluate_sequences(pass, sequences, config.train.tokens_per_micro_batch, options)) {
            const std::vector<double>& part = value ? row.value : row.logp;
            all.insert(all.end(), part.begin(), part.end());
        }
        return all;
    }

    Evaluation evaluate() {
        Asked asked;
        int64_t count = std::min<int64_t>(config.train.eval_problems, task.count(Split::eval));
        for (int64_t i = 0; i < count; ++i) asked.add(task, Split::eval, i, inputs.options);
        SampleConfig sample = config.sample;
        sample.n = 1;
        Evaluation result;
        std::vector<double> right;
        for (const Completion& completion : generate(*policy, asked.prompt, sample, 0)) {
            Verdict verdict = task.verify(asked.problem[completion.prompt], completion.ids,
                                          inputs.text(completion.ids));
            right.push_back(verdict.reward > 0);
            result.length += (double)completion.ids.size() / (double)count;
        }
        result.pass = mean_over_prompts(right, 1);
        return result;
    }
};

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

// Station 3 knows rules; models as sources are listed by name so that an unknown one is told apart.
void check_credit(const Json& credit) {
    CHECK(credit.is_array() && credit.size() == 1 && credit[0].is_object() &&
              json_string_or(credit[0], "source", "", "credit") == "rule",
          "credit must be a list of one {\"source\": \"rule\", \"weight\": 1}, found %.100s; other "
          "sources are not in this build",
          dump_row(credit).c_str());
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
    check_credit(config.credit);
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
        const bool rounded = config.run.save_dtype != "f32";
        load_trainer(learner.trainer, rounded, join_path(run.checkpoint, "trainer.safetensors"));
        if (learner.critic)
            load_trainer(*learner.critic_trainer, rounded,
                         join_path(run.checkpoint, "critic_trainer.safetensors"));
    }
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
        progress.message(format("pass@1 %s %.3f [%.3f, %.3f] on %d held-out problems", when,
                                result.pass.value, result.pass.low, result.pass.high,
                                config.train.eval_problems));
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
        while (batch.rounds < config.train.max_rounds) {
            int missing = config.train.prompts_per_step - (int)batch.asked.problem.size();
            if (missing == 0) break;
            learner.roll_out(batch, step, missing, sampling, credit_seconds);
        }
        batch.texts.prompt = batch.asked.prompt;
        Rollouts& r = batch.numbers;
        std::vector<std::vector<double>> sampled;
        for (const Completion& completion : batch.completion) sampled.push_back(completion.logp);

        // what frozen networks say of the same tokens
        const double reference_begin = now();
        UpdatePlan how;
        how.epochs = config.train.epochs, how.minibatches = config.train.minibatches;
        how.seed = mix64((uint64_t)config.run.seed ^ mix64((uint64_t)step));
        how.temperature = config.sample.temperature;
        const bool one_update = how.epochs * how.minibatches == 1;
        how.adopt_logp_old = !learner.exact && one_update && algo.kl_in == "loss";
        double gap = 0;
        std::vector<TrainSequence> sequences = all_tokens(r, batch.texts);
        if (!learner.exact && !how.adopt_logp_old) {
            std::vector<double> old = learner.outputs_of(learner.trainer.pass, sequences, false);
            for (size_t n = 0; n < old.size(); ++n)
                gap = std::max(gap, std::abs(old[n] - r.logp_old[n]));
            r.logp_old = old;
        }
        r.logp = r.logp_old;
        if (learner.reference)
            r.logp_ref = learner.outputs_of(*learner.reference_pass, sequences, false);
        if (learner.critic)
            r.value = r.value_old =
                learner.outputs_of(learner.critic_trainer->pass, sequences, true);
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
        line["fingerprint"] = format("%016llx", (unsigned long long)fingerprint(*learner.policy));
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
                const bool rounded = config.run.save_dtype != "f32";
                write_model(*learner.policy, directory, config.run.save_dtype);
                save_trainer(learner.trainer, rounded, join_path(directory, "trainer.safetensors"));
                if (!learner.critic) return;
                make_directories(join_path(directory, "critic"));
                write_model(*learner.critic, join_path(directory, "critic"), config.run.save_dtype);
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
