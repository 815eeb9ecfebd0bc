#include "dist/roles.h"

#include "base/beat.h"
#include "base/clock.h"

#include <algorithm>
#include <unistd.h>

namespace {

constexpr double look = 0.001;    // seconds between two looks of a rank that has nothing to do
constexpr double patience = 0.01; // and so long who judges already comes first

struct PlayedRoles {
    const RoleLayout& layout;
    const RoleWork& work;
    Wave& wave;
    Timeline& timeline;
    const int generators, judges; // ranks
    Spent spent{};
    bool judging = false;

    bool over() { return work.judge ? wave.all_judged() : wave.all_generated(); }

    void idle(const std::function<bool()>& enough) {
        enter_phase("wait");
        for (double before = now(); !enough();) {
            beat();
            wave.progress();
            ::usleep((useconds_t)(look * 1e6));
            const double time = now();
            const bool ended = wave.all_generated();
            double& cause = ended ? spent.barrier : judging ? spent.queue : spent.tail;
            timeline.note(ended ? "barrier" : judging ? "queue" : "tail", before, time);
            cause += time - before;
            before = time;
        }
    }

    // So many at once that all have something to the end.
    static int portion(int left, int ranks, int most) {
        return std::clamp(left / (2 * ranks), 1, std::max(1, most));
    }

    void generate() {
        enter_phase("generate");
        for (;;) {
            const double start = now();
            std::vector<int> groups;
            const int wanted = portion(wave.tickets_left(), generators, work.most_at_once);
            while ((int)groups.size() < wanted) {
                const int ticket = wave.draw();
                if (ticket < 0) break;
                groups.push_back(ticket);
            }
            if (groups.empty()) return;
            work.generate(groups, [&](int group, const std::string& message) {
                wave.generated(group, message);
            });
            timeline.note("generate", start, now());
            spent.generate += now() - start;
        }
    }

    void judge() {
        judging = true;
        while (!over()) {
            idle([&] { return over() || wave.offered(); });
            const double start = now();
            enter_phase("judge");
            std::vector<Wave::Taken> groups;
            const int wanted = portion(wave.groups_to_take(), judges, wave.groups);
            while ((int)groups.size() < wanted) {
                Wave::Taken taken = wave.take();
                if (taken.group < 0) break;
                groups.push_back(std::move(taken));
            }
            if (groups.empty()) continue;
            work.judge(groups);
            for (size_t i = 0; i < groups.size(); ++i) wave.judged();
            timeline.note("judge", start, now());
            spent.judge += now() - start;
        }
    }

    void play(int rank) {
        const bool split = layout.placement == Placement::split;
        if (!split || rank < generators) generate();
        if (!work.judge || (split && rank < generators)) return idle([&] { return over(); });
        if (layout.placement == Placement::share) idle([&] { return wave.all_generated(); });
        if (layout.placement == Placement::fluid) {
            double since = 0;
            idle([&] {
                if (!wave.offered())
                    since = 0;
                else if (since == 0)
                    since = now();
                return over() || (since > 0 && now() - since > patience);
            });
        }
        judge();
    }
};

} // namespace

Roles::Roles(const Collectives& ranks_, int most_groups, size_t bytes_per_group)
    : ranks(ranks_), wave(ranks.rank, ranks.ranks, most_groups, bytes_per_group) {}

Spent Roles::play(const RoleLayout& layout, int groups, const RoleWork& work, Timeline& timeline) {
    wave.begin(groups, [&] {
        if (ranks.gather) ranks.gather(ranks, "");
    });
    const bool split = layout.placement == Placement::split;
    CHECK(!split || (layout.generate >= 1 && layout.generate < ranks.ranks),
          "of %d ranks %d cannot generate while others judge", ranks.ranks, layout.generate);
    PlayedRoles played{layout,
                       work,
                       wave,
                       timeline,
                       split ? layout.generate : ranks.ranks,
                       split ? ranks.ranks - layout.generate : ranks.ranks};
    played.play(ranks.rank);
    return played.spent;
}
