#include "dist/emulate.h"

#include "base/beat.h"
#include "base/bytes.h"
#include "base/clock.h"
#include "train/shares.h"

#include <algorithm>
#include <cmath>
#include <unistd.h>

namespace {

constexpr double look = 0.001; // seconds between two looks of a rank that has nothing to do

// One rank and its device. The device works on while the rank's program is late, as a device with a
// queue does: its time is `due`.
struct EmulatedRank {
    const Collectives& ranks;
    const Costs& costs;
    const IterationWork& work;
    const RoleLayout& layout;
    Wave& wave;
    Experience& own;
    Iteration result{};
    bool judges = false; // whose model the device holds
    double due = now();
    int first = 0; // group of the wave's first ticket
    int places[2] = {};
    std::vector<int> drawn[2]{}; // groups that this rank has generated, judged

    void wait_for_ranks() {
        if (ranks.share_work()) ranks.gather(ranks, "");
    }
    void device(double seconds) {
        beat();
        wave.progress();
        due += seconds;
        // Over a network the first rank's numbers are read only while it looks.
        const double nap = ranks.rank == 0 ? 2 * look : HUGE_VAL;
        for (double left = due - now(); left > 0; left = due - now()) {
            ::usleep((useconds_t)(std::min(left, nap) * 1e6));
            wave.progress();
        }
    }
    // Until `enough`, on account of what others are at.
    void idle(const std::function<bool()>& enough) {
        double before = due;
        while (!enough()) {
            beat();
            wave.progress();
            ::usleep((useconds_t)(look * 1e6));
            const double time = std::max(before, now());
            double& cause = wave.all_generated() ? result.spent.barrier
                            : judges             ? result.spent.queue
                                                 : result.spent.tail;
            cause += time - before;
            before = time;
        }
        due = std::max(before, now());
        result.spent.barrier += due - before;
    }
    void change_role(bool to_judge) {
        if (judges == to_judge) return;
        const double start = due;
        device(costs.swap);
        result.spent.swap += due - start;
        own.swap_seconds += due - start, own.swaps += 1;
        judges = to_judge;
    }

    // Draws and decodes until nothing is in flight and nothing to be drawn.
    void decode() {
        const DecodeCost& cost = judges ? costs.judge : costs.generate;
        DecodeSample& sample = judges ? own.judge : own.generate;
        const int texts = judges ? work.answers * work.texts : work.answers;
        const std::vector<int>& lengths = judges ? work.judge_length : work.length;
        LengthHistogram& histogram = judges ? own.judge_text : own.answer;
        struct Group {
            int number, waiting, left;
        };
        struct Text {
            int left;
            size_t group; // in `groups`
        };
        std::vector<Group> groups;
        std::vector<Text> active;
        const double start = due;
        for (;;) {
            const int limit = places[judges];
            double stall = 0;
            if ((groups.empty() || groups.back().waiting == 0) && (int)active.size() < limit) {
                const int ticket = judges ? wave.take().group : wave.draw();
                if (ticket >= 0) {
                    const int group = judges ? ticket : first + ticket;
                    drawn[judges].push_back(group);
                    groups.push_back({group, texts, texts});
                    double tokens = work.prompt_tokens;
                    for (int s = 0; judges && s < work.answers; ++s)
                        tokens += work.length[(size_t)group * work.answers + s] +
                                  (s > 0 ? work.prompt_tokens : 0);
                    stall = costs.ticket + cost.prompt_token * tokens;
                }
            }
            while (!groups.empty() && groups.back().waiting > 0 && (int)active.size() < limit) {
                Group& group = groups.back();
                const size_t at = (size_t)group.number * texts + (texts - group.waiting--);
                active.push_back({lengths[at], groups.size() - 1});
                histogram.add(lengths[at]);
            }
            if (active.empty()) break;
            const double step = cost.step + cost.sequence * (double)active.size();
            device(stall + step);
            sample.rounds += 1, sample.tokens += (double)active.size(), sample.seconds += step;
            result.occupied += step * (double)active.size();
            for (Text& text : active)
                if (--text.left == 0 && --groups[text.group].left == 0) {
                    if (judges)
                        wave.judged();
                    else
                        wave.generated(groups[text.group].number);
                }
            std::erase_if(active, [](const Text& text) { return text.left == 0; });
        }
        (judges ? result.spent.judge : result.spent.generate) += due - start;
    }

    bool over() const { return work.texts > 0 ? wave.all_judged() : wave.all_generated(); }

    void play_wave(int groups) {
        wave.begin(groups, [&] { wait_for_ranks(); });
        const bool split = layout.placement == Placement::split;
        const int makers = split ? layout.generate : ranks.ranks;
        auto fair = [&](int workers, int texts) {
            return std::min(costs.slots, std::max(1, texts * ((groups + workers - 1) / workers)));
        };
        places[0] = fair(makers, work.answers);
        places[1] = fair(split ? ranks.ranks - makers : ranks.ranks, work.answers * work.texts);
        due = now();
        change_role(split && ranks.rank >= makers);
        if (!judges) decode();
        if (work.texts > 0 && layout.placement == Placement::share) {
            idle([&] { return wave.all_generated(); });
            change_role(true);
        }
        if (layout.placement == Placement::fluid) {
            // Who holds the judge already looks more often, and so comes first.
            bool before = false;
            idle([&] {
                if (over()) return true;
                const bool offered = wave.offered();
                const bool lasts = offered && before;
                before = offered;
                if (!lasts) ::usleep((useconds_t)(costs.judge.step * 1e6));
                return lasts;
            });
            if (!over()) change_role(true);
        }
        while (judges && !over()) {
            decode();
            idle([&] { return over() || wave.offered(); });
        }
        idle([&] { return over(); });
    }

    void train(int issued) {
        change_role(false);
        double before = due;
        wait_for_ranks();
        due = std::max(due, now());
        result.spent.barrier += due - before;
        std::vector<double> length;
        for (int g = 0, valid = 0; g < issued && valid < work.target; ++g) {
            if (!work.valid[g]) continue;
            ++valid;
            for (int s = 0; s < work.answers; ++s)
                length.push_back(work.length[(size_t)g * work.answers + s]);
        }
        const std::vector<int> owner = deal(length, ranks.ranks);
        double tokens = 0;
        for (size_t i = 0; i < length.size(); ++i) tokens += owner[i] == ranks.rank ? length[i] : 0;
        before = due;
        device(costs.train_token * tokens + costs.update);
        result.spent.train += due - before;
        own.train_seconds += due - before, own.train_tokens += tokens;
        before = due;
        wait_for_ranks();
        due = std::max(due, now());
        result.spent.imbalance += due - before;
    }

    void play() {
        wait_for_ranks();
        const double start = due = now();
        while (result.waves < work.max_waves && result.accepted < work.target &&
               result.issued < work.groups()) {
            const double missing = work.target - result.accepted;
            const int groups = std::min(work.groups() - result.issued,
                                        (int)std::ceil(missing * std::max(1.0, work.expand)));
            first = result.issued;
            play_wave(groups);
            result.issued += groups, ++result.waves;
            for (int g = first; g < result.issued && result.accepted < work.target; ++g) {
                if (!work.valid[g]) continue;
                ++result.accepted;
                for (int s = 0; s < work.answers; ++s)
                    result.tokens += work.length[(size_t)g * work.answers + s];
            }
        }
        train(result.issued);
        result.seconds = due - start;
    }
};

// Each group is once in the lists of all ranks.
void check_once(const Collectives& ranks, const std::vector<int>& mine, int groups,
                const char* what) {
    ByteWriter message;
    message.put(mine);
    std::vector<int> times((size_t)groups, 0), of_rank;
    for (const std::string& bytes : ranks.gather(ranks, message.bytes)) {
        ByteReader{bytes}.get(of_rank);
        for (int group : of_rank) ++times.at((size_t)group);
    }
    for (int group = 0; group < groups; ++group)
        CHECK(times[group] == 1, "group %d was %s %d times", group, what, times[group]);
}

} // namespace

Emulator::Emulator(const Collectives& ranks_, int most_groups)
    : ranks(ranks_), wave(ranks.rank, ranks.ranks, most_groups, 0) {}

Iteration Emulator::play(const Costs& costs, const IterationWork& work, const RoleLayout& layout,
                         Experience* own) {
    CHECK(layout.train == 0, "ranks that only train are simulated, not emulated");
    Experience unused;
    EmulatedRank rank{ranks, costs, work, layout, wave, own ? *own : unused};
    rank.play();
    Iteration sum = rank.result;
    if (!ranks.share_work()) return sum;
    check_once(ranks, rank.drawn[0], sum.issued, "generated");
    if (work.texts > 0) check_once(ranks, rank.drawn[1], sum.issued, "judged");
    ByteWriter message;
    message.put(rank.result);
    sum.spent = {}, sum.occupied = 0;
    bool is_first = true;
    for (const std::string& bytes : ranks.gather(ranks, message.bytes)) {
        Iteration one;
        ByteReader reader{bytes};
        reader.get(one);
        if (is_first) sum.seconds = one.seconds;
        is_first = false;
        sum.occupied += one.occupied;
        add(sum.spent, one.spent);
    }
    return sum;
}
