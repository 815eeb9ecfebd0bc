#include "app/rl_learner.h"

#include "app/problems.h"
#include "base/beat.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/rng.h"
#include "model/hf.h"
#include "model/trainer_path.h"
#include "rl/advantage.h"
#include "rl/earned.h"
#include "train/same_weights.h"
#include "train/sft_loss.h"

#include <algorithm>
#include <cmath>

// With a value head where the critic is to share the backbone; new where the directory has none.
static std::unique_ptr<Model> load_policy(const RlConfig& config, const std::string& directory,
                                          const ComputeConfig& compute) {
    if (!config.critic.shared) return load_model(directory, compute, true);
    CHECK(needs_value(config.algo),
          "critic.shared: algo.preset = %s has no critic; use ppo or ppo_qrm",
          config.algo.preset.c_str());
    CHECK(config.critic.path.empty(),
          "critic.path names a model of the critic's own; leave it out with critic.shared=true");
    ModelConfig shape = read_model_config(directory);
    shape.value_head = shape.head == Head::lm;
    auto policy = make_model(shape, compute, true);
    uint64_t seed = mix64((uint64_t)config.run.seed + 1);
    read_weights(*policy, directory, &seed);
    return policy;
}

bool reads_start(const RlConfig& config) {
    if (needs_reference(config.algo) && config.reference.empty()) return true;
    const std::vector<SourceConfig> sources = read_sources(config.credit);
    return std::any_of(sources.begin(), sources.end(), [](const SourceConfig& source) {
        const Source& row = source.row();
        return row.asks == Source::Asks::policy || (row.log_ratio && source.reference.empty());
    });
}

// Where the weights come from: the configured start, or what the run has made of it so far.
static std::string policy_directory(const RlConfig& config, const Run& run) {
    return run.step > 0 ? run.checkpoint : model_directory(config.model.path);
}

static std::string critic_directory(const RlConfig& config, const Run& run) {
    if (run.step > 0) return stored_trainer_path(run.checkpoint, "critic");
    return model_directory(config.critic.path.empty() ? config.model.path : config.critic.path);
}

static std::unique_ptr<Model> load_reference(const RlConfig& config, const Model& policy,
                                             const ComputeConfig& compute) {
    const std::string directory =
        model_directory(config.reference.empty() ? config.model.path : config.reference);
    auto reference = load_model(directory, compute, false);
    CHECK(reference->config.V == policy.config.V,
          "the reference %s has a vocabulary of %d, the policy one of %d", directory.c_str(),
          reference->config.V, policy.config.V);
    return reference;
}

static std::unique_ptr<Model> load_critic(const RlConfig& config, const std::string& directory,
                                          const ComputeConfig& compute) {
    ModelConfig shape = read_model_config(directory);
    shape.head = Head::token_classification;
    shape.score_bias = false;
    shape.tied_embeddings = true; // no LM head
    auto critic = make_model(shape, compute, false);
    uint64_t seed = mix64((uint64_t)config.run.seed + 1);
    read_weights(*critic, directory, &seed);
    return critic;
}

static Json carried_row(const CarriedGroup& group) {
    Json row = {{"problem", group.problem}, {"version", group.version}};
    for (const Completion& each : group.completions)
        row["completions"].push_back({{"sample", each.sample},
                                      {"ids", each.ids},
                                      {"logp", each.logp},
                                      {"entropy", each.entropy},
                                      {"finished", each.finished}});
    return row;
}

static CarriedGroup read_carried(const Json& row, const std::string& where) {
    CarriedGroup group{json_int(row, "problem", where), json_int(row, "version", where), {}};
    for (const Json& each : row.at("completions")) {
        Completion& completion = group.completions.emplace_back();
        completion.sample = (int)json_int(each, "sample", where);
        completion.ids = json_ids(each, "ids", where);
        completion.logp = each.at("logp").get<std::vector<double>>();
        completion.entropy = each.at("entropy").get<std::vector<double>>();
        completion.finished = each.at("finished").get<bool>();
    }
    return group;
}

Learner::Learner(const RlConfig& config_, const Run& run, const ComputeConfig& compute_)
    : config(config_), compute(compute_),
      policy(load_policy(config, policy_directory(config, run), compute)),
      trainer(*policy, config.train.tokens_per_micro_batch, config.train.tokens_per_micro_batch),
      task(make_task(config.task)),
      replayed(config.replay.rows_per_step > 0 ? make_task(config.replay.task) : Task{}),
      inputs(open_inputs(policy_directory(config, run), policy->config, config.data.template_name,
                         true, config.chat)),
      sources(config.credit, task, inputs, policy_directory(config, run),
              model_directory(config.model.path), compute, config.train.tokens_per_micro_batch),
      held_out(held_out_problems(task, config.train.eval_problems, "train.eval_problems=0")),
      ema(config.algo.advantage.ema) {
    check_lengths(task, Split::train, INT64_MAX, inputs.options, RowNeed::prompt);
    check_lengths(task, Split::eval, held_out, inputs.options, RowNeed::prompt);
    check_credit(config.algo, sources.config);
    CHECK(
        !config.select.before_judging || std::any_of(sources.config.begin(), sources.config.end(),
                                                     [](const SourceConfig& source) {
                                                         return source.row().writes &&
                                                                source.counts();
                                                     }),
        "select.before_judging has no effect without a judge that writes: a capo or trm source in "
        "the list credit");
    CHECK(policy->config.head == Head::lm, "%s is a reward model; rl needs a language model",
          policy_directory(config, run).c_str());
    CHECK(config.sample.temperature > 0,
          "sample.temperature=0 gives every sample of a prompt the same text; set it above 0");
    const int budget = config.train.tokens_per_micro_batch;
    if (needs_reference(config.algo)) {
        reference = load_reference(config, *policy, compute);
        reference_pass = std::make_unique<Pass>(*reference, budget, budget, false);
    }
    if (needs_value(config.algo) && !config.critic.shared) {
        critic = load_critic(config, critic_directory(config, run), compute);
        critic_trainer = std::make_unique<Trainer>(*critic, budget, budget);
    }
    // Bit for bit what the trainer computes: no pass is spent on it.
    // On a GPU the library picks its products' order of sums by the number of rows.
    exact =
        !compute.gpu && (compute.dtype == DType::f64 || cpu_gemm_is_batch_invariant(compute.gemm));

    CHECK(
        exact || !compute.ranks || !compute.ranks->order_free,
        "dist.determinism=2: the matrix products of this CPU's library depend on what else is in a "
        "batch; use dist.determinism=1, or compute.dtype=f64");

    if (compute.ranks && compute.ranks->ranks > 1 && config.dist.draws()) {
        CHECK(exact,
              "dist.placement=%s: work that is drawn comes out the same only where products do "
              "not depend on what else is in a batch: on the CPU with compute.gemm=f32; use "
              "dist.placement=share with dist.tickets=false",
              config.dist.placement.c_str());
        CHECK(sources.writes() || config.dist.placement == "share",
              "dist.placement=%s needs a model that judges (a capo or trm source in credit)",
              config.dist.placement.c_str());
        CHECK(!config.select.before_judging,
              "select.before_judging: where work is drawn, judges are asked of a prompt's answers "
              "while others generate, before any are chosen; use dist.placement=share with "
              "dist.tickets=false");
        roles = std::make_unique<LearnerRoles>(config, *compute.ranks, sources.texts(),
                                               sources.expected_texts());
    }

    for (const auto& judge : sources.critics)
        if (judge) check_same_weights(*judge->model, "the model that judges", 0);
    CHECK(config.dist.surplus == "drop" || exact,
          "dist.surplus=keep needs the log-probabilities that answers were drawn with: on the CPU "
          "with compute.gemm=f32");

    if (run.step == 0) return;
    const Json state = run.resumed_state();
    if (roles && state.contains("placement")) roles->chooser.restore(state["placement"]);
    next_problem = json_int(state, "next_problem", run.checkpoint);
    if (state.contains("next_replayed"))
        next_replayed = json_int(state, "next_replayed", run.checkpoint);
    ema = json_number(state, "ema", run.checkpoint);
    if (state.contains("carried"))
        for (const Json& row : state["carried"])
            carried.push_back(read_carried(row, run.checkpoint));
    valid_share = json_number_or(state, "valid_share", 1, run.checkpoint);
    pass_before = json_number_or(state, "eval_before", 0, run.checkpoint);
    read_state(run, trainer, "trainer.safetensors");
    if (critic) read_state(run, *critic_trainer, "critic_trainer.safetensors");
}

void Learner::save(Run& run, int64_t step) {
    enter_phase("save");
    Json state = {{"eval_before", pass_before},
                  {"next_problem", next_problem},
                  {"ema", ema},
                  {"valid_share", valid_share}};
    if (next_replayed > 0) state["next_replayed"] = next_replayed;
    for (const CarriedGroup& group : carried) state["carried"].push_back(carried_row(group));
    if (roles && roles->decides) state["placement"] = roles->chooser.state();
    const std::string& dtype = config.run.save_dtype;
    const Params weights = full_weights(trainer);
    const Params critic_weights = critic ? full_weights(*critic_trainer) : Params();
    run.save(step, state, [&](const std::string& directory) {
        make_directories(trainer_path(directory, critic ? "critic" : ""));
        if (run.first()) write_model(*policy, directory, dtype, &weights);
        write_state(run, trainer, directory, "trainer.safetensors");
        if (!critic) return;
        if (run.first())
            write_model(*critic, trainer_path(directory, "critic"), dtype, &critic_weights);
        write_state(run, *critic_trainer, directory, "critic_trainer.safetensors");
    });
    // The tokenizer's next copy comes from here: the checkpoint before it may be removed by then.
    if (run.checkpoint.empty()) return;
    policy->source = run.checkpoint;
    if (critic) critic->source = trainer_path(run.checkpoint, "critic");
}

// ---- stations 1 and 2: task, rollout ------------------------------------------------------------

void add_completion(Rollouts& drawn, std::vector<std::vector<int32_t>>& ids,
                    Completion completion) {
    drawn.group.push_back(completion.prompt);
    drawn.groups = std::max(drawn.groups, completion.prompt + 1);
    drawn.offset.push_back(drawn.offset.back() + (int64_t)completion.ids.size());
    drawn.finished.push_back(completion.finished);
    drawn.logp_old.insert(drawn.logp_old.end(), completion.logp.begin(), completion.logp.end());
    drawn.entropy.insert(drawn.entropy.end(), completion.entropy.begin(), completion.entropy.end());
    ids.push_back(std::move(completion.ids));
}

Batch Learner::roll_out(int64_t step) {
    enter_phase("generate");
    if (roles) roles->begin();
    // With dynamic sampling some of it would be thrown away; with more steps than one it would be
    // used once.
    recording = nullptr;
    if (config.train.one_update() && config.train.max_rounds == 1)
        recording = std::make_unique<Recording>(trainer.pass, config.train.tokens_per_micro_batch);
    Batch batch;
    add_carried(batch, step);
    while (batch.rounds < config.train.max_rounds &&
           (int)batch.problem.size() < config.train.prompts_per_step)
        add_round(batch, step);
    return batch;
}

std::vector<Completion> Learner::draw(const std::vector<Problem>& problems,
                                      const std::vector<std::vector<int32_t>>& prompts,
                                      const SampleConfig& sample, int64_t step, bool all,
                                      GenerateStats& stats) {
    const double start = now();
    if (!roles) {
        std::vector<Completion> drawn =
            generate(*policy, prompts, sample, (uint32_t)step, &stats, {}, recording.get());
        timeline.note("generate", start, now());
        return drawn;
    }
    auto judge = [&](int group, const std::vector<AnswerTokens>& answers) {
        std::vector<LoopAnswer> asked;
        std::vector<double> rewards;
        for (const AnswerTokens& answer : answers) {
            asked.push_back({problems[group], prompts[group], answer.ids, answer.finished});
            rewards.push_back(
                task.verify(problems[group], answer.ids, inputs.text(answer.ids)).reward);
        }
        if (!all && !has_signal(rewards)) return; // it will be dropped
        GenerateStats work;
        sources.judge_ahead(asked, work, roles->own.judge_text, [&] { roles->progress(); });
        roles->judged(work);
    };
    std::vector<Completion> drawn =
        roles->draw(*policy, prompts, sample, (uint32_t)step, stats, timeline,
                    sources.writes() ? JudgeGroup(judge) : JudgeGroup());
    sources.share_ahead();
    return drawn;
}

void Learner::place(const Batch& batch, const Updated& update, double seconds) {
    if (!roles) return;
    double prompt_tokens = 0;
    for (const auto& prompt : batch.texts.prompt)
        prompt_tokens += (double)prompt.size() / (double)batch.texts.prompt.size();
    roles->own.train_seconds = update.seconds, roles->own.seconds = seconds;
    roles->own.train_tokens = (double)batch.drawn.tokens() / compute.ranks->ranks;
    roles->end((int)prompt_tokens, valid_share, valid_lately);
}

struct CheckedGroup { // a prompt's completions and what the task says of them
    Problem problem;
    std::vector<int32_t> prompt;
    std::vector<Completion> completions;
    std::vector<std::string> texts;
    std::vector<Verdict> verdicts;
    bool valid = false; // their rewards differ
};

CheckedGroup Learner::checked(const Problem& problem, std::vector<int32_t> prompt,
                              std::vector<Completion>::iterator begin,
                              std::vector<Completion>::iterator end) const {
    CheckedGroup group{problem, std::move(prompt), {}, {}, {}};
    std::vector<double> rewards;
    for (auto completion = begin; completion != end; ++completion) {
        group.texts.push_back(inputs.text(completion->ids));
        group.verdicts.push_back(task.verify(problem, completion->ids, group.texts.back()));
        rewards.push_back(group.verdicts.back().reward);
        CHECK(std::isfinite(rewards.back()), "the reward of %s is not finite (%g)",
              problem.where.c_str(), rewards.back());
        group.completions.push_back(std::move(*completion));
    }
    group.valid = has_signal(rewards);
    return group;
}

static void add_group(Batch& batch, CheckedGroup group) {
    const int number = (int)batch.problem.size();
    batch.problem.push_back(std::move(group.problem));
    batch.texts.prompt.push_back(std::move(group.prompt));
    for (size_t s = 0; s < group.completions.size(); ++s) {
        Completion& completion = group.completions[s];
        completion.prompt = number;
        batch.sample.push_back(completion.sample);
        add_completion(batch.drawn, batch.texts.completion, std::move(completion));
        batch.checker.push_back(group.verdicts[s].reward);
        batch.useful.push_back(group.verdicts[s].useful);
        batch.text.push_back(std::move(group.texts[s]));
        batch.reason.push_back(std::move(group.verdicts[s].reason));
    }
}

// One quota for all ranks: each knows what all have drawn.
int Learner::prompts_of_round(int missing) const {
    const double factor = config.dist.oversample;
    if (factor == 1) return missing;
    return (int)std::ceil(missing * std::min(10.0, factor / std::max(0.01, valid_share)));
}

// Completions of as many new prompts as the batch lacks, or more; of dynamic sampling those that teach
// something stay.
void Learner::add_round(Batch& batch, int64_t step) {
    const int G = config.sample.n;
    const int missing = config.train.prompts_per_step - (int)batch.problem.size();
    const bool last_round = batch.rounds + 1 >= config.train.max_rounds;
    const int asked = last_round ? missing : prompts_of_round(missing);
    std::vector<Problem> problems;
    std::vector<std::vector<int32_t>> prompts;
    const int64_t first_problem = next_problem;
    for (int p = 0; p < asked; ++p) {
        problems.push_back(task.problem(Split::train, next_problem++));
        prompts.push_back(problem_row(problems.back(), inputs.options, RowNeed::prompt).ids);
    }
    SampleConfig sample = config.sample;
    // Below 2^52: a whole number also as a double, as configurations hold it.
    sample.seed =
        (int64_t)(mix64((uint64_t)config.run.seed ^ mix64(sample.seed + batch.rounds)) >> 12);
    sample.entropy = needs_entropy(at_step(config.select, step, config.train.steps)) ||
                     config.algo.entropy_coef != 0 || config.dist.surplus == "keep";
    GenerateStats stats;
    std::vector<Completion> drawn = draw(problems, prompts, sample, step, last_round, stats);
    batch.sampling.prompt_tokens += stats.prompt_tokens;
    batch.sampling.new_tokens += stats.new_tokens;
    batch.sampling.prefill_seconds += stats.prefill_seconds;
    batch.sampling.decode_seconds += stats.decode_seconds;

    const double start = now();
    int valid = 0;
    for (int p = 0; p < asked; ++p) {
        const auto first = drawn.begin() + (int64_t)p * G;
        CheckedGroup group = checked(problems[p], std::move(prompts[p]), first, first + G);
        // In the last round everything is taken, so that a step never ends without rollouts. Who is
        // taken depends on the prompts' numbers, not on who was done first: no bias to short answers.
        valid += group.valid;
        if (!last_round && !group.valid) {
            ++batch.dropped_groups;
        } else if ((int)batch.problem.size() < config.train.prompts_per_step) {
            add_group(batch, std::move(group));
        } else {
            ++batch.surplus_groups;
            if (config.dist.surplus == "keep")
                carried.push_back({first_problem + p, step - 1, std::move(group.completions)});
        }
    }
    valid_lately = (double)valid / asked;
    valid_share += 0.1 * (valid_lately - valid_share);
    ++batch.rounds;
    batch.check_seconds += now() - start;
}

// What the step before had beyond its quota, in the order of the problems. What this one has no room for,
// either, would be two versions old in the next.
void Learner::add_carried(Batch& batch, int64_t step) {
    for (CarriedGroup& old : std::exchange(carried, {})) {
        if ((int)batch.problem.size() == config.train.prompts_per_step) return;
        CHECK(old.version == step - 2, "step %lld carries a group of version %lld", (long long)step,
              (long long)old.version);
        const Problem problem = task.problem(Split::train, old.problem);
        add_group(batch, checked(problem, problem_row(problem, inputs.options, RowNeed::prompt).ids,
                                 old.completions.begin(), old.completions.end()));
        ++batch.carried_groups;
    }
}

// ---- station 3: credit --------------------------------------------------------------------------

std::vector<uint8_t> Learner::choose(const Batch& batch, const SelectConfig& select,
                                     int64_t step) const {
    if (!select.before_judging) return {};
    return chosen_by_rule(batch.drawn, batch.checker, config.algo, select, step);
}

StepCredit Learner::give_credit(const Batch& batch, std::span<const uint8_t> chosen) {
    enter_phase("credit");
    const double start = now();
    const Rollouts& drawn = batch.drawn;
    const std::vector<TrainSequence> sequences = all_tokens(drawn, batch.texts);
    StepCredit credit;
    Asked asked = sources.ask({batch.problem, drawn.group, batch.texts.completion, sequences,
                               batch.checker, batch.useful, drawn.logp_old,
                               config.sample.temperature, drawn.finished, chosen});
    credit.channels = std::move(asked.channels), credit.judges = std::move(asked.judges);
    credit.credit =
        earned(sources.config, credit.channels, {drawn.offset, drawn.group}, config.algo);
    credit.seconds = now() - start;
    timeline.note(sources.writes() && !roles ? "judge" : "credit", start, now());
    return credit;
}

// ---- the networks that are asked ----------------------------------------------------------------

// (N) one output of every completion token, one sequence after another.
static std::vector<double> ask(Pass& pass, const std::vector<TrainSequence>& sequences, int budget,
                               const Wanted& options) {
    std::vector<double> all;
    for (const SequenceOutputs& output : evaluate_sequences(pass, sequences, budget, options)) {
        const std::vector<double>& part = options.value ? output.value : output.logp;
        all.insert(all.end(), part.begin(), part.end());
    }
    return all;
}

// Where the one update of a batch computes logp anyway, its own serves as logp_old.
bool Learner::adopts_logp_old() const {
    return !exact && config.train.one_update() && config.algo.kl_in == KlIn::loss;
}

Consulted Learner::consult(const Batch& batch) {
    enter_phase("consult");
    const double start = now();
    const int budget = config.train.tokens_per_micro_batch;
    const std::vector<TrainSequence> sequences = all_tokens(batch.drawn, batch.texts);
    Wanted logp, value;
    logp.temperature = value.temperature = config.sample.temperature;
    value.logp = false;
    value.value = true;
    Consulted said;
    said.logp_old = batch.drawn.logp_old;
    if (!exact && !adopts_logp_old()) {
        said.logp_old = ask(trainer.pass, sequences, budget, logp);
        for (size_t n = 0; n < said.logp_old.size(); ++n)
            said.gap = std::max(said.gap, std::abs(said.logp_old[n] - batch.drawn.logp_old[n]));
    }
    if (reference) said.logp_ref = ask(*reference_pass, sequences, budget, logp);
    if (critic) said.value = ask(critic_trainer->pass, sequences, budget, value);
    if (config.critic.shared) said.value = ask(trainer.pass, sequences, budget, value);
    said.seconds = now() - start;
    timeline.note("consult", start, now());
    return said;
}

Rollouts numbers_of(const Batch& batch, const StepCredit& credit, const Consulted& said) {
    Rollouts r = batch.drawn;
    put_credit(r, credit.credit);
    r.logp = r.logp_old = said.logp_old;
    r.logp_ref = said.logp_ref;
    r.value = r.value_old = said.value;
    return r;
}

// ---- station 6: update --------------------------------------------------------------------------

Updated Learner::update(const Batch& batch, const Rollouts& r, const Selection& kept,
                        int64_t step) {
    enter_phase("train");
    const double start = now();
    UpdateSettings settings;
    settings.epochs = config.train.epochs;
    settings.minibatches = config.train.minibatches;
    settings.seed = mix64((uint64_t)config.run.seed ^ mix64((uint64_t)step));
    settings.temperature = config.sample.temperature;
    settings.value_with_policy = config.critic.shared;
    settings.adopt_logp_old = adopts_logp_old();
    settings.denominator = config.select.denominator;
    settings.optim = config.optim.adamw;
    settings.lr = config.optim.lr(step, config.train.steps);
    settings.recording = recording.get();
    Updated update;
    update.lr = settings.lr;
    update.policy = update_policy(trainer, r, batch.texts, kept, config.algo, settings);
    if (critic) {
        const double peak = config.optim.adamw.lr;
        settings.lr = peak > 0 ? settings.lr / peak * config.critic.lr : 0;
        update.critic = update_critic(*critic_trainer, r, batch.texts, kept, config.algo, settings);
    }
    if (config.replay.rows_per_step > 0) update.replay = replay(update.lr);
    check_same_weights(*policy, "the policy", step);
    update.seconds = now() - start;
    timeline.note("train", start, now());
    return update;
}

// An optimiser step on the next worked answers.
StepStats Learner::replay(double lr) {
    std::vector<TrainSequence> rows;
    for (int r = 0; r < config.replay.rows_per_step; ++r)
        rows.push_back(train_sequence(problem_row(replayed.problem(Split::train, next_replayed++),
                                                  inputs.options, RowNeed::completion)));
    StepStats stats = accumulate_gradients(trainer, rows, sft_loss(rows));
    apply_update(trainer, config.optim.adamw, lr, stats);
    return stats;
}

Evaluation Learner::evaluate() {
    enter_phase("evaluate");
    std::vector<Problem> problems;
    std::vector<std::vector<int32_t>> prompts;
    const int64_t count = held_out;
    for (int64_t i = 0; i < count; ++i) {
        problems.push_back(task.problem(Split::eval, i));
        prompts.push_back(problem_row(problems.back(), inputs.options, RowNeed::prompt).ids);
    }
    SampleConfig sample = config.sample;
    sample.n = config.train.eval_samples;
    Evaluation result;
    std::vector<int> right(count);
    const std::vector<Completion> completions = generate(*policy, prompts, sample, 0);
    std::vector<Answered> answered;
    for (const Completion& completion : completions) {
        answered.push_back({&problems[completion.prompt], &completion.ids, completion.logp});
        const Verdict verdict =
            task.verify(problems[completion.prompt], completion.ids, inputs.text(completion.ids));
        right[completion.prompt] += verdict.reward > 0;
        result.length += (double)completion.ids.size() / (double)(count * sample.n);
    }
    auto pass_at = [&](int k) {
        std::vector<double> values;
        for (int hits : right) values.push_back(pass_at_k(sample.n, hits, k));
        return mean_over_prompts(values, sample.n);
    };
    if (task.figures) result.figures = task.figures(answered);
    result.pass = pass_at(1);
    result.pass_k = pass_at(sample.n);
    return result;
}
