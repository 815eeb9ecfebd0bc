#include "app/explain/step.h"

#include "app/explain/token_formula.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace {

// One quantity with its numbers, (N) or empty where the run did not store it.
struct Layer {
    Quantity quantity;
    std::vector<double> value;
};

// A stored score on the completion's tokens: a number on all, a segment's on its own; 0 where the source failed.
std::vector<double> on_tokens(const Json& scores, const std::string& name, size_t length,
                              const std::string& where) {
    const Json& score = scores[name];
    if (score.is_number() || score.is_null())
        return std::vector<double>(length, score.is_null() ? 0 : score.get<double>());
    if (!score.is_object()) return json_numbers(scores, name.c_str(), where);
    const std::vector<double> end = json_numbers(score, "end", where),
                              value = json_numbers(score, "value", where);
    std::vector<double> x(length);
    for (size_t s = 0, t = 0; s < std::min(end.size(), value.size()); ++s)
        for (; t < length && (double)t < end[s]; ++t) x[t] = value[s];
    return x;
}

// What each credit source said, on its own scale.
std::vector<Layer> scores_of(const StoredUpdate& update) {
    const Rollouts& r = update.stored.batch;
    std::vector<Layer> layers;
    auto scores = [&](int i) { return update.stored.source[i].value("scores", Json::object()); };
    if (r.completions() == 0) return layers;
    const Json first = scores(0);
    for (const auto& [name, unused] : first.items()) {
        if (name == "rule") continue;
        Layer layer{{name, "", "raw score of the source " + name, 0, true}, {}};
        for (int i = 0; i < r.completions(); ++i) {
            const Json of_row = scores(i);
            const std::string& where = update.stored.where[i];
            CHECK(of_row.contains(name), "%s: \"scores\" lacks \"%s\"", where.c_str(),
                  name.c_str());
            const std::vector<double> given = on_tokens(of_row, name, (size_t)r.length(i), where);
            CHECK((int64_t)given.size() == r.length(i),
                  "%s: \"scores\" of %s has %zu entries, but the completion has %lld tokens",
                  where.c_str(), name.c_str(), given.size(), (long long)r.length(i));
            layer.value.insert(layer.value.end(), given.begin(), given.end());
        }
        layer.quantity.centre = std::accumulate(layer.value.begin(), layer.value.end(), 0.0) /
                                (double)std::max<size_t>(1, layer.value.size());
        layers.push_back(std::move(layer));
    }
    return layers;
}

std::vector<Layer> layers_of(const StoredUpdate& update) {
    const Rollouts& r = update.stored.batch;
    const size_t N = (size_t)r.tokens();
    std::vector<double> size(N), ratio, k1, k3, kept(N), credit(N);
    bool per_token = false;
    for (int i = 0; i < r.completions(); ++i) {
        const Json& row = update.stored.source[i];
        bool own = row.contains("credit") && row["credit"].is_array() &&
                   row["credit"].size() == (size_t)r.length(i);
        std::vector<double> given;
        if (own) given = json_numbers(row, "credit", update.stored.where[i]);
        per_token |= own;
        for (int64_t t = 0; t < r.length(i); ++t)
            credit[r.offset[i] + t] = own ? given[t] : r.reward[i];
    }
    for (size_t n = 0; n < N; ++n) {
        size[n] = std::abs(update.loss.grads.dlogp[n]);
        kept[n] = update.kept.token[n];
        if (!r.logp_old.empty()) ratio.push_back(std::exp(r.logp[n] - r.logp_old[n]));
        if (r.logp_ref.empty()) continue;
        double x = r.logp[n] - r.logp_ref[n];
        k1.push_back(x), k3.push_back(std::expm1(-x) + x);
    }
    return {
        {{"gradient", "per nat",
          "dL/dlogp; below 0: the update makes the token likelier, above 0: rarer", 0, true},
         update.loss.grads.dlogp},
        {{"gradient weight", "per nat", "|dL/dlogp|: how much the token has to say", 0, false},
         size},
        {{"advantage", "", "A: better or worse than expected", 0, true}, update.kept.A.token},
        {{"credit", "",
          per_token ? "what station 3 gave the token"
                    : "what station 3 gave: the completion's reward, on each of its tokens",
          0, true},
         credit},
        {{"entropy", "nats", "of the policy where it chose the token", 0, false}, r.entropy},
        {{"ratio", "", "exp(logp - logp_old); 1: on policy", 1, true}, ratio},
        {{"k1", "nats", "logp - logp_ref: KL to the reference, first estimator", 0, true}, k1},
        {{"k3", "nats", "exp(d) - d - 1, d = logp_ref - logp: KL, third estimator", 0, false}, k3},
        {{"kept", "", "1: trains, 0: dropped by selection", 0, false}, kept},
        {{"logp", "nats", "log-probability of the token", 0, true}, r.logp},
    };
}

std::string hover_text(const StoredRun& run, const StoredUpdate& update,
                       const std::vector<Layer>& layers, int row, int t, int32_t id) {
    const Rollouts& r = update.stored.batch;
    const size_t n = (size_t)(r.offset[row] + t);
    std::string text =
        format("token %d of %lld, id %d\n", t + 1, (long long)r.length(row), (int)id);
    for (const Layer& layer : layers)
        text += layer.quantity.name + " " + format("%.5g", layer.value[n] + 0.0) + "\n";
    if (!r.logp_old.empty()) text += format("logp_old %.5g\n", r.logp_old[n]);
    if (!r.logp_ref.empty()) text += format("logp_ref %.5g\n", r.logp_ref[n]);
    if (!r.value.empty()) text += format("value %.5g\n", r.value[n]);
    text += format("w %.5g\n\n", update.weights.policy[n]);
    return text + token_formula(r, update.kept, update.weights, run.algo, row, t).text;
}

// What a judge wrote of a completion and what was made of it, as `rl` and `judge` store it.
std::string judge_words(const std::string& name, const Json& judged, const std::string& where) {
    std::string text = name;
    auto put = [&](const char* key, const char* before) {
        if (judged.contains(key)) text += before + dump_row(judged[key]);
    };
    put("wrong_steps", ": wrong steps ");
    put("votes", ", votes ");
    put("valid_critiques", " of ");
    put("verdicts", ": ");
    for (const char* key : {"critiques", "verdict_text"}) {
        if (!judged.contains(key) || !judged[key].is_array()) continue;
        for (const Json& one : judged[key]) {
            text += "\n" + json_string_or(one, "text", "", where);
            if (one.contains("why_not")) text += "  [" + json_string(one, "why_not", where) + "]";
        }
    }
    return text;
}

ExplainCompletion explained(const StoredRun& run, const StoredUpdate& update,
                            const std::vector<Layer>& layers, int i) {
    const Rollouts& r = update.stored.batch;
    const Json& row = update.stored.source[i];
    const std::string& where = update.stored.where[i];
    ExplainCompletion completion;
    completion.sample = json_int_or(row, "sample", i, where);
    completion.reward = r.reward[i];
    completion.advantage = update.kept.A.completion[i];
    completion.kept = update.kept.completion[i];
    completion.reason = json_string_or(row, "reason", "", where);
    completion.finish =
        json_string_or(row, "finish", "", where) == "length" ? "cut off at the length limit" : "";
    const Json judged = row.value("judges", Json::object());
    for (const auto& [name, words] : judged.items())
        completion.judges.push_back(judge_words(name, words, where));
    std::vector<int32_t> ids = json_ids(row, "completion_ids", where);
    for (int t = 0; t < (int)ids.size(); ++t) {
        ExplainToken token;
        token.text = run.text({ids[t]});
        token.kept = update.kept.token[r.offset[i] + t];
        for (const Layer& layer : layers) token.value.push_back(layer.value[r.offset[i] + t]);
        token.hover = hover_text(run, update, layers, i, t, ids[t]);
        completion.tokens.push_back(std::move(token));
    }
    return completion;
}

} // namespace

ExplainPage explain_step(const StoredRun& run, int64_t step, int64_t prompt_id,
                         const std::string& colour, int64_t tokens) {
    StoredUpdate update = run.update(step);
    const Rollouts& r = update.stored.batch;

    ExplainPage page;
    page.name = format("Step %lld of %s", (long long)step, run.directory.c_str());
    page.summary =
        format("%d completions of %d prompts, %lld tokens; loss %.6g. Rest the pointer on "
               "a token for its numbers.",
               r.completions(), r.groups, (long long)r.tokens(), update.loss.parts.total() + 0.0);
    page.formula = algorithm_formula(run.algo);
    std::vector<Layer> layers;
    std::string missing;
    std::vector<Layer> all = layers_of(update);
    for (Layer& layer : scores_of(update)) all.push_back(std::move(layer));
    for (Layer& layer : all)
        if (layer.value.empty())
            missing += (missing.empty() ? "" : ", ") + layer.quantity.name;
        else
            layers.push_back(std::move(layer));
    std::string wanted = colour, known;
    if (wanted.empty()) { // the first source that is not the rule, else A
        const std::vector<Layer> scores = scores_of(update);
        wanted = scores.empty() ? "advantage" : scores[0].quantity.name;
    }
    bool found = false;
    for (const Layer& layer : layers) {
        known += " " + layer.quantity.name + ",";
        if (layer.quantity.name == wanted) page.chosen = page.quantities.size(), found = true;
        page.quantities.push_back(layer.quantity);
    }
    CHECK(found, "colour=%s: the page has no such quantity; it has%s", wanted.c_str(),
          known.substr(0, known.size() - 1).c_str());
    if (!missing.empty())
        page.notes.push_back(
            "Not stored by this run, as its algorithm does not need it: " + missing + ".");
    if (!run.tokenizer)
        page.notes.push_back(
            "The run has no checkpoint with a tokenizer: tokens are shown as ids.");

    std::vector<int64_t> prompts; // by group
    for (int i = 0; i < r.completions(); ++i)
        if (r.group[i] == (int)prompts.size())
            prompts.push_back(
                json_int(update.stored.source[i], "prompt_id", update.stored.where[i]));
    CHECK(prompt_id < 0 || std::find(prompts.begin(), prompts.end(), prompt_id) != prompts.end(),
          "step %lld has no prompt_id %lld; it has %zu, from %lld to %lld", (long long)step,
          (long long)prompt_id, prompts.size(),
          (long long)*std::min_element(prompts.begin(), prompts.end()),
          (long long)*std::max_element(prompts.begin(), prompts.end()));
    int64_t shown = 0;
    for (int group = 0; group < r.groups && shown < tokens; ++group) {
        if (prompt_id >= 0 && prompts[group] != prompt_id) continue;
        page.groups.push_back({prompts[group], "", {}});
        for (int i = 0; i < r.completions(); ++i) {
            if (r.group[i] != group) continue;
            if (page.groups.back().completions.empty() &&
                update.stored.source[i].contains("prompt_ids"))
                page.groups.back().prompt = run.text(
                    json_ids(update.stored.source[i], "prompt_ids", update.stored.where[i]));
            page.groups.back().completions.push_back(explained(run, update, layers, i));
            shown += r.length(i);
        }
    }
    if (prompt_id < 0 && (int)page.groups.size() < r.groups)
        page.notes.push_back(format("The first %zu of %d prompts are shown; prompt_id=P shows one "
                                    "of the others.",
                                    page.groups.size(), r.groups));
    return page;
}
