#include "task/wise_text.h"

#include "task/overlap.h"
#include "text/bm25.h"

#include <algorithm>
#include <set>

static const char* const user = "[User]";
static const char* const wizard = "[System]";
static const char* const queries = "[Queries]";
static const char* const passages_head = "[Passages]";
static const char* const turn_head = "[Turn]";
static std::string number(size_t i) { return "[" + std::to_string(i + 1) + "]"; }
static std::string tag(int stage) { return std::string("<") + wise_text_fields[stage] + ">"; }
std::string wise_tag(WiseStage stage) { return tag((int)stage); }

std::vector<std::string> wise_markers() {
    std::vector<std::string> markers = {user, wizard, queries, passages_head, turn_head};
    for (int s = 0; s < wise_stages; ++s) markers.push_back(tag(s));
    for (int i = 0; i < 10; ++i) markers.push_back(number(i));
    for (const char* cls : {"[I-CLS]", "[A-CLS]", "[Q-CLS]", "[P-CLS]"}) markers.push_back(cls);
    return markers;
}

static int words_of(const std::string& text) {
    int count = 0;
    for_each_word(text, [&](std::string_view) { ++count; });
    return count;
}

std::string wise_prompt(const WiseTurn& turn, const WisePassages& passages, const WiseStages& asked,
                        bool candidates, const WiseTextLimits& limits) {
    // Whole utterances, the newest ones; the last one always.
    std::vector<std::string> lines;
    int words = 0;
    for (int u = turn.utterance - 1; u >= 0; --u) {
        const WiseUtterance& one = turn.conversation->utterances[u];
        words += words_of(one.response) + 1;
        if (words > limits.context_words && !lines.empty()) break;
        lines.push_back(std::string(one.system ? wizard : user) + " " + one.response + "\n");
    }
    if (!limits.newest_first) std::reverse(lines.begin(), lines.end());
    std::string text;
    for (const std::string& line : lines) text += line;
    if (candidates) {
        text += std::string(queries) + "\n";
        for (size_t i = 0; i < turn.queries.size(); ++i)
            text += number(i) + " " + turn.queries[i].text + "\n";
        text += std::string(passages_head) + "\n";
        for (size_t i = 0; i < turn.passages.size(); ++i)
            text += number(i) + " " + passages.at(turn.passages[i].text) + "\n";
    }
    text += turn_head;
    for (int s = 0; s < wise_stages; ++s)
        if (asked[s]) text += std::string(" ") + wise_text_fields[s];
    return text + "\n";
}

// ---- Writing a turn -----------------------------------------------------------------------------

static std::string joined(const std::vector<std::string>& items) {
    std::string text;
    for (const std::string& item : items) text += (text.empty() ? "" : " | ") + item;
    return text.empty() ? "-" : text;
}

static std::string numbers(const std::vector<std::string>& chosen,
                           const std::vector<WiseCandidate>& candidates) {
    std::vector<std::string> result;
    for (size_t i = 0; i < candidates.size(); ++i)
        if (std::find(chosen.begin(), chosen.end(), candidates[i].text) != chosen.end())
            result.push_back(std::to_string(i + 1));
    return joined(result);
}

std::string wise_field_text(const WiseTurn& turn, const WiseFields& fields, WiseStage stage) {
    std::string value;
    switch (stage) {
    case WiseStage::id:
        value = fields.intent.empty() ? "-" : fields.intent;
        break;
    case WiseStage::ke:
        value = joined(fields.keyphrases);
        break;
    case WiseStage::ap:
        value = fields.action;
        break;
    case WiseStage::qs:
        value = numbers(fields.queries, turn.queries);
        break;
    case WiseStage::ps:
        value = numbers(fields.passages, turn.passages);
        break;
    case WiseStage::rg:
        value = fields.response;
        break;
    }
    return " " + tag((int)stage) + " " + value;
}

std::string wise_completion(const WiseTurn& turn, const WiseFields& fields,
                            const WiseStages& asked) {
    std::string text;
    for (int s = 0; s < wise_stages; ++s)
        if (asked[s]) text += wise_field_text(turn, fields, (WiseStage)s);
    return text.substr(std::min<size_t>(1, text.size()));
}

// ---- Reading it ---------------------------------------------------------------------------------

static std::string trimmed(const std::string& text) {
    const char* white = " \t\r\n";
    size_t begin = text.find_first_not_of(white);
    if (begin == std::string::npos) return "";
    return text.substr(begin, text.find_last_not_of(white) + 1 - begin);
}

static std::vector<std::string> split(const std::string& text) { // at "|"; "-" is nothing
    std::vector<std::string> items;
    for (size_t at = 0; at <= text.size();) {
        size_t end = std::min(text.find('|', at), text.size());
        std::string item = trimmed(text.substr(at, end - at));
        if (!item.empty() && item != "-" &&
            std::find(items.begin(), items.end(), item) == items.end())
            items.push_back(item);
        at = end + 1;
    }
    return items;
}

static std::vector<std::string> chosen(const std::string& text,
                                       const std::vector<WiseCandidate>& candidates) {
    std::vector<std::string> result;
    for (const std::string& item : split(text))
        for (size_t i = 0; i < candidates.size(); ++i)
            if (item == std::to_string(i + 1)) result.push_back(candidates[i].text);
    return result;
}

WiseSaid parse_wise_text(const std::string& completion, const WiseTurn& turn,
                         const WiseStages& asked) {
    WiseSaid said;
    size_t last = 0; // where the field before begins
    for (int s = 0; s < wise_stages; ++s) {
        if (!asked[s]) continue;
        const std::string name = tag(s);
        const size_t at = completion.find(name);
        auto why_not = [&](const char* why) {
            if (said.why_not.empty()) said.why_not = name + " " + why;
        };
        if (at == std::string::npos) {
            why_not("is missing");
            continue;
        }
        if (completion.find(name, at + 1) != std::string::npos) why_not("stands twice");
        if (at < last) why_not("is out of order");
        last = at;
        const size_t begin = at + name.size();
        size_t end = completion.size();
        for (int other = 0; other < wise_stages; ++other)
            end = std::min(end, completion.find(tag(other), begin));
        said.found[s] = true, said.begin[s] = at, said.end[s] = end;
        const std::string value = trimmed(completion.substr(begin, end - begin));
        switch ((WiseStage)s) {
        case WiseStage::id:
            said.fields.intent = value == "-" ? "" : value;
            break;
        case WiseStage::ke:
            said.fields.keyphrases = split(value);
            break;
        case WiseStage::ap:
            said.fields.action = value;
            break;
        case WiseStage::qs:
            said.fields.queries = chosen(value, turn.queries);
            break;
        case WiseStage::ps:
            said.fields.passages = chosen(value, turn.passages);
            break;
        case WiseStage::rg:
            said.fields.response = value;
            break;
        }
    }
    return said;
}

// ---- Gold ---------------------------------------------------------------------------------------

WiseFields wise_gold(const WiseTurn& turn) {
    const WiseUtterance& u = turn.spoken();
    WiseFields gold;
    if (turn.intent >= 0) gold.intent = wise_intents()[turn.intent];
    gold.action = wise_actions()[u.action];
    gold.keyphrases = u.keyphrases, gold.response = u.response, gold.contains = u.contains;
    for (const WiseCandidate& one : turn.queries)
        if (one.selected) gold.queries.push_back(one.text);
    for (const WiseCandidate& one : turn.passages)
        if (one.selected) gold.passages.push_back(one.text);
    return gold;
}

static double f1(const std::vector<std::string>& gold, const std::vector<std::string>& said) {
    if (gold.empty() && said.empty()) return 1;
    double common = 0;
    for (const std::string& one : said)
        common += (double)(std::find(gold.begin(), gold.end(), one) != gold.end());
    return 2 * common / (double)(gold.size() + said.size());
}

double wise_field_score(const WiseTurn& turn, const WiseFields& said, WiseStage stage) {
    const WiseFields gold = wise_gold(turn);
    switch (stage) {
    case WiseStage::id:
        return said.intent == gold.intent;
    case WiseStage::ap:
        return said.action == gold.action;
    case WiseStage::ke:
        return f1(gold.keyphrases, said.keyphrases);
    case WiseStage::qs:
        return f1(gold.queries, said.queries);
    case WiseStage::ps:
        return f1(gold.passages, said.passages);
    case WiseStage::rg:
        break;
    }
    if (!gold.contains.empty()) return wise_contained(gold.contains, said.response);
    return rouge_l(wise_characters(said.response), {wise_characters(gold.response)});
}
