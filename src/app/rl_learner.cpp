#include "app/rl_learner.h"

#include "app/problems.h"
#include "base/clock.h"
#include "base/rng.h"
#include "model/hf.h"
#include "rl/advantage.h"

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

Learner::Learner(RlConfig& config_, const std::string& start, const std::string& policy_directory,
                 const std::string& critic_directory)
    : config(config_), compute(apply_compute(config.compute)),
      policy(load_policy(config, policy_directory, compute)),
      trainer(*policy, config.train.tokens_per_micro_batch, config.train.tokens_per_micro_batch),
      task(make_task(config.task)),
      inputs(open_inputs(policy_directory, policy->config, config.data.template_name, true,
                         config.chat)),
      sources(config.credit, task, inputs, policy_directory, start, compute,
              config.train.tokens_per_micro_batch),
      held_out(held_out_problems(task, config.train.eval_problems, "train.eval_problems=0")) {
    check_lengths(task, Split::train, INT64_MAX, inputs.options, RowNeed::prompt);
    check_lengths(task, Split::eval, held_out, inputs.options, RowNeed::prompt);
    const AdvantageConfig& advantage = config.algo.advantage;
    CHECK(!sources.to_tokens() || advantage.credit_weight != 0,
          "a credit source goes to the tokens, but algo.preset = %s has no use for token credit "
          "(algo.advantage.credit_weight = 0); use reinforce_qrm or ppo_qrm, or set estimator and "
          "credit_weight",
          config.algo.preset.c_str());
    CHECK(
        sources.to_tokens() || advantage.estimator != "token",
        "algo.advantage.estimator = token needs a credit source that goes to the tokens: one with "
        "\"to\": \"tokens\" in the list credit");
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
              "the reference %s has a vocabulary of %d, the policy one of %d", directory.c_str(),
              reference->config.V, policy->config.V);
        reference_pass = std::make_unique<Pass>(*reference, budget, budget, false);
    }
    if (needs_value(config.algo) && !config.critic.shared) {
        ModelConfig shape = read_model_config(critic_directory);
        shape.head = Head::token_classification, shape.score_bias = false;
        shape.tied_embeddings = true; // no LM head
        critic = make_model(shape, compute, false);
        uint64_t seed = mix64((uint64_t)config.run.seed + 1);
        read_weights(*critic, critic_directory, &seed);
        critic_trainer = std::make_unique<Trainer>(*critic, budget, budget);
    }
    // Bit for bit what the trainer computes: no pass is spent on it.
    // On a GPU the library picks its products' order of sums by the number of rows.
    exact =
        !compute.gpu && (compute.dtype == DType::f64 || cpu_gemm_is_batch_invariant(compute.gemm));
}

static void add_row(Batch& batch, Completion completion, double checker, const std::string& text,
                    const std::string& reason) {
    Rollouts& r = batch.numbers;
    r.group.push_back(completion.prompt);
    r.groups = std::max(r.groups, completion.prompt + 1);
    r.offset.push_back(r.offset.back() + (int64_t)completion.ids.size());
    batch.checker.push_back(checker);
    r.finished.push_back(completion.finished);
    r.logp_old.insert(r.logp_old.end(), completion.logp.begin(), completion.logp.end());
    r.entropy.insert(r.entropy.end(), completion.entropy.begin(), completion.entropy.end());
    batch.texts.completion.push_back(completion.ids);
    batch.text.push_back(text);
    batch.reason.push_back(reason);
    batch.completion.push_back(std::move(completion));
}

void Learner::roll_out(Batch& batch, int64_t step, int prompts, GenerateStats& stats,
                       double& credit_seconds, Recording* recording) {
    const int first = (int)batch.asked.problem.size(), G = config.sample.n;
    Asked fresh;
    for (int p = 0; p < prompts; ++p) fresh.add(task, Split::train, next_problem++, inputs.options);
    SampleConfig sample = config.sample;
    sample.seed =
        (int64_t)(mix64((uint64_t)config.run.seed ^ mix64(sample.seed + batch.rounds)) >> 12);
    sample.entropy = needs_entropy(config.select) || config.algo.entropy_coef != 0;
    GenerateStats round;
    std::vector<Completion> drawn =
        generate(*policy, fresh.prompt, sample, (uint32_t)step, &round, {}, recording);
    stats.prompt_tokens += round.prompt_tokens, stats.new_tokens += round.new_tokens;
    stats.prefill_seconds += round.prefill_seconds, stats.decode_seconds += round.decode_seconds;

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
            rewards.push_back(verdicts.back().reward);
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

void Learner::give_credit(Batch& batch, const std::vector<TrainSequence>& sequences) {
    Rollouts& r = batch.numbers;
    batch.channels = sources.ask(
        {batch.asked.problem, r.group, batch.texts.completion, sequences, batch.checker});
    Credit credit = combine(batch.channels, sources.config, r.offset);
    r.reward = std::move(credit.reward), r.credit = std::move(credit.token);
}

Pass* Learner::value_pass() {
    if (critic) return &critic_trainer->pass;
    return config.critic.shared ? &trainer.pass : nullptr;
}

std::vector<double> Learner::outputs_of(Pass& pass, const std::vector<TrainSequence>& sequences,
                                        bool value) {
    Wanted options;
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

Evaluation Learner::evaluate() {
    Asked asked;
    const int64_t count = held_out;
    for (int64_t i = 0; i < count; ++i) asked.add(task, Split::eval, i, inputs.options);
    SampleConfig sample = config.sample;
    sample.n = config.train.eval_samples;
    Evaluation result;
    std::vector<int> right(count);
    for (const Completion& completion : generate(*policy, asked.prompt, sample, 0)) {
        Verdict verdict = task.verify(asked.problem[completion.prompt], completion.ids,
                                      inputs.text(completion.ids));
        right[completion.prompt] += verdict.reward > 0;
        result.length += (double)completion.ids.size() / (double)(count * sample.n);
    }
    auto pass_at = [&](int k) {
        std::vector<double> values;
        for (int hits : right) values.push_back(pass_at_k(sample.n, hits, k));
        return mean_over_prompts(values, sample.n);
    };
    result.pass = pass_at(1), result.pass_k = pass_at(sample.n);
    return result;
}
