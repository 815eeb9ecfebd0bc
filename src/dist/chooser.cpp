#include "dist/chooser.h"

#include "base/check.h"
#include "base/rng.h"

#include <algorithm>
#include <cmath>

double expansion(double valid_share, double oversample) {
    if (oversample == 1) return 1;
    return std::clamp(oversample / std::max(0.01, valid_share), 1.0, 10.0);
}

IterationWork expected_work(const Measured& measured, const Demand& demand) {
    IterationWork work;
    work.answers = demand.answers, work.texts = demand.texts;
    work.prompt_tokens = demand.prompt_tokens;
    work.target = demand.target, work.max_waves = demand.max_waves;
    const bool waves = demand.max_waves > 1;
    const double p = waves ? std::clamp(measured.valid_lately, 0.01, 1.0) : 1;
    work.expand = waves ? expansion(measured.valid_share, demand.oversample) : 1;
    // What the waves may draw: the first ones and, should they not do, as many again.
    int64_t groups = 0, missing = demand.target;
    for (int wave = 0; wave < demand.max_waves && missing > 0; ++wave) {
        const int64_t issued = (int64_t)std::ceil((double)missing * work.expand);
        groups += issued;
        missing -= (int64_t)std::floor((double)issued * p);
    }
    for (int64_t g = 0; g < groups; ++g)
        work.valid.push_back(std::floor((double)(g + 1) * p) > std::floor((double)g * p));
    const int64_t answers = groups * work.answers;
    work.length = measured.answer.spread(answers, 1);
    work.judge_length = measured.judge.spread(answers * work.texts, 2);
    return work;
}

std::vector<Candidate> predict(const Costs& costs, const IterationWork& work,
                               const Demand& demand) {
    std::vector<Candidate> all;
    auto add = [&](const RoleLayout& layout) {
        for (const Candidate& known : all)
            if (known.layout == layout) return;
        all.push_back({layout, play(costs, work, layout, demand.ranks).seconds});
    };
    auto best_first = [&] {
        std::stable_sort(all.begin(), all.end(), [](const Candidate& a, const Candidate& b) {
            return a.seconds < b.seconds;
        });
    };
    auto add_split = [&](int generate) {
        if (generate >= 1 && generate < demand.ranks && generate % demand.replica == 0)
            add({Placement::split, generate, 0});
    };
    // Of few ranks every split, of many eighths and, ever nearer, those around the best.
    const int unit = demand.replica, first = demand.ranks > 16 ? demand.ranks / 8 : unit;
    const int coarse = std::max(1, first / unit) * unit;
    for (int g = coarse; g < demand.ranks; g += coarse) add_split(g);
    for (int move = coarse / 2 / unit * unit; move > 0 && 4 * move >= coarse && !all.empty();
         move = move / 2 / unit * unit) {
        best_first();
        const int best = all[0].layout.generate;
        add_split(best - move), add_split(best + move);
    }
    add({Placement::share, 0, 0});
    add({Placement::fluid, 0, 0});
    best_first();
    return all;
}

uint64_t Decision::hash() const {
    uint64_t hash = mix64((uint64_t)layout.placement * 1000003 + (uint64_t)layout.generate);
    for (const Candidate& each : candidates) {
        hash =
            mix64(hash ^ ((uint64_t)each.layout.placement << 32) ^ (uint64_t)each.layout.generate);
        hash = mix64(hash ^ (uint64_t)std::llround(each.seconds * 1e6));
    }
    return hash;
}

Json Decision::json() const {
    Json row = {{"layout", layout.name()}, {"predicted", predicted}, {"why", why}};
    for (const Candidate& each : candidates) row["candidates"][each.layout.name()] = each.seconds;
    return row;
}

Decision Chooser::begin(const Measured& expected, const Demand& demand) {
    Decision decision;
    decision.candidates = predict(expected.costs, expected_work(expected, demand), demand);
    layout = decision.layout = decision.candidates.front().layout;
    decision.why = "the best by what is expected before the first iteration";
    return decision;
}

Decision Chooser::decide(const Measured& measured, const Demand& demand, double seconds) {
    ++lasted;
    const IterationWork work = expected_work(measured, demand);
    Decision decision;
    decision.candidates = predict(measured.costs, work, demand);
    auto predicted_of = [&](const RoleLayout& wanted) {
        for (const Candidate& each : decision.candidates)
            if (each.layout == wanted) return each.seconds;
        return play(measured.costs, work, wanted, demand.ranks).seconds;
    };
    const Candidate best = decision.candidates.front();
    const double present = predicted_of(layout), gain = 1 - best.seconds / present;
    auto off = [&](double said) { return std::abs(seconds - said) > settings.wrong * seconds; };
    const bool was_wrong = predicted > 0 && off(predicted) && off(present);
    wrong_in_a_row = was_wrong ? wrong_in_a_row + 1 : 0;
    RoleLayout next = layout;
    if (wrong_in_a_row >= settings.wrong_times) {
        decision.why = format("predictions were more than %.0f %% off %d times: back to share",
                              100 * settings.wrong, wrong_in_a_row);
        next = {}, wrong_in_a_row = 0, resting = settings.rest;
    } else if (resting > 0) {
        decision.why = format("share, for %d more after wrong predictions", resting--);
    } else if (best.layout == layout) {
        decision.why = "the best";
    } else if (gain <= settings.gain) {
        decision.why = format("%s promises %.1f %%, too little to move", best.layout.name().c_str(),
                              100 * gain);
    } else if (lasted < settings.dwell) {
        decision.why = format("%s promises %.1f %%, but this layout is %d old",
                              best.layout.name().c_str(), 100 * gain, lasted);
    } else {
        decision.why = format("%.1f %% faster than %s", 100 * gain, layout.name().c_str());
        next = best.layout;
    }
    if (next != layout) lasted = 0;
    layout = decision.layout = next;
    predicted = decision.predicted = predicted_of(next);
    return decision;
}

Json Chooser::state() const {
    return {{"placement", placement_names[(int)layout.placement]},
            {"generate", layout.generate},
            {"predicted", predicted},
            {"lasted", lasted},
            {"wrong_in_a_row", wrong_in_a_row},
            {"resting", resting}};
}

void Chooser::restore(const Json& state) {
    const std::string where = "the chooser's state";
    const std::string name = json_string(state, "placement", where);
    const auto* found = std::find(placement_names, std::end(placement_names), name);
    CHECK(found != std::end(placement_names), "%s: placement \"%s\" is none", where.c_str(),
          name.c_str());
    layout = {(Placement)(found - placement_names), (int)json_int(state, "generate", where), 0};
    predicted = json_number(state, "predicted", where);
    lasted = (int)json_int(state, "lasted", where);
    wrong_in_a_row = (int)json_int(state, "wrong_in_a_row", where);
    resting = (int)json_int(state, "resting", where);
}

// ---- as rows of JSON ----------------------------------------------------------------------------

// Each fact once: fields(x, f) calls f(name, member) for all.
template <class F> static void fields(Costs& c, const F& f) {
    f("generate_step", c.generate.step), f("generate_sequence", c.generate.sequence);
    f("generate_prompt_token", c.generate.prompt_token);
    f("judge_step", c.judge.step), f("judge_sequence", c.judge.sequence);
    f("judge_prompt_token", c.judge.prompt_token);
    f("slots", c.slots), f("swap", c.swap), f("ticket", c.ticket);
    f("train_token", c.train_token), f("update", c.update);
}
template <class F> static void fields(LengthHistogram& h, const F& f) {
    f("count", h.count), f("longest", h.longest);
}
template <class F> static void fields(Demand& d, const F& f) {
    f("ranks", d.ranks), f("answers", d.answers), f("texts", d.texts);
    f("prompt_tokens", d.prompt_tokens), f("target", d.target), f("oversample", d.oversample);
    f("max_waves", d.max_waves), f("replica", d.replica);
}

template <class T> static Json to_json(T value) {
    Json row;
    fields(value, [&](const char* name, const auto& member) { row[name] = member; });
    return row;
}
template <class T> static T from_json(const Json& row, const char* where) {
    T value;
    fields(value, [&](const char* name, auto& member) {
        CHECK(row.contains(name), "%s has no \"%s\"", where, name);
        member = row[name].template get<std::decay_t<decltype(member)>>();
    });
    return value;
}

Json Measured::json() const {
    return {{"costs", to_json(costs)},
            {"answer", to_json(answer)},
            {"judge", to_json(judge)},
            {"valid_share", valid_share},
            {"valid_lately", valid_lately}};
}

Measured Measured::read(const Json& row) {
    return {from_json<Costs>(row.at("costs"), "costs"),
            from_json<LengthHistogram>(row.at("answer"), "answer"),
            from_json<LengthHistogram>(row.at("judge"), "judge"), row.at("valid_share"),
            row.at("valid_lately")};
}

Json Demand::json() const { return to_json(*this); }
Demand Demand::read(const Json& row) { return from_json<Demand>(row, "demand"); }
