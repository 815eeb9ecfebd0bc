#include "rl/algorithms.h"

Algorithm grpo(), dr_grpo(), dapo(), gspo(), gspo_token(), cispo(), sapo(), vespo(), luspo(),
    bnpo(), gmpo(), reinforce(), rloo(), reinforce_pp(), reinforce_pp_baseline(), ppo(),
    reinforce_qrm(), ppo_qrm(), ppo_qrm_code(), capo();
std::vector<Algorithm> peers();

std::span<const Algorithm> algorithm_table() {
    static const std::vector<Algorithm> table = [] {
        std::vector<Algorithm> rows = {
            grpo(),  dr_grpo(),       dapo(),    gspo(),         gspo_token(),
            cispo(), sapo(),          vespo(),   luspo(),        bnpo(),
            gmpo(),  reinforce(),     rloo(),    reinforce_pp(), reinforce_pp_baseline(),
            ppo(),   reinforce_qrm(), ppo_qrm(), ppo_qrm_code(), capo()};
        for (const Algorithm& row : peers()) rows.push_back(row);
        return rows;
    }();
    return table;
}

const Algorithm& find_algorithm(const std::string& name) {
    for (const Algorithm& row : algorithm_table())
        if (name == row.name) return row;
    std::vector<std::string> names;
    for (const Algorithm& row : algorithm_table()) names.push_back(row.name);
    fail("algo.preset = \"%s\" is not known; the nearest is \"%s\"", name.c_str(),
         nearest_name(name, names).c_str());
}
