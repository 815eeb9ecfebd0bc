#include "app/wise_heads.h"

#include <algorithm>

WiseEncoder::WiseEncoder(const Inputs& inputs_, const WiseSettings& settings_)
    : inputs(inputs_), settings(settings_) {
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
    auto some = [](const std::vector<uint8_t>& gold) {
        return std::find(gold.begin(), gold.end(), 1) != gold.end();
    };
    packed.has_intent = example.labelled(WiseStage::id) && example.turn.intent >= 0;
    packed.intent = std::max(0, example.turn.intent), packed.action = spoken.action;
    packed.has_action = example.labelled(WiseStage::ap);
    packed.has_keyphrases = example.labelled(WiseStage::ke) && !spoken.keyphrases.empty();
    packed.has_queries = example.labelled(WiseStage::qs) && some(packed.query_gold);
    packed.has_passages = example.labelled(WiseStage::ps) && some(packed.passage_gold);
    if (response && example.labelled(WiseStage::rg)) {
        packed.has_response = true;
        packed.response = evidence(example, wise_gold(example.turn));
        packed.response_first = (int)packed.response.size();
        for (int32_t id : encode(spoken.response, (size_t)settings.response_tokens))
            packed.response.push_back(id);
        packed.response.push_back(inputs.options.eos);
    }
    return packed;
}

std::vector<int32_t> WiseEncoder::evidence(const WiseExample& example,
                                           const WiseFields& fields) const {
    std::vector<int32_t> ids;
    auto add = [&](const std::string& text, int limit, int32_t cls) {
        ids.push_back(cls);
        for (int32_t id : encode(text, (size_t)limit)) ids.push_back(id);
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

static std::vector<std::string> chosen(const std::vector<WiseCandidate>& candidates,
                                       const std::vector<double>& z) {
    std::vector<std::string> result;
    for (size_t k = 0; k < candidates.size(); ++k)
        if (z[k] > 0) result.push_back(candidates[k].text);
    return result;
}

std::vector<WiseFields> wise_read(Model& model, const WiseEncoder& encoder,
                                  const std::vector<WiseExample>& examples, const WiseStages& gold,
                                  const SampleConfig& sample_config) {
    std::vector<WisePacked> turns;
    for (const WiseExample& example : examples) turns.push_back(encoder.pack(example, false));
    Pass pass(model, forward_tokens, forward_tokens, false);
    std::vector<WiseReading> readings;
    evaluate_wise(pass, turns, forward_tokens, {}, &readings);

    std::vector<WiseFields> said;
    std::vector<std::vector<int32_t>> prompts;
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
        if (gold[(int)WiseStage::qs]) fields.queries = right.queries;
        if (gold[(int)WiseStage::ps]) fields.passages = right.passages;
        prompts.push_back(turns[i].context);
        sample.prefixes.push_back((int)turns[i].context.size());
        for (int32_t id : encoder.evidence(examples[i], fields)) prompts.back().push_back(id);
        said.push_back(std::move(fields));
    }
    for (const Completion& completion : generate(model, prompts, sample)) {
        std::string text = encoder.inputs.text(completion.ids);
        text.erase(0, text.find_first_not_of(' '));
        said[completion.prompt].response = text;
    }
    return said;
}
