#include "dist/placement.h"

#include "base/check.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <queue>
#include <set>

const char* const placement_names[3] = {"share", "split", "fluid"};

std::string RoleLayout::name() const {
    std::string text = placement_names[(int)placement];
    if (placement == Placement::split) text += format(" %d", generate);
    if (train > 0) text += format(", %d train", train);
    return text;
}

void add(Spent& sum, const Spent& part) {
    sum.generate += part.generate, sum.judge += part.judge, sum.train += part.train;
    sum.swap += part.swap, sum.tail += part.tail, sum.queue += part.queue;
    sum.barrier += part.barrier, sum.imbalance += part.imbalance;
}

namespace {

enum class Role { generate, judge };

// Texts in flight. All have been given `tokens` tokens since the device began, so that a text ends when
// that number is what it was at its admission plus the text's length.
struct Device {
    Role role = Role::generate; // whose model it holds
    double clock = 0;           // until when its time is accounted for
    int64_t tokens = 0;
    struct Text {
        int64_t end;
        int group;
        bool operator>(const Text& other) const { return end > other.end; }
    };
    std::priority_queue<Text, std::vector<Text>, std::greater<>> active;
    int group = -1, admitted = 0, waiting = 0; // of the group drawn last: texts in and not yet in
    int next = 0, end = 0;                     // without tickets: its own run of groups
    // The stretch of decode steps to its next event, which is the one with this stamp.
    double begin = 0, step_seconds = 0;
    int64_t steps = 0, stamp = 0;
};

struct Event {
    double time;
    int device;
    int64_t stamp;
    bool operator>(const Event& other) const {
        return time != other.time ? time > other.time : device > other.device;
    }
};

struct Player {
    const Costs& costs;
    const IterationWork& work;
    const RoleLayout& layout;
    const int devices; // without those that only train
    std::vector<DeviceSpan>* intervals;
    std::vector<Device> device;
    std::priority_queue<Event, std::vector<Event>, std::greater<>> events;
    int next = 0, end = 0;                // tickets of the wave
    int left = 0, to_judge = 0;           // groups of the wave not yet generated, not yet judged
    std::vector<int> unwritten, unjudged; // (groups) texts
    std::deque<int> ready;                // groups to judge
    std::set<std::pair<int, int>> hungry; // judges with free places: texts in flight, device
    std::set<int> drained;                // fluid: generators without work
    int places[2] = {};                   // of a role: texts in flight at most
    int longest = 0;                      // of the answers that are trained
    double generated = 0;                 // when the wave's last group was whole
    Iteration result{};

    Player(const Costs& c, const IterationWork& w, const RoleLayout& l, int n,
           std::vector<DeviceSpan>* i)
        : costs(c), work(w), layout(l), devices(n), intervals(i), device((size_t)n) {}

    bool generates(int d) const {
        return layout.placement != Placement::split || d < layout.generate;
    }
    const DecodeCost& cost(Role role) const {
        return role == Role::generate ? costs.generate : costs.judge;
    }
    void note(int d, const char* what, double begin, double to) {
        if (intervals && to > begin) intervals->push_back({d, what, begin, to});
    }

    // The device worked until then.
    void work_until(int d, double time) {
        Device& own = device[d];
        const double seconds = time - own.clock;
        (own.role == Role::generate ? result.spent.generate : result.spent.judge) += seconds;
        note(d, own.role == Role::generate ? "generate" : "judge", own.clock, time);
        own.clock = time;
    }

    // The device did nothing until then; what it waited for depends on whether others still generated.
    void wait_until(int d, double time) {
        Device& own = device[d];
        const double to = left > 0 ? time : std::clamp(generated, own.clock, time);
        (own.role == Role::generate ? result.spent.tail : result.spent.queue) += to - own.clock;
        result.spent.barrier += time - to;
        own.clock = time;
    }

    // From `time` on.
    void change_role(int d, Role role) {
        Device& own = device[d];
        if (own.role == role) return;
        note(d, "swap", own.clock, own.clock + costs.swap);
        result.spent.swap += costs.swap;
        own.clock += costs.swap;
        own.role = role;
    }

    bool can_draw(const Device& own) const {
        if (own.role == Role::judge) return !ready.empty();
        return work.tickets ? next < end : own.next < own.end;
    }

    // Seconds that the prompts of the group take.
    double draw(Device& own) {
        if (own.role == Role::generate) {
            own.group = work.tickets ? next++ : own.next++;
            own.waiting = work.answers;
            own.admitted = 0;
            return costs.ticket + costs.generate.prompt_token * work.prompt_tokens;
        }
        own.group = ready.front();
        ready.pop_front();
        own.waiting = work.answers * work.texts;
        own.admitted = 0;
        double tokens = work.prompt_tokens * work.answers;
        for (int s = 0; s < work.answers; ++s)
            tokens += work.length[(size_t)own.group * work.answers + s];
        return costs.ticket + costs.judge.prompt_token * tokens;
    }

    void wake(int d, double time) {
        Device& own = device[d];
        own.begin = time, own.steps = 0;
        events.push({time, d, ++own.stamp});
    }

    // Between two decode steps: texts into free places, then the time of the next event.
    void go_on(int d, double time) {
        Device& own = device[d];
        const int texts = own.role == Role::generate ? work.answers : work.answers * work.texts;
        const int limit = places[(int)own.role];
        const std::vector<int>& length =
            own.role == Role::generate ? work.length : work.judge_length;
        double stall = 0;
        if (own.waiting == 0 && (int)own.active.size() < limit && can_draw(own)) stall = draw(own);
        while (own.waiting > 0 && (int)own.active.size() < limit) {
            const int tokens = length[(size_t)own.group * texts + own.admitted];
            own.active.push({own.tokens + tokens, own.group});
            ++own.admitted, --own.waiting;
        }
        const int active = (int)own.active.size();
        if (active == 0) return rest(d);
        const bool free = active < limit;
        const DecodeCost& line = cost(own.role);
        own.step_seconds = line.step + line.sequence * active;
        own.steps = free && can_draw(own) ? 1 : own.active.top().end - own.tokens;
        own.begin = time + stall;
        if (free && own.role == Role::judge) hungry.insert({active, d});
        events.push({own.begin + (double)own.steps * own.step_seconds, d, ++own.stamp});
    }

    // Nothing in flight and nothing to draw.
    void rest(int d) {
        if (device[d].role == Role::judge) {
            hungry.insert({0, d});
        } else if (layout.placement == Placement::fluid) {
            if (ready.empty()) {
                drained.insert(d);
                return;
            }
            change_role(d, Role::judge);
            wake(d, device[d].clock);
        }
    }

    // A group is whole: of those who judge and have a free place, who has least to do draws it behind
    // its present decode step; else one changes to judging who has nothing to generate.
    void offer(int group, double time) {
        ready.push_back(group);
        if (!hungry.empty()) {
            const auto [active, d] = *hungry.begin();
            hungry.erase(hungry.begin());
            Device& own = device[d];
            if (active == 0) {
                wait_until(d, time);
                wake(d, time);
                return;
            }
            const double done = std::ceil((time - own.begin) / own.step_seconds);
            own.steps = std::clamp<int64_t>((int64_t)done, 1, own.steps);
            events.push({own.begin + (double)own.steps * own.step_seconds, d, ++own.stamp});
        } else if (!drained.empty()) {
            const int d = *drained.begin();
            drained.erase(drained.begin());
            wait_until(d, time);
            change_role(d, Role::judge);
            wake(d, device[d].clock);
        }
    }

    void step(const Event& event) {
        const int d = event.device;
        Device& own = device[d];
        if (own.role == Role::judge) hungry.erase({(int)own.active.size(), d});
        work_until(d, event.time);
        result.occupied += (double)own.active.size() * (double)own.steps * own.step_seconds;
        own.tokens += own.steps;
        while (!own.active.empty() && own.active.top().end == own.tokens) {
            const int group = own.active.top().group;
            own.active.pop();
            if (own.role == Role::judge) {
                if (--unjudged[group] == 0) --to_judge;
            } else if (--unwritten[group] == 0) {
                if (--left == 0) generated = event.time;
                if (unjudged[group] > 0) offer(group, event.time);
            }
        }
        go_on(d, event.time);
    }

    // All devices' time is accounted for until then.
    void everybody_waits_until(double time) {
        for (int d = 0; d < devices; ++d) wait_until(d, std::max(time, device[d].clock));
    }

    double run_events() {
        double time = generated;
        while (!events.empty()) {
            const Event event = events.top();
            events.pop();
            if (event.stamp != device[event.device].stamp) continue; // it was planned anew
            step(event);
            time = std::max(time, event.time);
        }
        return time;
    }

    // `count` more groups from `time` on; returns when the last one is judged.
    double play_wave(double time, int count) {
        end = std::min(work.groups(), next + count);
        const int first = next, issued = end - first;
        left = issued, generated = time;
        to_judge = work.texts > 0 ? issued : 0;
        const bool split = layout.placement == Placement::split;
        const int makers = split ? layout.generate : devices;
        // Nobody takes more than a fair share at once while others have nothing.
        auto fair = [&](int ranks, int texts) {
            return std::min(costs.slots, std::max(1, texts * ((issued + ranks - 1) / ranks)));
        };
        places[(int)Role::generate] = fair(makers, work.answers);
        places[(int)Role::judge] =
            fair(split ? devices - makers : devices, work.answers * work.texts);
        hungry.clear(), drained.clear();
        for (int d = 0; d < devices; ++d) {
            Device& own = device[d];
            own.clock = time;
            own.next = first + (int)((int64_t)issued * d / makers);
            own.end = first + (int)((int64_t)issued * (d + 1) / makers);
            change_role(d, generates(d) ? Role::generate : Role::judge);
            wake(d, own.clock);
        }
        double done = run_events();
        if (layout.placement == Placement::share && to_judge > 0) {
            everybody_waits_until(generated);
            for (int d = 0; d < devices; ++d) {
                change_role(d, Role::judge);
                wake(d, device[d].clock);
            }
            done = run_events();
        }
        CHECK(left == 0 && to_judge == 0, "a wave ended with %d groups to write, %d to judge", left,
              to_judge);
        everybody_waits_until(done);
        result.issued += issued;
        ++result.waves;
        return done;
    }

    // Generation and judging, in waves until there are enough groups.
    double play_waves() {
        unwritten.assign((size_t)work.groups(), work.answers);
        unjudged.assign((size_t)work.groups(), work.answers * work.texts);
        double time = 0;
        for (int wave = 0; wave < work.max_waves && result.accepted < work.target; ++wave) {
            const int missing = work.target - result.accepted, begin = next;
            if (begin == work.groups()) break;
            time = play_wave(time, (int)std::ceil(missing * std::max(1.0, work.expand)));
            for (int g = begin; g < end && result.accepted < work.target; ++g) {
                if (!work.valid[g]) continue;
                ++result.accepted;
                for (int s = 0; s < work.answers; ++s) {
                    const int length = work.length[(size_t)g * work.answers + s];
                    result.tokens += length;
                    longest = std::max(longest, length);
                }
            }
        }
        return time;
    }
};

// Seconds of training on so many devices, and of that what each works on average.
struct Trained {
    double seconds = 0, each = 0;
};

// Longest first, each to who has least, comes so near to this bound that nothing is added.
Trained training(const Costs& costs, int64_t tokens, int longest, int devices) {
    const double mean = (double)tokens / devices, most = std::max(mean, (double)longest);
    return {costs.train_token * most + costs.update, costs.train_token * mean + costs.update};
}

void check_work(const Costs& costs, const IterationWork& work, const RoleLayout& layout,
                int devices) {
    const size_t answers = (size_t)work.groups() * work.answers;
    CHECK(work.length.size() == answers && work.judge_length.size() == answers * work.texts,
          "%d groups of %d answers have %zu lengths and %zu of the judge's", work.groups(),
          work.answers, work.length.size(), work.judge_length.size());
    CHECK(costs.slots >= 1, "a device needs a place for a text; slots=%d", costs.slots);
    const int rest = devices - layout.train;
    CHECK(rest >= 1, "%d of %d ranks only train: none is left", layout.train, devices);
    CHECK(layout.train == 0 || layout.placement == Placement::split,
          "ranks that only train go with a split, not with %s", layout.name().c_str());
    if (layout.placement != Placement::split) return;
    CHECK(layout.generate >= 1 && layout.generate < rest,
          "a split of %d ranks has 1 to %d that generate, not %d", rest, rest - 1, layout.generate);
}

} // namespace

Iteration play(const Costs& costs, const IterationWork& work, const RoleLayout& layout, int devices,
               std::vector<DeviceSpan>* intervals) {
    check_work(costs, work, layout, devices);
    const int makers = devices - layout.train;
    Player player(costs, work, layout, makers, intervals);
    if (layout.train > 0) // who judges has done so in the iteration before
        for (int d = layout.generate; d < makers; ++d) player.device[d].role = Role::judge;
    double time = player.play_waves();
    Iteration& result = player.result;
    Spent& spent = result.spent;
    if (layout.train > 0) {
        const Trained trained = training(costs, result.tokens, player.longest, layout.train);
        result.seconds = std::max(time, trained.seconds);
        spent.barrier += (result.seconds - time) * makers;
        spent.barrier += (result.seconds - trained.seconds) * layout.train;
        spent.train += trained.each * layout.train;
        spent.imbalance += (trained.seconds - trained.each) * layout.train;
        for (int d = makers; d < devices && intervals; ++d)
            intervals->push_back({d, "train", 0, trained.each});
        return result;
    }
    // The judges' places are the policy's again.
    double ready = time;
    for (int d = 0; d < makers; ++d) {
        player.change_role(d, Role::generate);
        ready = std::max(ready, player.device[d].clock);
    }
    for (const Device& own : player.device) spent.barrier += ready - own.clock;
    const Trained trained = training(costs, result.tokens, player.longest, devices);
    spent.train += trained.each * devices;
    spent.imbalance += (trained.seconds - trained.each) * devices;
    result.seconds = ready + trained.seconds;
    for (int d = 0; d < makers; ++d) player.note(d, "train", ready, ready + trained.each);
    return result;
}

DecodeCost fit_decode(const std::vector<DecodeSample>& samples) {
    double rr = 0, rt = 0, tt = 0, rs = 0, ts = 0;
    for (const DecodeSample& x : samples) {
        rr += x.rounds * x.rounds, rt += x.rounds * x.tokens, tt += x.tokens * x.tokens;
        rs += x.rounds * x.seconds, ts += x.tokens * x.seconds;
    }
    DecodeCost cost{0, 0, 0};
    const double determinant = rr * tt - rt * rt;
    if (determinant > 1e-9 * rr * tt) {
        cost.step = (rs * tt - ts * rt) / determinant;
        cost.sequence = (ts * rr - rs * rt) / determinant;
    }
    // Measurements that are all alike, or a line with a negative part, say one number only.
    if (cost.sequence < 0 || (cost.step == 0 && cost.sequence == 0))
        cost = {rr > 0 ? rs / rr : 0, 0, 0};
    if (cost.step < 0) cost = {0, tt > 0 ? ts / tt : 0, 0};
    return cost;
}
