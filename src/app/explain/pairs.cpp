#include "app/explain/pairs.h"

#include "app/inputs.h"
#include "app/reward_data.h"
#include "base/file.h"
#include "credit/channel.h"
#include "model/hf.h"

#include <algorithm>
#include <cmath>

// Both sides of all pairs, one after another.
static std::vector<TrainSequence> sequences_of(const std::vector<PreferenceRow>& rows) {
    std::vector<TrainSequence> sequences;
    for (const PreferenceRow& row : rows)
        for (const AnswerRow& answer : row.answers) sequences.push_back(answer.sequence);
    return sequences;
}

static std::string saved_word(const StoredRun& run, const char* group, const char* key) {
    return json_string_or(run.config.value(group, Json::object()), key, "", run.directory);
}

ExplainPage explain_pairs(const StoredRun& run, int pairs) {
    auto checkpoints = complete_checkpoints(run.directory);
    CHECK(!checkpoints.empty(), "%s has no checkpoint yet", run.directory.c_str());
    std::string path = saved_word(run, "data", "eval");
    if (path.empty()) path = saved_word(run, "data", "train");
    CHECK(!path.empty(), "%s was not trained on a file of pairs", run.directory.c_str());
    std::string reference = saved_word(run, "reward", "reference");
    const std::string kind = saved_word(run, "reward", "kind");
    const RewardKind* known = find_reward_kind(kind);
    if (reference.empty() && known && known->ratio) reference = saved_word(run, "model", "path");
    auto reward = load_reward_model(checkpoints.back().second, reference, {}, forward_tokens);
    Inputs inputs = open_inputs(reward->model->source, reward->model->config,
                                saved_word(run, "data", "template"), true, ChatConfig());
    PreferenceData data = read_preferences(path, inputs.options, inputs.options.max_length);
    if ((int)data.rows.size() > pairs) data.rows.resize(pairs);
    const auto scores = token_scores(*reward, sequences_of(data.rows));

    ExplainPage page;
    page.name = format("%s: %s", run.directory.c_str(), kind.c_str());
    page.formula.push_back(
        format("Z_t: score of token t by the head \"%s\"; a completion's score: %s of its Z",
               score_head_name(reward->head), name_of(reward->pool)));
    double sum = 0, square = 0, count = 0;
    for (const auto& row : scores)
        for (double z : row) sum += z, square += z * z, ++count;
    const double mean = sum / std::max(1.0, count);
    const double std = std::sqrt(std::max(0.0, square / std::max(1.0, count) - mean * mean)) + 1e-8;
    page.quantities = {
        {"Z", "", "raw score of the token", mean, true},
        {"Z standardised", "", "(Z - mean) / std over the page: what RL is given", 0, true}};
    page.chosen = 1;
    int right_way = 0;
    size_t at = 0;
    for (size_t p = 0; p < data.rows.size(); ++p) {
        const PreferenceRow& row = data.rows[p];
        ExplainGroup& group = page.groups.emplace_back();
        group.prompt_id = (int64_t)p;
        group.prompt = run.text(row.answers[0].prompt());
        for (size_t side = 0; side < row.answers.size(); ++side, ++at) {
            const TrainSequence& sequence = row.answers[side].sequence;
            ExplainCompletion& completion = group.completions.emplace_back();
            completion.sample = (int64_t)side;
            completion.reward = pooled(scores[at], reward->pool);
            completion.advantage = (completion.reward - mean) / std;
            completion.reason = !row.paired() ? "" : side == 0 ? "chosen" : "rejected";
            for (size_t t = 0; t < sequence.target.size(); ++t) {
                const double z = scores[at][t];
                const int32_t id = sequence.ids[sequence.target[t]];
                completion.tokens.push_back(
                    {run.text({id}),
                     true,
                     {z, (z - mean) / std},
                     format(
                         "token %zu of %zu, id %d\nZ %.5g\n(Z - mean) / std = (%.5g - %.5g) / %.5g "
                         "= %.5g",
                         t + 1, sequence.target.size(), (int)id, z, z, mean, std,
                         (z - mean) / std)});
            }
        }
        if (row.paired()) right_way += group.completions[0].reward > group.completions[1].reward;
    }
    page.summary =
        format("%zu rows of %s; the score prefers the chosen answer in %d. Rest the pointer "
               "on a token for its numbers.",
               data.rows.size(), path.c_str(), right_way);
    return page;
}
