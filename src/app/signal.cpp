#include "app/signal.h"

#include "credit/ranking.h"

#include <cmath>

void Signal::add(const std::vector<Channel>& channels, const Layout& layout,
                 const std::vector<const Problem*>& problem,
                 const std::vector<std::vector<int32_t>>& completion,
                 const std::vector<bool>& right, const Task& task) {
    int last = -1;
    for (int i = 0; i < layout.completions(); ++i) {
        last = std::max(last, layout.group[i]);
        const bool sound = first_wrong_step(task.verify_steps(*problem[i], completion[i])) < 0;
        const std::string reason = task.verify(*problem[i], completion[i], "").reason;
        for (const Channel& channel : channels)
            if (channel.level == Level::completion && !channel.failed(i))
                of[channel.name].push_back(
                    {groups + layout.group[i], channel.values[i], right[i], sound, reason});
    }
    groups += last + 1;
}

Json Signal::json() const {
    Json json = Json::object();
    auto put = [](Json& to, const std::string& name, double value) {
        if (std::isfinite(value)) to[name] = value;
    };
    for (const auto& [name, all] : of) {
        std::vector<ScoredAnswer> by_right, by_sound;
        std::map<std::string, std::vector<ScoredAnswer>> against;
        std::map<int, const Scored*> best; // of a prompt; ties: the first
        double right = 0, sound = 0;
        for (const Scored& each : all) {
            right += each.right, sound += each.sound;
            by_right.push_back({0, each.score, each.right});
            if (each.right) by_sound.push_back({0, each.score, each.sound});
            if (each.right && !each.sound) against[each.reason].push_back({0, each.score, false});
            const Scored*& top = best[each.group];
            if (!top || each.score > top->score) top = &each;
        }
        double best_right = 0, best_sound = 0;
        for (const auto& [group, top] : best) best_right += top->right, best_sound += top->sound;
        Json& figures = json[name] = Json::object();
        put(figures, "auc_sound", area_under_curve(by_sound));
        put(figures, "auc_right", area_under_curve(by_right));
        put(figures, "best_sound", best_sound / (double)best.size());
        put(figures, "best_right", best_right / (double)best.size());
        put(figures, "sound", sound / (double)all.size());
        put(figures, "right", right / (double)all.size());
        for (auto& [reason, flawed] : against) {
            for (const ScoredAnswer& each : by_sound)
                if (each.right) flawed.push_back(each);
            put(figures["against"], reason, area_under_curve(flawed));
        }
    }
    return json;
}
