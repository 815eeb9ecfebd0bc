#include "app/wise_heads.h"

#include <algorithm>
#include <cmath>
#include <numeric>

WiseEncoder::WiseEncoder(const Inputs& inputs_, const WiseSettings& settings_,
                         bool nothing_is_learnt_)
    : inputs(inputs_), settings(settings_), nothing_is_learnt(nothing_is_learnt_) {
    CHECK(inputs.tokenizer, "%s has no tokenizer.json; turns are text",
          inputs.options.chat_directory.c_str());
    auto id = [&](const char* token) {
        const int found = inputs.tokenizer->id_of(token);
        CHECK(found >= 0,
              "the tokenizer of %s has no token %s, which task.form=heads needs: start from the "
              "built-in model (no model.path), or use task.form=generate",
              inputs.options.chat_directory.c_str(), token);
        return found;
    };
    i_cls = id("[I-CLS]"), a_cls = id("[A-CLS]"), q_cls = id("[Q-CLS]"), p_cls = id("[P-CLS]");
    user = id("[User]"), system = id("[System]");
}

std::vector<int32_t> WiseEncoder::encode(const std::string& text, size_t limit) const {
    std::vector<int32_t> ids = inputs.tokenizer->encode(" " + text, false);
    ids.resize(std::min(ids.size(), limit));
    return ids;
}

WisePacked WiseEncoder::pack(const WiseExample& example, bool response) const {
    // Tokens travel as the decimal text of their ids through what knows strings only.
    auto tokens = [&](const std::string& text) {
        WiseTokens result;
        for (int32_t id : encode(text)) result.push_back(std::to_string(id));
        return result;
    };
    auto id_of = [&](const std::string& token) {
        if (token == "[I-CLS]") return i_cls;
        if (token == "[A-CLS]") return a_cls;
        if (token == "[User]") return user;
        if (token == "[System]") return system;
        return (int32_t)std::stol(token);
    };
    const WiseUtterance& spoken = example.turn.spoken();
    WisePacked packed;
    const WiseTokens context = wise_context(example.turn, (size_t)settings.context_tokens,
                                            settings.order == "newest_first", tokens);
    for (const std::string& token : context) packed.context.push_back(id_of(token));
    std::vector<WiseTokens> phrases;
    for (const std::string& phrase : spoken.keyphrases) phrases.push_back(tokens(phrase));
    packed.keyphrase = wise_keyphrase_tags(context, phrases);

    auto candidate = [&](const std::string& text, int limit, int32_t cls) {
        std::vector<int32_t> ids = encode(text, (size_t)limit);
        ids.insert(ids.end(), {cls, a_cls});
        return ids;
    };
    for (const WiseCandidate& one : example.turn.queries) {
        packed.queries.push_back(candidate(one.text, settings.query_tokens, q_cls));
        packed.query_gold.push_back(one.selected);
    }
    for (const WiseCandidate& one : example.turn.passages) {
        packed.passages.push_back(
            candidate(example.texts->at(one.text), settings.passage_tokens, p_cls));
        packed.passage_gold.push_back(one.selected);
    }
    auto known = [&](const std::vector<uint8_t>& gold) {
        return nothing_is_learnt ? !gold.empty()
                                 : std::find(gold.begin(), gold.end(), 1) != gold.end();
    };
    packed.has_intent = example.labelled(WiseStage::id) && example.turn.intent >= 0;
    packed.intent = std::max(0, example.turn.intent), packed.action = spoken.action;
    packed.has_action = example.labelled(WiseStage::ap);
    packed.has_keyphrases =
        example.labelled(WiseStage::ke) && (nothing_is_learnt || !spoken.keyphrases.empty());
    packed.has_queries = example.labelled(WiseStage::qs) && known(packed.query_gold);
    packed.has_passages = example.labelled(WiseStage::ps) && known(packed.passage_gold);
    if (response && example.labelled(WiseStage::rg)) {
        packed.has_response = true;
        packed.response = evidence(example, wise_gold(example.turn), packed.evidence);
        packed.response_first = (int)packed.response.size();
        for (int32_t id : encode(spoken.response, (size_t)settings.response_tokens))
            packed.response.push_back(id);
        packed.response.push_back(inputs.options.eos);
    }
    return packed;
}

std::vector<int32_t> WiseEncoder::evidence(const WiseExample& example, const WiseFields& fields,
                                           std::vector<WisePacked::Memory>& memories) const {
    std::vector<int32_t> ids;
    auto add = [&](const std::string& text, int limit, int32_t cls) {
        const int first = (int)ids.size();
        ids.push_back(cls);
        for (int32_t id : encode(text, (size_t)limit)) ids.push_back(id);
        memories.push_back({first, (int)ids.size() - first});
    };
    for (const std::string& query : fields.queries) add(query, settings.query_tokens, q_cls);
    for (const std::string& id : fields.passages)
        add(example.texts->at(id), settings.passage_tokens, p_cls);
    ids.push_back(a_cls);
    for (int32_t id : encode(fields.action)) ids.push_back(id);
    return ids;
}

std::vector<std::string> WiseEncoder::phrases(const std::vector<int32_t>& context,
                                              const std::vector<double>& z) const {
    std::vector<std::string> found;
    std::vector<int32_t> run;
    for (size_t t = 2; t <= context.size(); ++t) {
        if (t < context.size() && z[t] > 0) {
            run.push_back(context[t]);
            continue;
        }
        if (run.empty()) continue;
        std::string text = inputs.text(run);
        text.erase(0, text.find_first_not_of(' '));
        if (std::find(found.begin(), found.end(), text) == found.end()) found.push_back(text);
        run.clear();
    }
    return found;
}

static int best(const std::vector<double>& z) {
    return (int)(std::max_element(z.begin(), z.end()) - z.begin());
}

// sigmoid(z) of each chosen candidate.
static std::vector<double> scores_of(const std::vector<double>& z) {
    std::vector<double> scores;
    for (double one : z)
        if (one > 0) scores.push_back(1 / (1 + std::exp(-one)));
    return scores;
}

static std::vector<std::string> chosen(const std::vector<WiseCandidate>& candidates,
                                       const std::vector<double>& z) {
    std::vector<std::string> result;
    for (size_t k = 0; k < candidates.size(); ++k)
        if (z[k] > 0) result.push_back(candidates[k].text);
    return result;
}

// The responses behind context and evidence, as generate writes them, but with the copy term; greedy.
static std::vector<std::vector<int32_t>> copy_out(Model& model, std::vector<WisePacked> turns,
                                                  int max_new_tokens, int32_t eos) {
    Pass pass(model, forward_tokens, forward_tokens, false);
    std::vector<std::vector<int32_t>> said(turns.size());
    std::vector<size_t> going(turns.size());
    std::iota(going.begin(), going.end(), 0);
    for (int t = 0; t < max_new_tokens && !going.empty(); ++t) {
        std::vector<WisePacked> now;
        for (size_t i : going) now.push_back(turns[i]);
        const std::vector<int32_t> next = next_with_copy(pass, std::move(now), forward_tokens);
        std::vector<size_t> still;
        for (size_t k = 0; k < going.size(); ++k) {
            said[going[k]].push_back(next[k]);
            turns[going[k]].response.push_back(next[k]);
            if (next[k] != eos) still.push_back(going[k]);
        }
        going = std::move(still);
    }
    return said;
}

std::vector<WiseFields> wise_read(Model& model, const WiseEncoder& encoder,
                                  const std::vector<WiseExample>& examples, const WiseStages& gold,
                                  const SampleConfig& sample_config, bool copy) {
    std::vector<WisePacked> turns;
    for (const WiseExample& example : examples) turns.push_back(encoder.pack(example, false));
    Pass pass(model, forward_tokens, forward_tokens, false);
    std::vector<WiseReading> readings;
    evaluate_wise(pass, turns, forward_tokens, {}, &readings);

    std::vector<WiseFields> said;
    SampleConfig sample = sample_config;
    sample.max_new_tokens = std::min(sample.max_new_tokens, encoder.settings.response_tokens + 1);
    for (size_t i = 0; i < examples.size(); ++i) {
        const WiseTurn& turn = examples[i].turn;
        const WiseReading& z = readings[i];
        WiseFields fields;
        fields.intent = wise_intents()[best(z.intent)];
        fields.action = wise_actions()[best(z.action)];
        fields.keyphrases = encoder.phrases(turns[i].context, z.keyphrase);
        fields.queries = chosen(turn.queries, z.queries);
        fields.passages = chosen(turn.passages, z.passages);
        const WiseFields right = wise_gold(turn);
        if (gold[(int)WiseStage::id]) fields.intent = right.intent;
        if (gold[(int)WiseStage::ke]) fields.keyphrases = right.keyphrases;
        if (gold[(int)WiseStage::ap]) fields.action = right.action;
        std::vector<double> weights = scores_of(z.queries), more = scores_of(z.passages);
        if (gold[(int)WiseStage::qs])
            fields.queries = right.queries, weights.assign(right.queries.size(), 1);
        if (gold[(int)WiseStage::ps])
            fields.passages = right.passages, more.assign(right.passages.size(), 1);
        weights.insert(weights.end(), more.begin(), more.end());
        std::vector<WisePacked::Memory>& evidence = turns[i].evidence;
        turns[i].response = encoder.evidence(examples[i], fields, evidence);
        for (size_t m = 0; m < evidence.size(); ++m) evidence[m].weight = weights[m];
        said.push_back(std::move(fields));
    }
    auto answer = [&](size_t i, const std::vector<int32_t>& ids) {
        said[i].response = encoder.inputs.text(ids);
        said[i].response.erase(0, said[i].response.find_first_not_of(' '));
    };
    if (copy) {
        CHECK(sample.temperature == 0,
              "wise.copy=true answers with the likeliest tokens; set sample.temperature=0");
        const auto responses =
            copy_out(model, turns, sample.max_new_tokens, encoder.inputs.options.eos);
        for (size_t i = 0; i < responses.size(); ++i) answer(i, responses[i]);
        return said;
    }
    std::vector<std::vector<int32_t>> prompts;
    for (const WisePacked& turn : turns) {
        prompts.push_back(turn.context);
        prompts.back().insert(prompts.back().end(), turn.response.begin(), turn.response.end());
        sample.prefixes.push_back((int)turn.context.size());
    }
    for (const Completion& completion : generate(model, prompts, sample))
        answer(completion.prompt, completion.ids);
    return said;
}
