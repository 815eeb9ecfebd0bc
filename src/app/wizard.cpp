#include "app/wizard.h"

#include <algorithm>

void search_for(WizardTurn& turn, const std::vector<std::string>& keyphrases,
                const Wizard& wizard) {
    std::string query;
    for (const std::string& phrase : keyphrases) query += (query.empty() ? "" : " ") + phrase;
    auto gold = [](const std::vector<std::string>& list, const std::string& text) {
        return std::find(list.begin(), list.end(), text) != list.end();
    };
    const WiseUtterance& u = turn.turn.spoken();
    if (wizard.documents) {
        auto texts = std::make_shared<WisePassages>(*turn.texts);
        turn.turn.passages.clear();
        for (const DocumentHit& hit : wizard.documents->search(query, wizard.settings.passages)) {
            const std::string id = id_text(hit.id) + "-" + id_text(hit.passage);
            turn.turn.passages.push_back({id, gold(u.selected_passages, id)});
            (*texts)[id] = hit.text;
        }
        turn.texts = texts;
    }
    if (wizard.queries) {
        turn.turn.queries.clear();
        for (const DocumentHit& hit : wizard.queries->search(query, wizard.settings.queries))
            turn.turn.queries.push_back({hit.text, gold(u.selected_queries, hit.text)});
    }
}

namespace {

// A stage before which the writing stops: for the search, or as its field is given.
struct Break {
    WiseStage stage;
    bool search, given;
};

std::vector<Break> breaks_of(const Wizard& wizard) {
    const bool searches = wizard.documents || wizard.queries;
    std::vector<Break> breaks;
    for (int s = 0; s < wise_stages; ++s) {
        const bool search = searches && (WiseStage)s == WiseStage::ap;
        if (search || wizard.gold[s]) breaks.push_back({(WiseStage)s, search, wizard.gold[s]});
    }
    return breaks;
}

} // namespace

std::vector<WizardTurn> Wizard::write(const std::vector<WiseExample>& examples) const {
    const WiseTextLimits limits = text_limits(settings);
    const bool searches = documents || queries;
    std::vector<WizardTurn> turns;
    for (const WiseExample& example : examples)
        turns.push_back({"", {}, example.turn, example.texts});

    // Writes on, up to the tag of a stage (wise_stages: to the end).
    auto write_until = [&](int stop, bool searched) {
        std::vector<std::vector<int32_t>> prompts;
        for (size_t i = 0; i < turns.size(); ++i) {
            const WiseStages asked = searched ? asked_stages(examples[i]) : before_search;
            const std::string prompt =
                wise_prompt(turns[i].turn, *turns[i].texts, asked, searched, limits);
            prompts.push_back(parse_row({{"prompt", prompt}}, examples[i].conversation->where,
                                        inputs.options, RowNeed::prompt)
                                  .ids);
            for (int32_t id : inputs.tokenizer->encode(turns[i].text, false))
                prompts.back().push_back(id);
        }
        for (const Completion& completion : generate(model, prompts, sample)) {
            std::string more = inputs.text(completion.ids);
            if (stop < wise_stages)
                more.resize(std::min(more.find(wise_tag((WiseStage)stop)), more.size()));
            while (!more.empty() && more.back() == ' ') more.pop_back();
            turns[completion.prompt].text += more;
        }
    };
    bool searched = !searches;
    int next = 0; // stage from which on nothing is written
    for (const Break& one : breaks_of(*this)) {
        const int stage = (int)one.stage;
        if (stage > next) write_until(stage, searched);
        next = stage;
        for (size_t i = 0; i < turns.size(); ++i) {
            WizardTurn& turn = turns[i];
            if (one.search)
                search_for(turn,
                           parse_wise_text(turn.text, turn.turn, before_search).fields.keyphrases,
                           *this);
            const WiseStages asked = asked_stages(examples[i]);
            if (!one.given || !asked[stage]) continue;
            turn.text += wise_field_text(turn.turn, wise_gold(turn.turn), one.stage);
            // What follows is the next field's, whatever the model would have made of this one.
            if (stage + 1 < wise_stages && asked[stage + 1] && !gold[stage + 1])
                turn.text += " " + wise_tag((WiseStage)(stage + 1));
        }
        searched = searched || one.search;
        next += one.given;
    }
    if (next < wise_stages) write_until(wise_stages, searched);
    for (size_t i = 0; i < turns.size(); ++i)
        turns[i].said = parse_wise_text(turns[i].text, turns[i].turn, asked_stages(examples[i]));
    return turns;
}
