#include "text/verdicts.h"

#include "base/check.h"

#include <algorithm>

namespace {

bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r'); }
bool is_digit(char c) { return c >= '0' && c <= '9'; }

bool starts_with_step(std::string_view text) {
    static const char word[] = "step";
    for (size_t i = 0; i < 4; ++i)
        if (i >= text.size() || (text[i] | 0x20) != word[i]) return false;
    return true;
}

// What follows the brace that opens at text[begin - 1]: its inside, without the closing brace.
std::optional<std::string_view> braced(std::string_view text, size_t begin) {
    int depth = 1;
    for (size_t at = begin; at < text.size(); ++at) {
        if (text[at] == '{') ++depth;
        if (text[at] == '}' && --depth == 0) return text.substr(begin, at - begin);
    }
    return std::nullopt;
}

struct List {
    bool is_list = false;
    bool brackets = false;
    std::vector<int> items; // numbers too large for an int are INT32_MAX
    bool empty() const { return !brackets && items.empty(); }
};

// Integers or "step N" between commas or white space.
bool read_items(std::string_view text, std::vector<int>& items) {
    for (size_t at = 0; at < text.size();) {
        if (is_space(text[at]) || text[at] == ',') {
            ++at;
            continue;
        }
        if (starts_with_step(text.substr(at)))
            for (at += 4; at < text.size() && is_space(text[at]);) ++at;
        bool negative = at < text.size() && text[at] == '-';
        at += negative;
        if (at == text.size() || !is_digit(text[at])) return false;
        int64_t number = 0;
        for (; at < text.size() && is_digit(text[at]); ++at)
            number = std::min<int64_t>(number * 10 + (text[at] - '0'), INT32_MAX);
        if (at < text.size() && !is_space(text[at]) && text[at] != ',') return false;
        items.push_back((int)(negative ? -number : number));
    }
    return true;
}

std::string_view trimmed(std::string_view text) {
    while (!text.empty() && is_space(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_space(text.back())) text.remove_suffix(1);
    return text;
}

// A list without braces and commands in it.
List read_plain_list(std::string_view text) {
    List list;
    text = trimmed(text);
    if (!text.empty() && text.front() == '[') {
        list.brackets = true;
        if (text.size() < 2 || text.back() != ']') return list;
        text = text.substr(1, text.size() - 2);
    }
    list.is_list = read_items(text, list.items);
    return list;
}

// Without inner braces, and without \text{..} that is not itself a list.
std::string without_commands(std::string_view text) {
    std::string plain;
    for (size_t at = 0; at < text.size();) {
        static const std::string_view command = "\\text{";
        if (text.substr(at, command.size()) == command) {
            if (auto inside = braced(text, at + command.size())) {
                List list = read_plain_list(*inside);
                plain += list.is_list && !list.empty() ? std::string(*inside) : " ";
                at += command.size() + inside->size() + 1;
                continue;
            }
        }
        bool escaped = text[at] == '\\' && at + 1 < text.size() &&
                       (text[at + 1] == '{' || text[at + 1] == '}');
        if (!escaped && text[at] != '{' && text[at] != '}') plain += text[at];
        ++at;
    }
    return plain;
}

} // namespace

Critique parse_critique(std::string_view text, int steps) {
    static const std::string_view command = "\\boxed{";
    Critique critique;
    const char* why_not = critique_without_box;
    for (size_t at = 0; (at = text.find(command, at)) != std::string_view::npos;) {
        at += command.size();
        auto inside = braced(text, at);
        if (!inside) {
            why_not = critique_cut_off;
            continue;
        }
        List list = read_plain_list(without_commands(*inside));
        if (!list.is_list) {
            why_not = critique_other_box;
        } else if (list.empty()) {
            why_not = critique_empty_box;
        } else {
            critique.wrong.emplace();
            for (int step : list.items)
                if (step >= 0 && step < steps) critique.wrong->push_back(step);
        }
    }
    if (!critique.wrong) {
        critique.why_not = why_not;
        return critique;
    }
    std::vector<int>& wrong = *critique.wrong;
    std::sort(wrong.begin(), wrong.end());
    wrong.erase(std::unique(wrong.begin(), wrong.end()), wrong.end());
    return critique;
}

Votes vote(std::span<const Critique> critiques, int steps, const std::string& rule,
           bool tie_is_wrong) {
    Votes votes;
    votes.count.assign(steps, 0), votes.penalty.assign(steps, 0);
    for (const Critique& critique : critiques) {
        if (!critique.wrong) continue;
        ++votes.valid;
        for (int step : *critique.wrong) ++votes.count[step];
    }
    const bool greedy = rule == "greedy";
    const int k = votes.valid;
    votes.voted = greedy ? !critiques.empty() && critiques[0].wrong : k > 0;
    if (!votes.voted) return votes;
    for (int s = 0; s < steps; ++s) {
        const int c = votes.count[s];
        bool wrong;
        if (greedy)
            wrong = std::ranges::binary_search(*critiques[0].wrong, s);
        else if (rule == "majority")
            wrong = 2 * c > k || (2 * c == k && tie_is_wrong);
        else if (rule == "intersection")
            wrong = c == k;
        else if (rule == "union")
            wrong = c >= 1;
        else if (rule == "average")
            wrong = 2 * c > k;
        else
            fail("\"%s\" is no vote; majority, intersection, union, average and greedy are",
                 rule.c_str());
        if (wrong) votes.wrong.push_back(s);
        votes.penalty[s] = rule == "average" ? (double)c / k : wrong;
    }
    return votes;
}

std::optional<std::vector<SentenceVerdict>> parse_verdicts(std::string_view text, int sentences,
                                                           std::string& why_not) {
    std::vector<SentenceVerdict> verdicts;
    size_t at = 0;
    auto take = [&](const std::string& wanted) {
        if (text.substr(at, wanted.size()) != wanted) return false;
        at += wanted.size();
        return true;
    };
    auto score = [&](int& value) { // 0 or 1
        if (at == text.size() || (text[at] != '0' && text[at] != '1')) return false;
        value = text[at++] - '0';
        return true;
    };
    auto refuse = [&](const std::string& why) {
        why_not = why;
        return std::nullopt;
    };
    static const std::string faithfulness = "faithfulness: ", correctness = " | correctness: ";
    for (int s = 1; s <= sentences; ++s) {
        SentenceVerdict verdict;
        if (s > 1 && !take("\r\n") && !take("\n"))
            return refuse(at == text.size() ? "too few lines" : "more behind a correctness");
        if (at == text.size()) return refuse("too few lines");
        if (!take("[" + std::to_string(s) + "] ")) return refuse("a line is not numbered in order");
        if (!take(faithfulness) || !score(verdict.faithful))
            return refuse("a line has no faithfulness of 0 or 1");
        if (!take(" | reason:")) return refuse("a line has no reason");
        const size_t line_end = std::min(text.find('\n', at), text.size());
        const std::string_view line = text.substr(at, line_end - at);
        const size_t found = line.find(correctness);
        if (found == std::string_view::npos) return refuse("a line has no correctness of 0 or 1");
        if (line.find(correctness, found + 1) != std::string_view::npos ||
            line.find(" | " + faithfulness) != std::string_view::npos)
            return refuse("a line has a score twice");
        if (line[0] != ' ') return refuse("a line has no reason");
        verdict.reason = found == 0 ? "" : line.substr(1, found - 1);
        at += found + correctness.size();
        if (!score(verdict.correct)) return refuse("a line has no correctness of 0 or 1");
        verdict.end = at;
        verdicts.push_back(std::move(verdict));
    }
    if (!take("\r\n")) take("\n");
    if (at < text.size()) return refuse("more behind the last line");
    return verdicts;
}

std::optional<std::vector<SentenceVerdict>> parse_verdicts(std::span<const int32_t> ids,
                                                           const VerdictTokens& tokens,
                                                           int sentences, std::string& why_not) {
    std::vector<SentenceVerdict> verdicts;
    auto score = [](int32_t id, const int32_t(&values)[2]) {
        return id == values[0] ? 0 : id == values[1] ? 1 : -1;
    };
    auto refuse = [&](const char* why) {
        why_not = why;
        return std::nullopt;
    };
    size_t at = 0;
    for (int s = 0; s < sentences; ++s) {
        SentenceVerdict verdict;
        if (at == ids.size()) return refuse("too few blocks");
        verdict.faithful = score(ids[at++], tokens.faithful);
        if (verdict.faithful < 0) return refuse("a block does not begin with its faithfulness");
        verdict.correct = -1;
        while (at < ids.size() && verdict.correct < 0) {
            if (score(ids[at], tokens.faithful) >= 0) return refuse("a block has a score twice");
            if (ids[at] == tokens.eos) break;
            verdict.correct = score(ids[at++], tokens.correct);
        }
        if (verdict.correct < 0) return refuse("a block has no correctness");
        verdict.end = at;
        verdicts.push_back(verdict);
    }
    if (at == ids.size()) return refuse("no end of the sequence");
    if (ids[at] != tokens.eos || at + 1 < ids.size()) return refuse("more behind the last block");
    return verdicts;
}
