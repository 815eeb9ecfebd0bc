#include "app/judge/answers.h"

#include "text/verdicts.h"

namespace {

// The first of the keys that the row has.
const char* key_of(const Json& row, std::initializer_list<const char*> keys) {
    for (const char* key : keys)
        if (row.contains(key) && !row[key].is_null()) return key;
    return nullptr;
}

void check_documents(const Json& row, const std::string& where) {
    if (!key_of(row, {"documents"})) return;
    const Json& documents = row["documents"];
    CHECK(documents.is_array(),
          "%s: \"documents\" must be a list of {\"id\", \"title\"?, \"text\"}", where.c_str());
    for (size_t i = 0; i < documents.size(); ++i)
        json_string(documents[i], "text", format("%s: documents[%zu]", where.c_str(), i));
}

// Spans that the row brings along: [[begin, end], ..] or [{"start", "end"}, ..], bytes of the response.
std::vector<Segment> own_sentences(const Json& list, size_t size, const std::string& where) {
    CHECK(list.is_array(), "%s: \"sentences\" must be a list", where.c_str());
    std::vector<Segment> spans;
    size_t before = 0;
    for (size_t i = 0; i < list.size(); ++i) {
        const Json& item = list[i];
        const std::string at = format("%s: sentences[%zu]", where.c_str(), i);
        int64_t begin, end;
        if (item.is_array()) {
            CHECK(item.size() == 2 && item[0].is_number_integer() && item[1].is_number_integer(),
                  "%s must be [begin, end]", at.c_str());
            begin = item[0], end = item[1];
        } else {
            begin = json_int(item, "start", at), end = json_int(item, "end", at);
        }
        CHECK(
            (int64_t)before <= begin && begin <= end && end <= (int64_t)size,
            "%s is [%lld, %lld]; sentences must follow one another within the response's %zu bytes",
            at.c_str(), (long long)begin, (long long)end, size);
        spans.push_back({(size_t)begin, before = (size_t)end});
    }
    return spans;
}

std::vector<std::string> stored_texts(const Json& list, const std::string& where) {
    CHECK(list.is_array(), "%s: \"critiques\" must be a list of texts", where.c_str());
    std::vector<std::string> texts;
    for (size_t i = 0; i < list.size(); ++i) {
        const Json& item = list[i]; // a text, or what `judge` wrote of one
        if (item.is_object()) {
            texts.push_back(
                json_string(item, "text", format("%s: critiques[%zu]", where.c_str(), i)));
            continue;
        }
        CHECK(item.is_string(), "%s: critiques[%zu] must be a text, found %.60s", where.c_str(), i,
              item.dump().c_str());
        texts.push_back(item.get<std::string>());
    }
    return texts;
}

void read_tokens(AnswerToJudge& answer, const Tokenizer& tokenizer) {
    const std::vector<int32_t> ids = json_ids(answer.source, "completion_ids", answer.where);
    std::vector<size_t> begins;
    const std::string text = tokenizer.decode(ids, true, &begins);
    size_t same = 0;
    while (same < std::min(text.size(), answer.response.size()) &&
           text[same] == answer.response[same])
        ++same;
    CHECK(same == text.size() && same == answer.response.size(),
          "%s: completion_ids give a text that differs from the response from byte %zu on (%zu "
          "bytes against %zu); model.path must be the model whose tokenizer wrote the ids",
          answer.where.c_str(), same, text.size(), answer.response.size());
    answer.has_ids = true;
    answer.token_segment = token_segments(begins, answer.segments);
}

Json spans_json(const std::vector<Segment>& segments) {
    Json list = Json::array();
    for (const Segment& segment : segments) list.push_back({segment.begin, segment.end});
    return list;
}

void put_critiques(Json& line, const AnswerToJudge& answer, const JudgeSettings& settings,
                   JudgeCounts& counts) {
    const int steps = (int)answer.segments.size();
    line["steps"] = spans_json(answer.segments);
    Json& list = line["critiques"] = Json::array();
    std::vector<Critique> critiques;
    for (const std::string& text : answer.texts) {
        const Critique& critique = critiques.emplace_back(parse_critique(text, steps));
        Json& item = list.emplace_back(Json{{"text", text}, {"wrong", nullptr}});
        ++counts.critiques;
        if (critique.wrong) {
            item["wrong"] = *critique.wrong;
        } else {
            item["why_not"] = critique.why_not;
            ++counts.invalid_critiques, ++counts.reasons[critique.why_not];
        }
    }
    const Votes votes = vote(critiques, steps, settings.vote, settings.tie == "wrong");
    counts.rows_without_vote += !votes.voted;
    line["votes"] = votes.count;
    line["valid_critiques"] = votes.valid;
    line["wrong_steps"] = votes.wrong;
    line["step_penalty"] = votes.penalty;
    if (!answer.has_ids) return;
    Json& penalty = line["token_penalty"] = Json::array();
    for (int step : answer.token_segment) penalty.push_back(step < 0 ? 0 : votes.penalty[step]);
}

// A majority of the verdicts that can be read decides each score; a tie is 1: nobody is accused. The reason
// is that of the first verdict that agrees with both.
std::vector<SentenceVerdict> majority(const std::vector<std::vector<SentenceVerdict>>& verdicts) {
    std::vector<SentenceVerdict> result = verdicts[0];
    for (size_t s = 0; s < result.size(); ++s) {
        int faithful = 0, correct = 0;
        for (const auto& one : verdicts) faithful += one[s].faithful, correct += one[s].correct;
        result[s].faithful = 2 * faithful >= (int)verdicts.size();
        result[s].correct = 2 * correct >= (int)verdicts.size();
        for (const auto& one : verdicts)
            if (one[s].faithful == result[s].faithful && one[s].correct == result[s].correct) {
                result[s].reason = one[s].reason;
                break;
            }
    }
    return result;
}

void put_verdicts(Json& line, const AnswerToJudge& answer, JudgeCounts& counts) {
    line["sentences"] = spans_json(answer.segments);
    std::vector<std::vector<SentenceVerdict>> verdicts;
    std::string why_not;
    for (const std::string& text : answer.texts)
        if (auto one = parse_verdicts(text, (int)answer.segments.size(), why_not))
            verdicts.push_back(std::move(*one));
    if (verdicts.empty() && !answer.segments.empty()) {
        line["verdicts"] = nullptr;
        line["why_not"] = why_not;
        ++counts.unparsable, ++counts.reasons[why_not];
        return;
    }
    Json& list = line["verdicts"] = Json::array();
    if (answer.segments.empty()) return;
    for (const SentenceVerdict& verdict : majority(verdicts))
        list.push_back({{"faithful", verdict.faithful},
                        {"reason", verdict.reason},
                        {"correct", verdict.correct}});
}

} // namespace

AnswerToJudge read_answer(const Json& row, const std::string& where, const JudgeSettings& settings,
                          const Tokenizer* tokenizer) {
    const bool capo = settings.kind == "capo";
    AnswerToJudge answer;
    answer.source = row, answer.where = where;
    if (const char* key = key_of(row, {"question", "prompt"}))
        answer.question = json_string(row, key, where);
    const char* key = key_of(row, {"response", "answer"});
    CHECK(key, "%s has neither \"response\" nor \"answer\": the text to be judged", where.c_str());
    answer.response = json_string(row, key, where);
    check_documents(row, where);
    if (!capo && key_of(row, {"sentences"})) {
        answer.segments = own_sentences(row["sentences"], answer.response.size(), where);
    } else {
        std::string cut = settings.segments;
        if (cut == "auto") cut = capo ? "blank_line" : "sentence";
        answer.segments = segments(answer.response, segmentation_of(cut), settings.semicolons);
    }
    if (tokenizer && key_of(row, {"completion_ids"})) read_tokens(answer, *tokenizer);
    const char* stored = capo ? "critiques" : "verdict_text";
    if (!key_of(row, {stored})) return answer;
    answer.stored = true;
    if (capo)
        answer.texts = stored_texts(row[stored], where);
    else
        answer.texts = {json_string(row, stored, where)};
    return answer;
}

Json judged_row(const AnswerToJudge& answer, const JudgeSettings& settings, JudgeCounts& counts) {
    ++counts.rows;
    Json line = answer.source;
    if (settings.kind == "capo")
        put_critiques(line, answer, settings, counts);
    else
        put_verdicts(line, answer, counts);
    return line;
}

Json JudgeCounts::json() const {
    Json result = {{"rows", rows},
                   {"critiques", critiques},
                   {"invalid_critiques", invalid_critiques},
                   {"rows_without_vote", rows_without_vote},
                   {"unparsable", unparsable},
                   {"judge_tokens", judge_tokens},
                   {"cache_hits", cache_hits}};
    if (!reasons.empty()) result["reasons"] = reasons;
    return result;
}
