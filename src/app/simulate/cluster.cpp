#include "app/simulate/cluster.h"

#include "base/file.h"
#include "base/json.h"
#include "base/rng.h"

#include <algorithm>
#include <cmath>

const char* const scheme_names[scheme_count] = {
    "share", "split half", "split fixed", "split best", "split busy", "fluid", "auto"};
void LengthsConfig::visit(Fields& v) {
    v.field("mean", mean, 1, 1e6, "tokens, in the first iteration");
    v.field("sigma", sigma, 0, 5, "standard deviation of the length's logarithm");
    v.field("growth", growth, 0.01, 100, "the mean is this many times as large in the end");
    v.field("longest", longest, 1, 1e6, "tokens: where texts are cut off");
}

static void visit_decode(Fields& v, const char* name, DecodeCost& cost, const char* help) {
    struct Visited {
        DecodeCost& cost;
        void visit(Fields& fields) {
            fields.field("step", cost.step, 0, 1e3, "seconds of a decode step, whoever is in it");
            fields.field("sequence", cost.sequence, 0, 1e3, "and for each text in flight");
            fields.field("prompt_token", cost.prompt_token, 0, 1e3, "seconds per prompt token");
        }
    } visited{cost};
    v.object(name, visited, help);
}

void SimulateConfig::visit(Fields& v) {
    v.field("devices", devices, 2, 1e5, "N: each generates, judges and trains");
    v.field("iterations", iterations, 1, 1e4, "of the run");
    v.field("answers_per_device", answers_per_device, 1, 1e5,
            "valid answers that an iteration wants, over the devices");
    v.field("answers", answers, 1, 1e4, "G: answers of a prompt, a ticket");
    v.field("texts", texts, 0, 100, "that the judge writes of an answer; 0: there is no judge");
    v.field("prompt_tokens", prompt_tokens, 0, 1e6, "of a prompt");
    v.field("slots", slots, 1, 1e5, "texts in flight per device at most");
    v.field("seed", seed, 0, 9e15, "of lengths and valid groups");
    visit_decode(v, "generate", generate, "decode cost of the policy");
    visit_decode(v, "judge", judge, "decode cost of the judge");
    v.field("swap", swap, 0, 1e4,
            "seconds to put one model in the other's place; 0: both fit in memory");
    v.field("ticket", ticket, 0, 10, "seconds to draw a ticket");
    v.field("train_token", train_token, 0, 10, "seconds of training per token and device");
    v.field("update", update, 0, 1e4, "seconds: optimiser, weights to who generates");
    v.object("answer", answer, "lengths of answers");
    v.object("judge_text", judge_text, "lengths of what the judge writes");
    v.field("valid_share", valid_share, 0.01, 1, "p: groups that teach something, at first");
    v.field("valid_share_end", valid_share_end, 0.01, 1, "and in the end");
    v.field("oversample", oversample, 1, 10, "groups of a wave: missing * this / p");
    v.field("max_waves", max_waves, 1, 1000, "of an iteration; 1: no dynamic sampling");
    v.field("noise", noise, 0, 1, "relative error of the costs that the chooser measures");
    v.field("dwell", dwell, 1, 1000, "iterations that the chooser stays at a layout at least");
    v.field("gain", gain, 0, 1, "what a change of layout must promise");
    v.input("run", run, "run whose stored answers give the lengths of answers");
    v.field("emulate", emulate,
            "the ranks of this run (mpirun) are the devices, and wait as long as those would work");
    v.field(
        "controllers", controllers,
        "with emulate: instead of playing, what samples cost that pass through one rank's hands or "
        "stay where they were made, measured with real bytes");
    v.field("curves", curves, "five curves over devices, swaps, waves and drift: takes minutes");
    v.field("out", out, "file of one row per layout and iteration; empty: none");
    v.input("validation", validation,
            "rows that emulate=true has written (out): how far the simulator was off there is "
            "printed beside every figure");
    v.field("html", html, "file for all of it as one page; empty: none");
}

// Of the answers in RUN/rollouts.
static LengthHistogram lengths_of(const std::string& run) {
    LengthHistogram lengths;
    const std::string rollouts = join_path(run, "rollouts");
    CHECK(is_directory(rollouts),
          "run=%s has no stored answers: there is no %s (train.store_every)", run.c_str(),
          rollouts.c_str());
    for (const std::string& name : list_directory(rollouts))
        for_each_row(join_path(rollouts, name), [&](const Json& row, const std::string& where) {
            const size_t length = json_ids(row, "completion_ids", where).size();
            CHECK(length > 0, "%s: completion_ids is empty", where.c_str());
            lengths.add((int)length);
        });
    CHECK(lengths.total() > 0, "%s holds no answers", rollouts.c_str());
    return lengths;
}

Cluster::Cluster(const SimulateConfig& c) : config(c) {
    if (!c.run.empty()) answer = lengths_of(c.run);
    demand.ranks = c.devices, demand.answers = c.answers, demand.texts = c.texts;
    demand.prompt_tokens = c.prompt_tokens;
    demand.target = std::max(1, (int)((int64_t)c.devices * c.answers_per_device / c.answers));
    demand.oversample = c.oversample, demand.max_waves = c.max_waves;
    costs.generate = c.generate, costs.judge = c.judge, costs.slots = c.slots;
    costs.swap = c.swap, costs.ticket = c.ticket;
    costs.train_token = c.train_token, costs.update = c.update;
}

IterationWork Cluster::work(int iteration, double expected_share) const {
    const double along = config.iterations > 1 ? (double)iteration / (config.iterations - 1) : 0.0;
    const double p = config.valid_share + along * (config.valid_share_end - config.valid_share);
    IterationWork work;
    work.answers = demand.answers, work.texts = demand.texts;
    work.prompt_tokens = demand.prompt_tokens;
    work.target = demand.target, work.max_waves = demand.max_waves;
    work.expand = demand.max_waves > 1 ? expansion(expected_share, demand.oversample) : 1;
    const uint64_t seed = mix64((uint64_t)config.seed + mix64((uint64_t)iteration));
    Rng rng(seed);
    const double least = demand.target * work.expand;
    const int groups =
        demand.max_waves > 1 ? (int)std::ceil(2 * std::max(least, demand.target / p)) : (int)least;
    for (int g = 0; g < groups; ++g)
        work.valid.push_back(demand.max_waves == 1 || rng.uniform() < p);
    auto lengths = [&](const LengthsConfig& drawn, int64_t n, uint64_t own_seed) {
        return draw_lengths(n, drawn.mean * std::pow(drawn.growth, along), drawn.sigma,
                            drawn.longest, own_seed);
    };
    const int64_t answers = (int64_t)groups * work.answers;
    work.length = answer.total() > 0 ? answer.spread(answers, mix64(seed + 1))
                                     : lengths(config.answer, answers, mix64(seed + 1));
    work.judge_length = lengths(config.judge_text, answers * work.texts, mix64(seed + 2));
    return work;
}

double valid_of(const IterationWork& work, const Iteration& played) {
    const auto begin = work.valid.begin();
    return (double)std::count(begin, begin + played.issued, 1) / played.issued;
}

// ---- what the chooser is told -------------------------------------------------------------------

// The chooser's costs are `noise` off, each time anew.
static Costs as_measured(const Cluster& cluster, uint64_t time) {
    Rng rng(mix64((uint64_t)cluster.config.seed + 77), time);
    Costs costs = cluster.costs;
    for (double* cost : {&costs.generate.step, &costs.generate.sequence, &costs.judge.step,
                         &costs.judge.sequence, &costs.swap, &costs.train_token, &costs.update})
        *cost *= 1 + cluster.config.noise * std::clamp(rng.normal(), -2.0, 2.0);
    return costs;
}

Measured Cluster::expected() const {
    Measured measured;
    measured.costs = as_measured(*this, (uint64_t)config.iterations);
    measured.valid_share = measured.valid_lately = config.valid_share;
    constexpr int texts = 10000;
    auto add = [&](LengthHistogram& to, const LengthsConfig& drawn, uint64_t own_seed) {
        for (int length : draw_lengths(texts, drawn.mean, drawn.sigma, drawn.longest,
                                       mix64((uint64_t)config.seed + own_seed)))
            to.add(length);
    };
    measured.answer = answer;
    if (answer.total() == 0) add(measured.answer, config.answer, 101);
    add(measured.judge, config.judge_text, 102);
    return measured;
}

static Measured measure(const Cluster& cluster, const IterationWork& work, const Iteration& played,
                        int iteration, double valid_share) {
    Measured measured;
    measured.costs = as_measured(cluster, (uint64_t)iteration);
    measured.valid_share = valid_share, measured.valid_lately = valid_of(work, played);
    const size_t answers = (size_t)played.issued * work.answers;
    for (size_t i = 0; i < answers; ++i) measured.answer.add(work.length[i]);
    for (size_t i = 0; i < answers * work.texts; ++i) measured.judge.add(work.judge_length[i]);
    return measured;
}

// ---- policies -----------------------------------------------------------------------------------

using Policy = std::function<RoleLayout(int iteration, const IterationWork& work)>;
using Told = std::function<void(int iteration, const IterationWork& work, SchemeIteration& row,
                                double share)>;

static std::vector<SchemeIteration> run_scheme(const Cluster& cluster, const Policy& policy,
                                               const Told& told = {}) {
    std::vector<SchemeIteration> rows;
    double share = cluster.config.valid_share;
    for (int k = 0; k < cluster.config.iterations; ++k) {
        const IterationWork work = cluster.work(k, share);
        SchemeIteration row;
        row.layout = policy(k, work);
        row.played = play(cluster.costs, work, row.layout, cluster.demand.ranks);
        share += 0.3 * (valid_of(work, row.played) - share);
        if (told) told(k, work, row, share);
        rows.push_back(row);
    }
    return rows;
}

std::vector<SchemeIteration> simulate(const Cluster& cluster, const RoleLayout& layout) {
    return run_scheme(cluster, [&](int, const IterationWork&) { return layout; });
}

static std::vector<SchemeIteration> simulate_fixed_split(const Cluster& cluster) {
    std::vector<SchemeIteration> best;
    for (int eighths = 1; eighths < 8; ++eighths) {
        const int generate = cluster.demand.ranks * eighths / 8;
        if (generate < 1) continue;
        std::vector<SchemeIteration> rows =
            simulate(cluster, RoleLayout{Placement::split, generate, 0});
        if (best.empty() || totals(cluster, rows).seconds < totals(cluster, best).seconds)
            best = std::move(rows);
    }
    return best;
}

static std::vector<SchemeIteration> simulate_busy(const Cluster& cluster) {
    const int N = cluster.demand.ranks, move = std::max(1, N / 32);
    int generate = std::max(1, N / 2);
    return run_scheme(
        cluster,
        [&](int, const IterationWork&) {
            return RoleLayout{Placement::split, generate, 0};
        },
        [&](int, const IterationWork&, SchemeIteration& row, double) {
            const Spent& spent = row.played.spent;
            const bool more = spent.generate / generate > spent.judge / (N - generate);
            generate = std::clamp(generate + (more ? move : -move), 1, N - 1);
        });
}

static std::vector<SchemeIteration> simulate_auto(const Cluster& cluster) {
    Chooser chooser;
    chooser.settings.dwell = cluster.config.dwell, chooser.settings.gain = cluster.config.gain;
    chooser.begin(cluster.expected(), cluster.demand);
    return run_scheme(
        cluster, [&](int, const IterationWork&) { return chooser.layout; },
        [&](int k, const IterationWork& work, SchemeIteration& row, double share) {
            row.predicted = chooser.predicted;
            const Measured measured = measure(cluster, work, row.played, k, share);
            row.why = chooser.decide(measured, cluster.demand, row.played.seconds).why;
        });
}

std::vector<SchemeIteration> simulate(const Cluster& cluster, Scheme scheme) {
    switch (scheme) {
    case Scheme::share:
        return simulate(cluster, RoleLayout{Placement::share, 0, 0});
    case Scheme::split_half:
        return simulate(cluster,
                        RoleLayout{Placement::split, std::max(1, cluster.demand.ranks / 2), 0});
    case Scheme::split_fixed:
        return simulate_fixed_split(cluster);
    case Scheme::split_best:
        return run_scheme(cluster, [&](int, const IterationWork& work) {
            for (const Candidate& each : predict(cluster.costs, work, cluster.demand))
                if (each.layout.placement == Placement::split) return each.layout;
            fail("no split of %d devices is legal", cluster.demand.ranks);
        });
    case Scheme::split_busy:
        return simulate_busy(cluster);
    case Scheme::fluid:
        return simulate(cluster, RoleLayout{Placement::fluid, 0, 0});
    case Scheme::auto_:
        return simulate_auto(cluster);
    }
    fail("no such layout");
}

SchemeTotals totals(const Cluster& cluster, const std::vector<SchemeIteration>& iterations) {
    SchemeTotals sum;
    double occupied = 0;
    for (size_t k = 0; k < iterations.size(); ++k) {
        const Iteration& it = iterations[k].played;
        sum.seconds += it.seconds, sum.waves += it.waves, occupied += it.occupied;
        add(sum.spent, it.spent);
        if (k > 0 && iterations[k].layout != iterations[k - 1].layout) ++sum.moves;
    }
    const double decoding = sum.spent.generate + sum.spent.judge;
    sum.occupied_share = decoding > 0 ? occupied / (cluster.costs.slots * decoding) : 0;
    return sum;
}

Json iteration_row(const char* scheme, int k, const SchemeIteration& row) {
    const Iteration& it = row.played;
    const Spent& s = it.spent;
    Json line = {{"simulated", true},
                 {"scheme", scheme},
                 {"iteration", k},
                 {"layout", row.layout.name()},
                 {"seconds", it.seconds},
                 {"idle_share", s.idle() / s.total()},
                 {"device_seconds",
                  {{"generate", s.generate},
                   {"judge", s.judge},
                   {"train", s.train},
                   {"swap", s.swap},
                   {"tail", s.tail},
                   {"queue", s.queue},
                   {"barrier", s.barrier},
                   {"imbalance", s.imbalance}}},
                 {"waves", it.waves},
                 {"groups", it.issued},
                 {"valid_groups", it.accepted},
                 {"tokens", it.tokens}};
    if (row.predicted > 0) line["predicted_seconds"] = row.predicted;
    if (!row.why.empty()) line["next"] = row.why;
    return line;
}
