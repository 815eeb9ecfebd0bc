#include "task/wise.h"

#include "base/rng.h"
#include "text/unicode.h"

#include <algorithm>
#include <set>

static const char* const intents[] = {
    "Request-Rephrase", "Chitchat",         "Revise",        "Reveal",
    "Interpret",        "Feedback-Perfect", "Feedback-Good", "Feedback-Fair",
    "Feedback-Bad",     "Request-Summary",  "Request-Link",  "Request-Recommendation"};
static const char* const actions[] = {"Clarify-Choice",
                                      "Clarify-Yes_no",
                                      "Clarify-Open",
                                      "Recommend",
                                      "Answer-Summary",
                                      "Answer-Link",
                                      "Answer-NoAnswer",
                                      "Answer-fact-list",
                                      "Answer-fact-link",
                                      "Answer-fact-text",
                                      "Answer-fact-steps",
                                      "Answer-open-list",
                                      "Answer-open-link",
                                      "Answer-open-text",
                                      "Answer-open-steps",
                                      "Answer-opinion-text",
                                      "Answer-opinion-list",
                                      "Answer-opinion-link",
                                      "Unknown",
                                      "Request-Feedback",
                                      "Request-Rephrase",
                                      "Chitchat",
                                      "Revise"};

std::span<const char* const> wise_intents() { return intents; }
std::span<const char* const> wise_actions() { return actions; }

static int number_of(const std::string& label, std::span<const char* const> table) {
    auto found = std::find(table.begin(), table.end(), label);
    return found == table.end() ? -1 : (int)(found - table.begin());
}
int wise_intent(const std::string& label) { return number_of(label, intents); }
int wise_action(const std::string& label) { return number_of(label, actions); }

bool wise_is_measured(const std::string& action) {
    return action.rfind("Clarify", 0) == 0 || action.rfind("Answer", 0) == 0;
}

WisePassages wise_passages(const std::vector<Document>& documents) {
    WisePassages passages;
    for (const Document& document : documents)
        for (const Passage& passage : document.passages)
            passages[id_text(document.id) + "-" + id_text(passage.id)] = passage.text;
    return passages;
}

// ---- Reading

static std::vector<std::string> strings(const Json& object, const char* key,
                                        const std::string& where) {
    auto list = object.find(key);
    CHECK(list != object.end() && list->is_array(),
          "%s: \"%s\" must be a list of strings, found %s", where.c_str(), key,
          list == object.end() ? "none" : list->dump().substr(0, 60).c_str());
    std::vector<std::string> result;
    for (const Json& item : *list) {
        CHECK(item.is_string(), "%s: \"%s\" must be a list of strings, found %.60s in it",
              where.c_str(), key, item.dump().c_str());
        result.push_back(item.get<std::string>());
    }
    return result;
}

static int label(const Json& object, const char* key, std::span<const char* const> table,
                 const std::string& where) {
    std::string name;
    for (const std::string& part : strings(object, key, where))
        name += (name.empty() ? "" : "-") + part;
    int number = number_of(name, table);
    if (number >= 0) return number;
    std::string known;
    for (const char* one : table) known += std::string(known.empty() ? "" : ", ") + one;
    fail("%s: \"%s\" is [%s], which is not one of %s", where.c_str(), key, name.c_str(),
         known.c_str());
}

static Json required(const Json& object, const char* key, const std::string& where) {
    CHECK(object.contains(key) && !object[key].is_null(), "%s: \"%s\" is missing", where.c_str(),
          key);
    return object[key];
}

static WiseUtterance parse_utterance(const Json& object, const WisePassages& passages,
                                     const std::string& where) {
    CHECK(object.is_object(), "%s must be an object, found %s", where.c_str(), object.type_name());
    WiseUtterance utterance;
    utterance.msg_id = json_int(object, "msg_id", where);
    utterance.turn_id = json_int(object, "turn_id", where);
    utterance.response = json_string(object, "response", where);
    const std::string role = json_string(object, "role", where);
    CHECK(role == "user" || role == "system", "%s: \"role\" is \"%s\"; it must be user or system",
          where.c_str(), role.c_str());
    if (role == "user") {
        utterance.intent = label(object, "intent", intents, where);
        return utterance;
    }
    utterance.system = true;
    utterance.action = label(object, "action", actions, where);
    utterance.keyphrases = strings(object, "state", where);
    utterance.query_candidates = strings(object, "query_candidate", where);
    utterance.selected_queries = strings(object, "selected_query", where);
    utterance.passage_candidates = strings(object, "passage_candidate", where);
    utterance.selected_passages = strings(object, "selected_passage", where);
    for (auto [key, list] : {std::pair{"query_candidate", &utterance.query_candidates},
                             std::pair{"selected_query", &utterance.selected_queries}})
        for (const std::string& query : *list)
            CHECK(!query.empty(), "%s: \"%s\" holds an empty query; leave it out", where.c_str(),
                  key);
    if (object.contains("contains")) utterance.contains = strings(object, "contains", where);
    for (auto [key, list] : {std::pair{"passage_candidate", &utterance.passage_candidates},
                             std::pair{"selected_passage", &utterance.selected_passages}})
        for (const std::string& id : *list)
            CHECK(passages.count(id),
                  "%s: \"%s\" names the passage %s, which the document file does not have",
                  where.c_str(), key, id.c_str());
    return utterance;
}

WiseConversation parse_wise(const Json& row, const WisePassages& passages,
                            const std::string& where) {
    WiseConversation conversation;
    conversation.where = where;
    conversation.id = json_int(row, "conversation_id", where);
    conversation.background = json_string_or(row, "intent", "", where);
    if (row.contains("stages")) {
        conversation.labelled.fill(false);
        for (const std::string& name : strings(row, "stages", where)) {
            int stage = number_of(name, wise_stage_names);
            CHECK(stage >= 0,
                  "%s: \"stages\" names \"%s\"; the sub-tasks are id, ke, ap, qs, ps, rg",
                  where.c_str(), name.c_str());
            conversation.labelled[stage] = true;
        }
    }
    const Json list = required(row, "conversations", where);
    CHECK(list.is_array(), "%s: \"conversations\" must be a list of utterances", where.c_str());
    bool user = false;
    for (size_t i = 0; i < list.size(); ++i) {
        conversation.utterances.push_back(
            parse_utterance(list[i], passages, format("%s: conversations[%zu]", where.c_str(), i)));
        user = user || !conversation.utterances.back().system;
    }
    CHECK(user, "%s: no utterance of \"conversations\" is a user's", where.c_str());
    return conversation;
}

std::vector<WiseConversation> read_wise(const std::string& path, const WisePassages& passages) {
    std::vector<WiseConversation> conversations;
    for_each_row(path, [&](const Json& row, const std::string& where) {
        conversations.push_back(parse_wise(row, passages, where));
    });
    return conversations;
}

// ---- Writing

static Json label_json(const std::string& name) { // "Answer-fact-text": ["Answer", "fact-text"]
    size_t at = name.find('-');
    if (at == std::string::npos) return Json::array({name});
    return Json::array({name.substr(0, at), name.substr(at + 1)});
}

Json wise_json(const WiseConversation& conversation) {
    Json list = Json::array();
    for (const WiseUtterance& u : conversation.utterances) {
        Json& row = list.emplace_back(Json{{"msg_id", u.msg_id}, {"turn_id", u.turn_id}});
        row["role"] = u.system ? "system" : "user";
        if (u.system) {
            row["state"] = u.keyphrases;
            row["query_candidate"] = u.query_candidates;
            row["selected_query"] = u.selected_queries;
            row["passage_candidate"] = u.passage_candidates;
            row["selected_passage"] = u.selected_passages;
            row["action"] = label_json(actions[u.action]);
        } else {
            row["intent"] = label_json(intents[u.intent]);
        }
        row["response"] = u.response;
        if (!u.contains.empty()) row["contains"] = u.contains;
    }
    Json row = {{"conversation_id", conversation.id}, {"intent", conversation.background}};
    const auto& labelled = conversation.labelled;
    if (!std::all_of(labelled.begin(), labelled.end(), [](bool has) { return has; })) {
        Json& stages = row["stages"] = Json::array();
        for (int s = 0; s < wise_stages; ++s)
            if (labelled[s]) stages.push_back(wise_stage_names[s]);
    }
    row["conversations"] = list;
    return row;
}

Json wise_json(const Document& document) {
    Json passages = Json::array();
    for (const Passage& passage : document.passages)
        passages.push_back({{"id", passage.id},
                            {"sentences", Json::array({Json{{"id", 0}, {"text", passage.text}}})}});
    return {{"id", document.id}, {"title", document.title}, {"passages", passages}};
}

// ---- Turns

static std::vector<WiseCandidate> candidates(const std::vector<std::string>& all,
                                             const std::vector<std::string>& selected, int limit,
                                             Rng rng) {
    std::vector<WiseCandidate> result;
    auto known = [&](const std::string& text) {
        return std::any_of(result.begin(), result.end(),
                           [&](const WiseCandidate& one) { return one.text == text; });
    };
    for (const std::string& text : selected)
        if ((int)result.size() < limit && !known(text)) result.push_back({text, true});
    for (const std::string& text : all)
        if ((int)result.size() < limit && !known(text)) result.push_back({text, false});
    rng.shuffle(result);
    return result;
}

std::vector<WiseTurn> wise_turns(const std::vector<WiseConversation>& conversations,
                                 const WiseLimits& limits) {
    std::vector<WiseTurn> turns;
    for (size_t c = 0; c < conversations.size(); ++c) {
        int intent = -1;
        const auto& utterances = conversations[c].utterances;
        for (size_t u = 0; u < utterances.size(); ++u) {
            const WiseUtterance& one = utterances[u];
            if (!one.system) {
                intent = one.intent;
                continue;
            }
            WiseTurn& turn = turns.emplace_back();
            turn.conversation = &conversations[c], turn.utterance = (int)u, turn.intent = intent;
            const uint64_t stream = (c << 20 | u) * 2;
            turn.queries = candidates(one.query_candidates, one.selected_queries, limits.queries,
                                      Rng(limits.seed, stream));
            turn.passages = candidates(one.passage_candidates, one.selected_passages,
                                       limits.passages, Rng(limits.seed, stream + 1));
        }
    }
    return turns;
}

// ---- Encoding

WiseTokens wise_characters(const std::string& text) {
    WiseTokens tokens;
    const std::string valid = valid_utf8(text);
    for (size_t at = 0; at < valid.size();) {
        int32_t c = next_code_point(valid, at);
        if (is_white_space(c)) continue;
        append_utf8(tokens.emplace_back(), lower_case(c));
    }
    return tokens;
}

WiseTokens wise_context(const WiseTurn& turn, size_t limit, bool newest_first,
                        const std::function<WiseTokens(const std::string&)>& tokenize) {
    WiseTokens front = {"[I-CLS]", "[A-CLS]"};
    std::vector<WiseTokens> said; // newest first
    for (int u = turn.utterance - 1; u >= 0; --u) {
        const WiseUtterance& one = turn.conversation->utterances[u];
        WiseTokens& tokens = said.emplace_back(WiseTokens{one.system ? "[System]" : "[User]"});
        for (std::string& token : tokenize(one.response)) tokens.push_back(std::move(token));
    }
    // The oldest utterance is cut at its end, as the authors do.
    size_t length = front.size();
    for (WiseTokens& tokens : said) {
        tokens.resize(std::min(tokens.size(), limit > length ? limit - length : 0));
        length += tokens.size();
    }
    if (!newest_first) std::reverse(said.begin(), said.end());
    for (const WiseTokens& tokens : said) front.insert(front.end(), tokens.begin(), tokens.end());
    front.resize(std::min(front.size(), limit));
    return front;
}

double wise_similarity(const WiseTokens& a, const WiseTokens& b) {
    std::set<std::string> of_a(a.begin(), a.end()), of_b(b.begin(), b.end());
    size_t common = 0;
    for (const std::string& token : of_a) common += of_b.count(token);
    const size_t all = a.size() + b.size() - common;
    return all == 0 ? 0 : (double)common / (double)all;
}

std::vector<uint8_t> wise_keyphrase_tags(const WiseTokens& context,
                                         const std::vector<WiseTokens>& phrases) {
    std::vector<uint8_t> tags(context.size(), 0);
    for (const WiseTokens& phrase : phrases) {
        const size_t n = phrase.size();
        if (n == 0 || n > context.size()) continue;
        bool exact = false;
        double best = 0.1;
        size_t window = context.size(); // where the most similar one begins
        for (size_t at = 0; at + n <= context.size(); ++at) {
            if (std::equal(phrase.begin(), phrase.end(), context.begin() + at)) {
                exact = true;
                std::fill_n(tags.begin() + at, n, 1);
            }
            double similarity =
                wise_similarity({context.begin() + at, context.begin() + at + n}, phrase);
            if (similarity >= best) best = similarity, window = at;
        }
        if (!exact && n > 1 && window < context.size()) std::fill_n(tags.begin() + window, n, 1);
    }
    return tags;
}
