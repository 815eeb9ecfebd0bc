#include "rl/stored_rollouts.h"

#include "rl/algorithms.h"

#include "credit/scores.h"
#include "rl/earned.h"

#include <map>

namespace {
// One array of the rows: read where it is, and remembered where it is not.
struct Column {
    const char* key;
    const char* stand_in = nullptr; // key that serves where this one is missing
    std::vector<double> values{};   // (N) so far
    std::string missing_at{};       // first row without it; empty: all have it

    void read(const Json& row, const std::string& where, size_t length) {
        auto has = [&](const char* name) { return row.contains(name) && !row[name].is_null(); };
        const char* name = has(key) || !stand_in ? key : stand_in;
        if (!has(name)) {
            if (missing_at.empty()) missing_at = where;
            return;
        }
        std::vector<double> numbers = json_numbers(row, name, where);
        CHECK(numbers.size() == length,
              "%s: \"%s\" has %zu entries, but the completion has %zu tokens", where.c_str(), name,
              numbers.size(), length);
        values.insert(values.end(), numbers.begin(), numbers.end());
    }
    bool complete() const { return missing_at.empty(); }
    void require(const std::string& reason) const {
        CHECK(complete(), "%s: \"%s\" is missing; %s", missing_at.c_str(), key, reason.c_str());
    }
    std::vector<double> take() { return complete() ? std::move(values) : std::vector<double>{}; }
};
} // namespace

static size_t completion_length(const Json& row, const std::string& where) {
    if (row.contains("completion_ids")) return json_ids(row, "completion_ids", where).size();
    const char* key = row.contains("logp_old") ? "logp_old" : "logp";
    CHECK(row.contains(key), "%s: \"completion_ids\" is missing", where.c_str());
    return json_numbers(row, key, where).size();
}

StoredRollouts read_rollouts(const std::string& path, const AlgoConfig& algo,
                             const SelectConfig& select, const std::vector<SourceConfig>* sources) {
    StoredRollouts stored;
    Rollouts& r = stored.batch;
    Column logp{"logp", "logp_old"}, logp_old{"logp_old"}, logp_ref{"logp_ref"},
        logp_sampled{"logp_sampled"}, entropy{"entropy"}, value{"value"},
        value_old{"value_old", "value"}, credit{"credit"};
    std::map<std::pair<int64_t, int64_t>, int> groups;
    bool know_finish = true;
    const bool reads_credit = algo.advantage.credit_weight != 0 && !sources;
    for_each_row(path, [&](const Json& row, const std::string& where) {
        size_t length = completion_length(row, where);
        r.offset.push_back(r.offset.back() + (int64_t)length);
        std::pair<int64_t, int64_t> key{json_int_or(row, "step", 0, where),
                                        json_int(row, "prompt_id", where)};
        r.group.push_back(groups.try_emplace(key, (int)groups.size()).first->second);
        r.reward.push_back(sources ? 0 : json_number(row, "reward", where));
        std::string finish = json_string_or(row, "finish", "", where);
        know_finish &= finish != "";
        r.finished.push_back(finish == "stop");
        for (Column* column :
             {&logp, &logp_old, &logp_ref, &logp_sampled, &entropy, &value, &value_old})
            column->read(row, where, length);
        if (reads_credit) credit.read(row, where, length);
        stored.source.push_back(row);
        stored.where.push_back(where);
    });
    r.groups = (int)groups.size();
    if (!know_finish) r.finished.clear();

    const std::string preset = "algo.preset = " + algo.preset;
    if (find_algorithm(algo.preset).policy.ratio != Ratio::none)
        logp_old.require(preset + " takes the ratio to it");
    else if (algo.kl == Kl::k3_ratio || (algo.kl != Kl::none && algo.kl_in == KlIn::reward))
        logp_old.require(std::string("algo.kl = ") + name_of(algo.kl) + " needs it");
    logp.require("so is \"logp_old\"; a row must have one of the two");
    if (needs_reference(algo))
        logp_ref.require(std::string("algo.kl = ") + name_of(algo.kl) +
                         " needs the reference's log-probabilities; store them or set "
                         "algo.kl=none");
    if (needs_value(algo)) value_old.require(preset + " needs the critic's values");
    if (algo.value_coef != 0) value.require(preset + " trains the critic");
    if (algo.entropy_coef != 0) entropy.require("algo.entropy_coef is not 0");
    if (needs_entropy(select)) entropy.require("select.keep_tokens ranks tokens by entropy");
    if (reads_credit)
        credit.require("algo.advantage.credit_weight is not 0; store it, or give a list credit and "
                       "the rows' scores");
    CHECK(sources || algo.advantage.combine == Combine::normalise_of_sum,
          "algo.advantage.combine = sum_of_normalised normalises each source of a list credit; the "
          "configuration has none");

    r.logp = logp.take();
    r.logp_old = logp_old.take();
    r.logp_ref = logp_ref.take();
    r.entropy = entropy.take();
    r.value = value.take();
    r.value_old = value_old.take();
    r.credit = credit.take();
    if (!sources) return stored;
    const Layout layout{r.offset, r.group, stored.where};
    put_credit(r, earned(*sources, read_scores(*sources, stored.source, layout), layout, algo));
    return stored;
}

Json json_list(const std::vector<double>& array, const Rollouts& r, int i) {
    Json list = Json::array();
    for (double x : tokens_of(array, r, i)) list.push_back(x + 0.0); // no -0
    return list;
}

void put_rollout(Json& row, const Rollouts& r, int i) {
    const std::pair<const char*, const std::vector<double>*> arrays[] = {
        {"logp_old", &r.logp_old}, {"logp", &r.logp},   {"logp_ref", &r.logp_ref},
        {"entropy", &r.entropy},   {"value", &r.value}, {"value_old", &r.value_old},
        {"credit", &r.credit}};
    for (auto [key, array] : arrays)
        if (!array->empty()) row[key] = json_list(*array, r, i);
    row["reward"] = r.reward[i];
}

void put_selection(Json& row, const Rollouts& r, const Selection& kept, const Weights& weights,
                   int i) {
    row["advantage"] = json_list(kept.A.token, r, i);
    row["kept"] = kept.completion[i] != 0;
    Json token_kept = Json::array();
    for (uint8_t token : tokens_of(kept.token, r, i)) token_kept.push_back(token);
    row["token_kept"] = token_kept;
    row["weight"] = json_list(weights.policy, r, i);
}

Selection stored_selection(const StoredRollouts& stored, Selection kept) {
    const Rollouts& r = stored.batch;
    for (int i = 0; i < r.completions(); ++i) {
        const Json& row = stored.source[i];
        const std::string& where = stored.where[i];
        if (!row.contains("token_kept") || !row.contains("advantage")) continue;
        const std::vector<double> A = json_numbers(row, "advantage", where),
                                  token = json_numbers(row, "token_kept", where);
        const size_t length = (size_t)r.length(i);
        CHECK(A.size() == length && token.size() == length,
              "%s: \"advantage\" and \"token_kept\" must have one entry for each of the %zu "
              "completion tokens",
              where.c_str(), length);
        double sum = 0;
        for (size_t t = 0; t < length; ++t) {
            kept.A.token[r.offset[i] + t] = A[t];
            kept.token[r.offset[i] + t] = token[t] != 0;
            sum += A[t];
        }
        kept.A.completion[i] = length ? sum / (double)length : 0;
        kept.completion[i] = json_bool_or(row, "kept", true, where);
    }
    return kept;
}
