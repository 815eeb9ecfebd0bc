#pragma once
// How well scores of answers tell sound reasoning from flawed, where the task can check every step:
// what DRM claims to do without a ground truth [Wang et al. 2025]. The outcome's own figure is 0.5,
// as all answers that are compared are right.

#include "credit/channel.h"
#include "task/task.h"

#include <map>

struct Signal {
    // channels: of completions; those of tokens and segments are passed over. problem, completion,
    // right: (I).
    void add(const std::vector<Channel>& channels, const Layout& layout,
             const std::vector<const Problem*>& problem,
             const std::vector<std::vector<int32_t>>& completion, const std::vector<bool>& right,
             const Task& task);
    // Per channel: "auc_sound", how often a sound answer scores above a flawed one, of the right
    // answers; "auc_right", a right one above a wrong one; "best_sound", "best_right": of the
    // best-scored answer of each prompt; "against": auc_sound by what the rule says of the flawed
    // ones. Of all answers "sound" and "right".
    Json json() const;

private:
    struct Scored {
        int group;
        double score;
        bool right, sound;
        std::string reason;
    };
    std::map<std::string, std::vector<Scored>> of;
    int groups = 0;
};
