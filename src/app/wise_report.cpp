#include "app/wise_report.h"

#include "task/wise_metrics.h"

#include <algorithm>
#include <map>

constexpr size_t dialogues_shown = 5;

static ConfusionTable confusion(const char* name, const std::vector<WisePrediction>& turns,
                                std::string WiseFields::*label) {
    ConfusionTable table{name, {}, {}};
    auto number = [&](const std::string& text) {
        const std::string shown = text.empty() ? "(none)" : text;
        auto found = std::find(table.labels.begin(), table.labels.end(), shown);
        if (found == table.labels.end()) {
            table.labels.push_back(shown);
            for (std::vector<int>& row : table.count) row.push_back(0);
            table.count.push_back(std::vector<int>(table.labels.size(), 0));
            return table.labels.size() - 1;
        }
        return (size_t)(found - table.labels.begin());
    };
    for (const WisePrediction& turn : turns) {
        const size_t gold = number(turn.gold.*label);
        const size_t said = number(turn.predicted.*label);
        ++table.count[gold][said];
    }
    return table;
}

static std::string joined(const std::vector<std::string>& list, const Json& texts) {
    std::string text;
    for (const std::string& one : list)
        text += (text.empty() ? "" : " | ") +
                (texts.contains(one) ? texts[one].get<std::string>() : one);
    return text.empty() ? "-" : text;
}

static DialogueTurn dialogue_turn(const Json& row, const WisePrediction& turn) {
    const Json texts = row.value("texts", Json::object());
    const WiseFields &gold = turn.gold, &said = turn.predicted;
    DialogueTurn shown{row.value("user", std::string()), {}};
    auto stage = [&](const char* name, const std::string& one, const std::string& other) {
        shown.stages.push_back({name, one, other, one == other});
    };
    auto sorted = [](std::vector<std::string> list) {
        std::sort(list.begin(), list.end());
        return list;
    };
    stage("intent", said.intent, gold.intent);
    stage("keyphrases", joined(sorted(said.keyphrases), texts),
          joined(sorted(gold.keyphrases), texts));
    stage("action", said.action, gold.action);
    stage("queries", joined(sorted(said.queries), texts), joined(sorted(gold.queries), texts));
    stage("passages", joined(sorted(said.passages), texts), joined(sorted(gold.passages), texts));
    stage("response", said.response, gold.response);
    shown.stages.back().right =
        shown.stages.back().right || (!gold.contains.empty() && wise_success(turn));
    return shown;
}

static void add_numbers(const Json& at, const std::string& name, WiseRecord& record) {
    if (at.is_number()) record.metrics.push_back({name, at.get<double>()});
    if (at.is_object())
        for (auto& [key, value] : at.items())
            add_numbers(value, name.empty() ? key : name + " " + key, record);
}

WiseRecord wise_record(const std::string& predictions_path) {
    WiseRecord record;
    std::vector<WisePrediction> turns;
    std::vector<std::string> ids;
    for_each_row(predictions_path, [&](const Json& row, const std::string& where) {
        turns.push_back(parse_wise_prediction(row, where));
        const std::string id = dump_row(row.value("conversation_id", Json()));
        if (ids.empty() || ids.back() != id) ids.push_back(id);
        if (ids.size() > dialogues_shown) return;
        if (record.dialogues.size() < ids.size())
            record.dialogues.push_back({"Conversation " + id, {}});
        record.dialogues.back().turns.push_back(dialogue_turn(row, turns.back()));
    });
    add_numbers(wise_metrics(turns, false), "", record);
    record.tables = {confusion("Intents", turns, &WiseFields::intent),
                     confusion("Actions", turns, &WiseFields::action)};
    return record;
}
