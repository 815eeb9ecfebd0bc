#include "task/wise_metrics.h"

#include "task/overlap.h"
#include "text/bm25.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>

// ---- Reading

static std::vector<std::string> texts(const Json& object, const char* key,
                                      const std::string& where) {
    std::vector<std::string> result;
    auto list = object.find(key);
    if (list == object.end() || list->is_null()) return result;
    CHECK(list->is_array(), "%s: \"%s\" must be a list of strings", where.c_str(), key);
    for (const Json& item : *list) {
        CHECK(item.is_string(), "%s: \"%s\" must be a list of strings, found %.60s in it",
              where.c_str(), key, item.dump().c_str());
        result.push_back(item.get<std::string>());
    }
    return result;
}

static WiseFields parse_fields(const Json& row, const char* side, const std::string& where) {
    auto found = row.find(side);
    CHECK(found != row.end() && found->is_object(),
          "%s: \"%s\" must be an object of the six fields", where.c_str(), side);
    const std::string at = where + ": " + side;
    WiseFields fields;
    fields.intent = json_string_or(*found, "intent", "", at);
    fields.action = json_string_or(*found, "action", "", at);
    fields.keyphrases = texts(*found, "keyphrases", at);
    fields.queries = texts(*found, "queries", at);
    fields.passages = texts(*found, "passages", at);
    fields.response = json_string_or(*found, "response", "", at);
    fields.contains = texts(*found, "contains", at);
    return fields;
}

WisePrediction parse_wise_prediction(const Json& row, const std::string& where) {
    WisePrediction turn = {parse_fields(row, "gold", where), parse_fields(row, "predicted", where)};
    const WiseFields& gold = turn.gold;
    CHECK(gold.intent.empty() || wise_intent(gold.intent) >= 0,
          "%s: gold: \"intent\" is \"%s\", which is not one of the %zu intents", where.c_str(),
          gold.intent.c_str(), wise_intents().size());
    CHECK(gold.action.empty() || wise_action(gold.action) >= 0,
          "%s: gold: \"action\" is \"%s\", which is not one of the %zu actions", where.c_str(),
          gold.action.c_str(), wise_actions().size());
    return turn;
}

Json wise_fields_json(const WiseFields& fields) {
    Json row = {{"intent", fields.intent},     {"keyphrases", fields.keyphrases},
                {"action", fields.action},     {"queries", fields.queries},
                {"passages", fields.passages}, {"response", fields.response}};
    if (!fields.contains.empty()) row["contains"] = fields.contains;
    return row;
}

// ---- Success

static std::string words_of(const std::string& text) { // " in lower case "
    std::string words = " ";
    for_each_word(text, [&](std::string_view word) { (words += word) += ' '; });
    return words;
}

double wise_contained(const std::vector<std::string>& wanted, const std::string& text) {
    if (wanted.empty()) return 1;
    const std::string words = words_of(text);
    double there = 0;
    for (const std::string& one : wanted)
        there += (double)(words.find(words_of(one)) != std::string::npos);
    return there / (double)wanted.size();
}

bool wise_success(const WisePrediction& turn) {
    if (turn.gold.contains.empty()) return turn.predicted.action == turn.gold.action;
    return wise_contained(turn.gold.contains, turn.predicted.response) == 1;
}

static Json success(const std::vector<WisePrediction>& turns) {
    double successes = 0;
    bool known = false;
    for (const WisePrediction& turn : turns) {
        known = known || !turn.gold.contains.empty();
        successes += wise_success(turn);
    }
    return known ? Json(successes / (double)turns.size()) : Json();
}

// ---- Averages

namespace {

struct Mean {
    double sum = 0;
    int count = 0;
    void add(double value) { sum += value, ++count; }
    double value() const { return sum / count; }
};

// Mean over classes of the means within each; extra: what is added to the number of classes.
Json macro(const std::map<std::string, Mean>& classes, int extra) {
    Mean over;
    for (const auto& [name, mean] : classes) over.add(mean.value());
    if (over.count == 0) return nullptr;
    return over.sum / (over.count + extra);
}

struct Sets { // precision, recall and F1 by class
    std::map<std::string, Mean> precision, recall, f1;
    Json json(int extra) const {
        return {{"precision", macro(precision, extra)},
                {"recall", macro(recall, extra)},
                {"f1", macro(f1, extra)}};
    }
    void add(const std::string& name, double matches, double predicted, double gold) {
        if (predicted > 0) precision[name].add(matches / predicted);
        recall[name].add(matches / gold);
        f1[name].add(2 * matches / (predicted + gold));
    }
};

struct Overlap { // BLEU-1 and ROUGE-L by class
    std::map<std::string, Mean> bleu, rouge;
    Json json(int extra) const {
        return {{"bleu1", macro(bleu, extra)}, {"rouge_l", macro(rouge, extra)}};
    }
};

// F1 = 2 matches / (predicted + gold) is 2PR / (P + R) without its special cases.
Json classification(const std::vector<WisePrediction>& turns, std::string WiseFields::*label,
                    int extra) {
    std::map<std::string, double> matches, predicted, gold;
    for (const WisePrediction& turn : turns) {
        const std::string& right = turn.gold.*label;
        if (right.empty()) continue;
        ++gold[right], ++predicted[turn.predicted.*label];
        if (turn.predicted.*label == right) ++matches[right];
    }
    Sets classes;
    for (auto [name, count] : gold) classes.add(name, matches[name], predicted[name], count);
    return classes.json(extra);
}

Json selection(const std::vector<const WisePrediction*>& turns,
               std::vector<std::string> WiseFields::*list, int extra) {
    Sets classes;
    for (const WisePrediction* turn : turns) {
        std::set<std::string> gold((turn->gold.*list).begin(), (turn->gold.*list).end());
        std::set<std::string> predicted((turn->predicted.*list).begin(),
                                        (turn->predicted.*list).end());
        if (gold.empty()) continue;
        double matches = 0;
        for (const std::string& one : predicted) matches += (double)gold.count(one);
        classes.add(turn->gold.action, matches, (double)predicted.size(), (double)gold.size());
    }
    return classes.json(extra);
}

Json keyphrases(const std::vector<const WisePrediction*>& turns, bool released) {
    Overlap classes;
    for (const WisePrediction* turn : turns) {
        if (turn->gold.keyphrases.empty()) continue;
        std::vector<OverlapTokens> gold;
        for (const std::string& phrase : turn->gold.keyphrases)
            gold.push_back(wise_characters(phrase));
        Mean bleu, rouge;
        for (const std::string& phrase : turn->predicted.keyphrases) {
            bleu.add(bleu1(wise_characters(phrase), gold, released));
            rouge.add(rouge_l(wise_characters(phrase), gold));
        }
        if (bleu.count == 0 && released) continue;
        classes.bleu[turn->gold.action].add(bleu.count ? bleu.value() : 0);
        classes.rouge[turn->gold.action].add(bleu.count ? rouge.value() : 0);
    }
    return classes.json(released);
}

Json responses(const std::vector<const WisePrediction*>& turns, bool released) {
    Overlap classes;
    for (const WisePrediction* turn : turns) {
        if (turn->gold.response.empty()) continue;
        const OverlapTokens predicted = wise_characters(turn->predicted.response);
        const std::vector<OverlapTokens> gold = {wise_characters(turn->gold.response)};
        classes.bleu[turn->gold.action].add(bleu1(predicted, gold, released));
        classes.rouge[turn->gold.action].add(rouge_l(predicted, gold));
    }
    return classes.json(released);
}

} // namespace

Json wise_metrics(const std::vector<WisePrediction>& turns, bool released) {
    std::vector<const WisePrediction*> measured;
    for (const WisePrediction& turn : turns)
        if (wise_is_measured(turn.gold.action)) measured.push_back(&turn);
    return {{"id", classification(turns, &WiseFields::intent, 0)},
            {"ap", classification(turns, &WiseFields::action, released)},
            {"ke", keyphrases(measured, released)},
            {"qs", selection(measured, &WiseFields::queries, released)},
            {"ps", selection(measured, &WiseFields::passages, released)},
            {"rg", responses(measured, released)},
            {"success", success(turns)},
            {"turns", turns.size()}};
}
