#include "app/rl_log.h"

#include "base/file.h"
#include "base/statistics.h"
#include "credit/ranking.h"
#include "credit/scores.h"
#include "rl/aggregation.h"
#include "rl/doctor.h"
#include "rl/stored_rollouts.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>

namespace {

// 64 bits of all parameters: two runs with the same number hold the same weights.
uint64_t fingerprint(const Trainer& trainer) {
    uint64_t hash = 0;
    for (const Param& param : full_weights(trainer).list) {
        std::vector<uint64_t> words((param.tensor.bytes() + 7) / 8, 0);
        trainer.model.ops->download(words.data(), param.tensor);
        for (uint64_t word : words) {
            hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
            hash ^= hash >> 29;
        }
    }
    return hash;
}

// Half of a 95 % interval of the mean reward: the prompts are the independent draws, not the
// completions.
double mean_error(const Rollouts& r) {
    std::vector<double> sum(r.groups, 0.0), of_prompt;
    std::vector<int> count(r.groups, 0);
    for (int i = 0; i < r.completions(); ++i) {
        sum[r.group[i]] += r.reward[i];
        ++count[r.group[i]];
    }
    for (int g = 0; g < r.groups; ++g) of_prompt.push_back(sum[g] / count[g]);
    return 1.96 * std::sqrt(variance(of_prompt, mean(of_prompt), true) / r.groups);
}

// Rewards, lengths, and what the selection left.
void put_batch(Json& line, const Batch& batch, const Rollouts& r, const Selection& kept) {
    double length = 0, finished = 0, absolute = 0;
    int64_t tokens = r.tokens();
    for (int i = 0; i < r.completions(); ++i) {
        length += (double)r.length(i);
        finished += r.finished[i];
        tokens += (int64_t)batch.texts.prompt[r.group[i]].size();
    }
    for (double a : kept.A.token) absolute += std::abs(a);
    const int64_t completions = std::count(kept.completion.begin(), kept.completion.end(), 1);
    const int64_t kept_tokens = std::count(kept.token.begin(), kept.token.end(), 1);
    const double error = mean_error(r);
    line["tokens"] = tokens;
    line["reward_mean"] = mean(r.reward);
    line["reward_mean_low"] = mean(r.reward) - error;
    line["reward_mean_high"] = mean(r.reward) + error;
    line["completion_tokens_mean"] = length / r.completions();
    line["finished_share"] = finished / r.completions();
    line["advantage_abs_mean"] = absolute / (double)std::max<int64_t>(1, r.tokens());
    line["kept_rows"] = completions;
    line["dropped_rows"] = r.completions() - completions;
    line["kept_tokens"] = kept_tokens;
    line["dropped_tokens"] = r.tokens() - kept_tokens;
}

// Distances to the reference policy, nats per token.
void put_kl(Json& line, const Rollouts& r) {
    if (r.logp_ref.empty()) return;
    double kl1 = 0, kl3 = 0;
    for (size_t n = 0; n < r.logp_ref.size(); ++n) {
        const double delta = r.logp_ref[n] - r.logp_old[n];
        kl1 -= delta;
        kl3 += std::exp(delta) - delta - 1;
    }
    line["kl_k1_nats_per_token"] = kl1 / (double)r.tokens();
    line["kl_k3_nats_per_token"] = kl3 / (double)r.tokens();
}

// What the sources said of the step's completions, and how well each one's score of a completion
// ranks the right ones over the wrong ones: a model that is being hacked rises in the first and
// falls in the second.
void put_credit(Json& line, const Batch& batch, const StepCredit& credit) {
    line["checker_mean"] = mean(batch.checker);
    for (const Channel& channel : credit.channels) {
        if (channel.name == "rule") continue;
        std::vector<double> score = pooled_channel(
            channel, channel.name == "orm" ? Pool::last : Pool::mean, batch.drawn.offset);
        line["score_mean_" + channel.name] = mean(score);
        std::vector<ScoredAnswer> answers;
        for (size_t i = 0; i < score.size(); ++i)
            answers.push_back({0, score[i], batch.checker[i] > 0});
        const double area = area_under_curve(answers);
        if (std::isfinite(area)) line["auc_" + channel.name] = area;
    }
}

// The task's own figures of the step's completions.
void put_figures(Json& line, const std::string& prefix, const std::vector<TaskFigure>& figures) {
    for (const TaskFigure& figure : figures) line[prefix + figure.name] = figure.value;
}

// What models that judge wrote, and how well they judge where the task's rule knows.
void put_judges(Json& line, const StepCredit& credit) {
    auto put = [&](const std::string& name, double part, double whole) {
        if (whole > 0) line[name] = part / whole;
    };
    for (const JudgedBatch& judge : credit.judges) {
        const JudgeCounts& counts = judge.counts;
        const AgainstRule& rule = counts.rule;
        auto of = [&](const char* what) {
            return "judge_" + std::string(what) + "_" + judge.source;
        };
        int64_t clean = 0, asked = 0;
        for (const Judgement& said : judge.said) {
            asked += said.asked;
            clean +=
                said.valid && std::ranges::all_of(said.wrong, [](double x) { return x <= 0.5; });
        }
        put("judge_clean_share", (double)clean, (double)asked);
        if (asked < (int64_t)judge.said.size())
            put("judge_asked_share", (double)asked, (double)judge.said.size());
        put(of("cache_hit_share"), (double)counts.work.cache_hits, (double)counts.work.answers);
        put(of("invalid_share"), (double)counts.invalid_critiques, (double)counts.critiques);
        put(of("unread_share"), (double)(counts.rows_without_vote + counts.unparsable),
            (double)counts.rows);
        put(of("precision"), (double)rule.found, (double)rule.called);
        put(of("recall"), (double)rule.found, (double)rule.wrong);
        line[of("tokens")] = counts.work.new_tokens;
    }
}

// What the doctor has to say of a step: broken laws, and a loss of 0 in words.
struct Diagnosis {
    Json broken = Json::array();
    std::string note;
};

Diagnosis diagnose(const StepResults& s, const RlConfig& config) {
    const Rollouts& r = s.numbers;
    const Weights weights = weigh(r, s.kept, config.algo, config.select.denominator);
    Diagnosis diagnosis;
    // What was carried has the ratio of the weights that drew it.
    const bool on_policy = config.train.one_update() && s.batch.carried_groups == 0;
    for (const Finding& finding : examine(r, s.kept, weights, config.algo, s.update.policy.parts,
                                          s.update.policy.grads, on_policy)) {
        if (finding.health == Health::broken)
            diagnosis.broken.push_back(std::string(finding.law) + ": " + finding.text);
        if (finding.health == Health::note) diagnosis.note = finding.text;
    }
    return diagnosis;
}

Json seconds_of(const StepResults& s) {
    Json seconds = {{"prompt", s.batch.sampling.prefill_seconds},
                    {"decode", s.batch.sampling.decode_seconds},
                    {"credit", s.batch.check_seconds + s.credit.seconds},
                    {"reference", s.consulted.seconds},
                    {"train", s.update.seconds}};
    if (s.credit.judges.empty()) return seconds;
    double judging = 0;
    for (const JudgedBatch& judge : s.credit.judges) judging += judge.counts.work.seconds;
    seconds["judge"] = judging;
    // Judges at work while others generate (dist.placement) take none of this station's time.
    seconds["credit"] = std::max(0.0, seconds["credit"].get<double>() - judging);
    return seconds;
}

void store_rollouts(const Run& run, const StepResults& s, const RlConfig& config) {
    const Batch& batch = s.batch;
    const Rollouts& r = s.numbers;
    const Weights weights = weigh(r, s.kept, config.algo, config.select.denominator);
    AtomicFile out(run.file(format("rollouts/%06lld.jsonl", (long long)s.step)));
    for (int i = 0; i < r.completions(); ++i) {
        Json row = {{"step", s.step},
                    {"prompt_id", r.group[i]},
                    {"sample", batch.sample[i]},
                    {"prompt_ids", batch.texts.prompt[r.group[i]]},
                    {"completion_ids", batch.texts.completion[i]},
                    {"text", batch.text[i]},
                    {"finish", r.finished[i] ? "stop" : "length"},
                    {"reason", batch.reason[i]},
                    {"logp_sampled", tokens_of(batch.drawn.logp_old, batch.drawn, i)}};
        put_rollout(row, r, i);
        put_selection(row, r, s.kept, weights, i);
        row["correct"] = batch.checker[i] > 0;
        for (const Channel& channel : s.credit.channels) // as the sources gave them
            row["scores"][channel.name] = score_json(channel, {r.offset, r.group}, i);
        for (const JudgedBatch& judge : s.credit.judges)
            if (judge.said[i].asked) row["judges"][judge.source] = judge.words[i];
        out.write(dump_row(row) + "\n");
    }
    out.commit();
}

} // namespace

Json step_line(const StepResults& s) {
    const UpdateStats& update = s.update.policy;
    const LossParts& parts = update.parts;
    Json line = {{"step", s.step},
                 {"loss", update.step.loss},
                 {"policy_loss", parts.policy},
                 {"kl_loss", parts.kl},
                 {"entropy_loss", parts.entropy},
                 {"grad_norm", update.step.grad_norm},
                 {"lr", s.update.lr}};
    put_batch(line, s.batch, s.numbers, s.kept);
    line["computed_tokens"] = update.step.computed;
    line["recorded_tokens"] = update.step.recorded;
    // Inputs of the trained completions, had each gone through the network with its prompt.
    line["shared_prompt_tokens_saved"] = update.step.tokens - update.step.computed;
    line["equal_reward_groups"] = s.kept.A.equal_groups;
    line["clip_frac"] = parts.tokens ? (double)parts.clipped / (double)parts.tokens : 0.0;
    line["logp_gap_nats"] = std::max(update.gap, s.consulted.gap);
    line["optimiser_steps"] = update.steps;
    if (!s.numbers.entropy.empty()) line["entropy_nats_per_token"] = mean(s.numbers.entropy);
    put_kl(line, s.numbers);
    if (s.batch.rounds > 1 || s.batch.dropped_groups || s.batch.carried_groups) {
        line["sampling_rounds"] = s.batch.rounds;
        line["dropped_groups"] = s.batch.dropped_groups;
        line["surplus_groups"] = s.batch.surplus_groups;
        line["carried_groups"] = s.batch.carried_groups;
    }
    put_credit(line, s.batch, s.credit);
    if (s.update.replay) line["replay_loss_nats_per_token"] = s.update.replay->loss;
    put_judges(line, s.credit);
    if (s.update.critic) {
        line["value_loss"] = s.update.critic->parts.value;
        line["critic_grad_norm"] = s.update.critic->step.grad_norm;
    }
    return line;
}

RlLog::RlLog(Run& run_, const RlConfig& config_, bool speaks_)
    : run(run_), config(config_), speaks(speaks_) {
    if (!speaks) return;
    progress.emplace("rl", "steps", config.train.steps, run.step);
    events.open(config.run.dir, run.step);
    make_directories(run.file("rollouts"));
    if (run.step > 0) tell(format("continuing from %s", run.checkpoint.c_str()));
}

void RlLog::tell(const std::string& message) {
    if (progress) progress->message(message);
}

double RlLog::evaluate(Learner& learner, const char* prefix, const std::string& when) {
    if (config.train.eval_problems == 0) return 0;
    const Evaluation result = learner.evaluate();
    auto put = [&](const std::string& name, const Estimate& estimate) {
        evaluated[prefix + name] = estimate.value;
        evaluated[prefix + name + "_low"] = estimate.low;
        evaluated[prefix + name + "_high"] = estimate.high;
    };
    put("pass@1", result.pass);
    evaluated[prefix + std::string("completion_tokens_mean")] = result.length;
    put_figures(evaluated, prefix + std::string("task_"), result.figures);
    if (const int k = config.train.eval_samples; k > 1) put(format("pass@%d", k), result.pass_k);
    tell(format("pass@1 %s %.3f [%.3f, %.3f] on %lld held-out problems", when.c_str(),
                result.pass.value, result.pass.low, result.pass.high, (long long)learner.held_out));
    return result.pass.value;
}

void RlLog::warn_of_judges(const StepCredit& credit) {
    for (const JudgedBatch& judge : credit.judges) {
        const JudgeCounts& counts = judge.counts;
        const int64_t unread = counts.rows_without_vote + counts.unparsable;
        if (warned || counts.reasons.empty() || unread < counts.rows - counts.truncated) continue;
        warned = true;
        std::string reasons;
        for (const auto& [reason, count] : counts.reasons)
            reasons += format("%s%s (%lld)", reasons.empty() ? "" : ", ", reason.c_str(),
                              (long long)count);
        tell(format("the judge of credit source \"%s\" cannot be read on any of %lld "
                    "completions: %s. What it was to give is missing, and the run goes on "
                    "with the other sources alone",
                    judge.source.c_str(), (long long)unread, reasons.c_str()));
    }
}

// Who generated and who judged, what ranks waited for, on average, and what comes next.
static void put_roles(Json& line, const Learner& learner) {
    if (!learner.roles) return;
    const LearnerRoles& roles = *learner.roles;
    const double ranks = roles.ranks.ranks;
    line["layout"] = roles.layout.name();
    line["idle_seconds"] = {{"tail", roles.spent.tail / ranks},
                            {"queue", roles.spent.queue / ranks},
                            {"barrier", roles.spent.barrier / ranks}};
    if (roles.predicted > 0) line["predicted_seconds"] = roles.predicted;
}

// Before the first time in this run, rows of this step and those behind it are dropped: a run that goes on
// from a checkpoint makes them again.
void RlLog::append(const std::string& path, int64_t step, const std::string& rows) {
    if (appended.insert(path).second) {
        make_directories(path.substr(0, path.rfind('/')));
        std::string kept;
        if (file_exists(path))
            for_each_row(path, [&](const Json& row, const std::string& where) {
                if (json_int(row, "step", where) < step) kept += dump_row(row) + "\n";
            });
        write_file(path, kept);
    }
    std::ofstream(path, std::ios::app) << rows;
}

// Every rank its own: what it did since the last step.
void RlLog::write_timeline(int64_t step, Learner& learner) {
    const Collectives* ranks = learner.compute.ranks;
    if (!ranks || ranks->ranks == 1) return;
    append(run.file(format("timeline/%d.jsonl", ranks->rank)), step, learner.timeline.rows(step));
    if (ranks->rank > 0 || !learner.roles || learner.roles->told.is_null()) return;
    Json row = {{"step", step}};
    row.update(learner.roles->told);
    append(run.file("placement.jsonl"), step, dump_row(row) + "\n");
    const Json& decision = learner.roles->told["decision"];
    if (decision["layout"] != learner.roles->layout.name())
        tell("placement: " + decision["layout"].get<std::string>() + ", " +
             decision["why"].get<std::string>());
}

void RlLog::write(const StepResults& s, Learner& learner) {
    write_timeline(s.step, learner);
    warn_of_judges(s.credit);
    const UpdateStats& update = s.update.policy;
    const uint64_t weights = fingerprint(learner.trainer);
    const bool last = s.step == config.train.steps;
    const bool evaluates =
        last || (config.train.eval_every > 0 && s.step % config.train.eval_every == 0);
    const std::string when = format("after step %lld", (long long)s.step);
    if (!speaks) {
        if (evaluates) evaluate(learner, "eval_", when);
        return;
    }
    Json line = step_line(s);
    if (learner.task.figures) {
        std::vector<Answered> answered;
        for (size_t i = 0; i < s.batch.texts.completion.size(); ++i)
            answered.push_back(
                {&s.batch.problem[s.numbers.group[i]], &s.batch.texts.completion[i]});
        put_figures(line, "task_", learner.task.figures(answered));
    }
    if (config.critic.shared) line["value_loss"] = update.parts.value;
    line.update(evaluated); // before the first step
    evaluated.clear();
    const Diagnosis doctor = diagnose(s, config);
    line["doctor"] = doctor.broken;
    if (!doctor.note.empty()) line["note"] = doctor.note;
    line["step_seconds"] = s.seconds;
    line["seconds"] = seconds_of(s);
    line["decode_tokens_per_s"] =
        (double)s.batch.sampling.new_tokens / std::max(1e-9, s.batch.sampling.decode_seconds);
    line["fingerprint"] = format("%016llx", (unsigned long long)weights);
    if (const Collectives* ranks = learner.compute.ranks; ranks && ranks->ranks > 1)
        line["ranks"] = ranks->ranks;
    put_roles(line, learner);

    if (evaluates) pass_after = evaluate(learner, "eval_", when);
    line.update(evaluated);
    evaluated.clear();
    if (config.train.store_every > 0 && s.step % config.train.store_every == 0)
        store_rollouts(run, s, config);
    run.log(line);
    events.write(line);

    for (const Json& law : doctor.broken) tell("doctor: " + law.get<std::string>());
    if (update.steps == 0)
        tell(format("step %lld trained on nothing: %s", (long long)s.step,
                    doctor.note.empty() ? "no completion was kept" : doctor.note.c_str()));
    auto part = [&](const char* name) { return line["seconds"].value(name, 0.0); };
    const std::string judging = s.credit.judges.empty() ? "" : format("judge %.2f ", part("judge"));
    progress->update(s.step,
                     format("reward %.3f  %.2f s (prompt %.2f decode %.2f credit %.2f %sreference "
                            "%.2f train %.2f)  %.0f tokens/s",
                            mean(s.numbers.reward), s.seconds, part("prompt"), part("decode"),
                            part("credit"), judging.c_str(), part("reference"), part("train"),
                            line["tokens"].get<double>() / s.seconds));
}

void RlLog::end(const Learner& learner) const {
    if (!speaks) return;
    if (config.train.eval_problems > 0)
        std::printf("pass@1 %.3f before, %.3f after\n", learner.pass_before, pass_after);
    std::printf("the model is %s\n", run.checkpoint.c_str());
}
