#include "app/judge/dimensions.h"

#include "app/signal.h"
#include "credit/preference.h"
#include "credit/sigmoid.h"

#include <cmath>
#include <map>

Json DimensionCounts::json() const {
    Json result = {{"rows", rows}, {"malformed", malformed}};
    if (!against_rule.is_null()) result["signal"] = against_rule;
    return result;
}

namespace {
struct Answers { // (I)
    std::vector<Problem> problem;
    std::vector<std::vector<int32_t>> completion;
    std::vector<int> group;
    Answers(const std::vector<Json>& row, const std::vector<std::string>& where);
};

Answers::Answers(const std::vector<Json>& row, const std::vector<std::string>& where) {
    std::map<std::vector<int32_t>, int> known;
    for (size_t i = 0; i < row.size(); ++i) {
        Problem& one = problem.emplace_back();
        one.row = row[i], one.where = where[i];
        one.prompt_ids = json_ids(row[i], "prompt_ids", where[i]);
        completion.push_back(json_ids(row[i], "completion_ids", where[i]));
        CHECK(!one.prompt_ids.empty() && !completion.back().empty(),
              "%s: this kind of judge reads \"prompt_ids\" and \"completion_ids\", the policy's "
              "tokens "
              "(rlhf eval out=F writes such rows)",
              where[i].c_str());
        group.push_back(known.emplace(one.prompt_ids, (int)known.size()).first->second);
    }
}

// (I)(tokens of the completion)
std::vector<std::vector<double>> log_probs(RewardModel& policy, const Answers& answers) {
    std::vector<TrainSequence> sequences;
    for (size_t i = 0; i < answers.completion.size(); ++i) {
        TrainSequence& sequence = sequences.emplace_back();
        sequence.ids = answers.problem[i].prompt_ids;
        for (int32_t id : answers.completion[i]) {
            sequence.target.push_back((int32_t)sequence.ids.size());
            sequence.ids.push_back(id);
        }
    }
    return token_scores(policy, sequences);
}

Channel channel(const char* name, const std::vector<Json>& rows, const char* key) {
    Channel channel{name, Level::completion, {}, {}, {}};
    for (const Json& row : rows) {
        channel.values.push_back(row[key].is_null() ? 0 : row[key].get<double>());
        channel.valid.push_back(!row[key].is_null());
    }
    return channel;
}
} // namespace

std::vector<Json> judge_dimensions(const std::vector<Json>& row,
                                   const std::vector<std::string>& where, const Task& task,
                                   RewardModel* policy, RewardModel* reranker,
                                   RewardModel* coherence, DimensionCounts& counts) {
    const Answers answers(row, where);
    std::vector<const Problem*> problem;
    for (const Problem& each : answers.problem) problem.push_back(&each);
    const auto parts = drm_parts(task, problem, answers.completion, reranker, coherence);
    const auto logp =
        policy ? log_probs(*policy, answers) : std::vector<std::vector<double>>(row.size());
    std::vector<Json> rows = row;
    std::vector<bool> right;
    std::vector<int64_t> offset = {0};
    for (size_t i = 0; i < rows.size(); ++i) {
        Json& to = rows[i];
        ++counts.rows, counts.malformed += !parts[i];
        right.push_back(task.verify(*problem[i], answers.completion[i], "").reward > 0.5);
        offset.push_back(offset.back() + (int64_t)answers.completion[i].size());
        for (const char* key : {"confidence_reasoning", "confidence_answer", "confidence",
                                "relevance", "relevance_sum", "coherence"})
            to[key] = nullptr;
        if (!parts[i]) continue;
        const DrmParts& part = *parts[i];
        if (policy) {
            const std::span<const double> all = logp[i];
            const auto reasoning = all.first((size_t)part.reasoning_end),
                       answer = all.subspan((size_t)part.answer_begin);
            to["confidence"] = drm_confidence(reasoning, answer);
            to["confidence_reasoning"] = drm_confidence(reasoning, {});
            double sum = 0;
            for (double each : answer) sum += each;
            to["confidence_answer"] = sum;
        }
        Json& relevance = to["relevance"] = {{"question", sigmoid(part.question)}};
        if (!std::isnan(part.documents)) relevance["documents"] = sigmoid(part.documents);
        relevance["answer"] = sigmoid(part.answer);
        to["relevance_sum"] = drm_relevance(part, {"question", "documents", "answer"});
        to["coherence"] = part.coherence;
    }
    if (!task.verify_steps) return rows;
    std::vector<Channel> channels = {channel("relevance", rows, "relevance_sum"),
                                     channel("coherence", rows, "coherence")};
    if (policy) channels.insert(channels.begin(), channel("confidence", rows, "confidence"));
    Signal signal;
    signal.add(channels, {offset, answers.group}, problem, answers.completion, right, task);
    counts.against_rule = signal.json();
    return rows;
}

std::vector<Json> judge_preference(const std::vector<Json>& row,
                                   const std::vector<std::string>& where, RewardModel& model,
                                   double anchor) {
    const Answers answers(row, where);
    std::vector<std::vector<int32_t>> whole;
    for (size_t i = 0; i < row.size(); ++i) {
        whole.push_back(answers.problem[i].prompt_ids);
        whole.back().insert(whole.back().end(), answers.completion[i].begin(),
                            answers.completion[i].end());
    }
    const std::vector<double> score = end_scores(model, whole);
    std::vector<Json> rows = row;
    for (size_t i = 0; i < rows.size(); ++i) {
        rows[i]["score"] = score[i];
        rows[i]["preference"] = beats_anchor(score[i], anchor);
    }
    return rows;
}
