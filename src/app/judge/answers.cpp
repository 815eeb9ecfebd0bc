#include "app/judge/answers.h"

#include "app/judge/kinds.h"

#include <algorithm>

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

// 0, 1 or null.
int label_of(const Json& item, const char* key, const std::string& at) {
    if (!item.contains(key) || item[key].is_null()) return -1;
    CHECK(item[key].is_number_integer() && (item[key] == 0 || item[key] == 1),
          "%s: \"%s\" must be 0, 1 or null, found %.60s", at.c_str(), key,
          item[key].dump().c_str());
    return item[key].get<int>();
}

// Spans that the row brings along: [[begin, end], ..] or [{"start", "end", "faithful"?, "reason"?,
// "correct"?}, ..], bytes of the response.
std::vector<Segment> own_sentences(const Json& list, size_t size, const std::string& where,
                                   std::vector<SentenceLabels>& labels) {
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
            labels.resize(i + 1);
            labels[i] = {label_of(item, "faithful", at), label_of(item, "correct", at),
                         key_of(item, {"reason"}) ? json_string(item, "reason", at) : ""};
        }
        CHECK(
            (int64_t)before <= begin && begin <= end && end <= (int64_t)size,
            "%s is [%lld, %lld]; sentences must follow one another within the response's %zu bytes",
            at.c_str(), (long long)begin, (long long)end, size);
        spans.push_back({(size_t)begin, before = (size_t)end});
    }
    if (!labels.empty()) labels.resize(spans.size());
    return spans;
}

// A text, or what `judge` wrote of one.
JudgeText stored_text(const Json& item, const std::string& where) {
    if (item.is_string()) return {item.get<std::string>(), ""};
    CHECK(item.is_object(), "%s must be a text, found %.60s", where.c_str(), item.dump().c_str());
    JudgeText text{json_string(item, "text", where), ""};
    const std::string why_not = json_string_or(item, "why_not", "", where);
    for (const char* reason : {judge_cut_off, judge_no_room, judge_no_token})
        if (why_not == reason) text.why_not = why_not;
    return text;
}

std::vector<JudgeText> stored_texts(const Json& row, const JudgeKind& kind,
                                    const std::string& where) {
    const char* key = kind.stored;
    const Json& list = row[key];
    if (kind.stored_alone && list.is_string()) return {{list.get<std::string>(), ""}};
    CHECK(list.is_array(), "%s: \"%s\" must be a list of texts", where.c_str(), key);
    std::vector<JudgeText> texts;
    for (size_t i = 0; i < list.size(); ++i)
        texts.push_back(stored_text(list[i], format("%s: %s[%zu]", where.c_str(), key, i)));
    return texts;
}

// The byte at which each token of the response begins.
std::vector<size_t> token_begins(const AnswerToJudge& answer, const std::vector<int32_t>& ids,
                                 const Tokenizer& tokenizer) {
    std::vector<size_t> begins;
    const std::string text = tokenizer.decode(ids, true, &begins);
    size_t same = 0;
    while (same < std::min(text.size(), answer.response.size()) &&
           text[same] == answer.response[same])
        ++same;
    CHECK(same == text.size() && same == answer.response.size(),
          "%s: completion_ids give a text that differs from the response from byte %zu on (%zu "
          "bytes against %zu); data.tokenizer (model.path, where that is empty) must be the model "
          "whose tokenizer wrote the ids",
          answer.where.c_str(), same, text.size(), answer.response.size());
    return begins;
}

// The problem that a row answers.
Problem problem_of(const AnswerToJudge& answer) {
    Problem problem;
    problem.prompt = answer.question, problem.row = answer.source, problem.where = answer.where;
    problem.prompt_ids = json_ids(answer.source, "prompt_ids", answer.where);
    return problem;
}

void cut_by_task(AnswerToJudge& answer, const Task& task, const Problem& problem,
                 const std::vector<int32_t>& ids, const std::vector<size_t>& begins) {
    TextSteps steps = text_steps(task.verify_steps(problem, ids), begins, answer.response.size());
    answer.segments = std::move(steps.segments), answer.rule = std::move(steps.rule);
    answer.token_segment = std::move(steps.token_segment);
}

} // namespace

TextSteps text_steps(const std::vector<StepVerdict>& steps, std::span<const size_t> token_begin,
                     size_t bytes) {
    TextSteps text;
    text.token_segment.assign(token_begin.size(), -1);
    for (const StepVerdict& step : steps) {
        size_t begin = std::string::npos;
        for (int t = step.begin; t < step.end && begin == std::string::npos; ++t)
            begin = token_begin[t];
        if (begin != std::string::npos) {
            text.segments.push_back({text.segments.empty() ? 0 : begin, bytes});
            if (const size_t n = text.segments.size(); n > 1) text.segments[n - 2].end = begin;
            text.rule.push_back(step);
        }
        for (int t = step.begin; t < step.end; ++t)
            text.token_segment[t] = (int)text.segments.size() - 1;
    }
    if (!text.segments.empty())
        for (int& segment : text.token_segment) segment = std::max(segment, 0);
    return text;
}

JudgeQuestion AnswerToJudge::asked() const {
    JudgeQuestion ask{question, {}, source.value("documents", Json()), {}};
    if (const char* key = key_of(source, {"reference", "gold"})) ask.reference = source[key];
    for (const Segment& segment : segments)
        ask.segments.push_back(response.substr(segment.begin, segment.end - segment.begin));
    return ask;
}

AnswerToJudge AnswerReader::read(const Json& row, const std::string& where,
                                 const Problem* problem) const {
    const JudgeKind& kind = find_kind(settings.kind);
    AnswerToJudge answer;
    answer.source = row, answer.where = where;
    const bool rollout = key_of(row, {"completion_ids"});
    const char* key = key_of(row, {"response"});
    if (!key && rollout) key = key_of(row, {"text"});
    if (!key) key = key_of(row, {"answer"});
    CHECK(key, "%s has neither \"response\" nor \"answer\": the text to be judged", where.c_str());
    answer.response = json_string(row, key, where);
    if (const char* asked = key_of(row, {"question", "prompt"}))
        answer.question = json_string(row, asked, where);
    else if (ids && key_of(row, {"prompt_ids"}))
        answer.question = ids->decode(json_ids(row, "prompt_ids", where), true);
    answer.truncated = json_string_or(row, "finish", "", where) == "length";
    check_documents(row, where);

    std::vector<int32_t> completion;
    std::vector<size_t> begins;
    answer.has_ids = ids && rollout;
    if (answer.has_ids) {
        completion = json_ids(row, "completion_ids", where);
        begins = token_begins(answer, completion, *ids);
    }
    if (task && settings.keys.segments == "auto") {
        CHECK(answer.has_ids && key_of(row, {"prompt_ids"}),
              "%s has no \"prompt_ids\" and \"completion_ids\" (or no model.path names their "
              "tokenizer); task.name=%s checks the steps of answers in ids, as rlhf eval and rl "
              "store them",
              where.c_str(), task->name.c_str());
        cut_by_task(answer, *task, problem ? *problem : problem_of(answer), completion, begins);
    } else if (kind.brings_segments && key_of(row, {"sentences"})) {
        answer.segments =
            own_sentences(row["sentences"], answer.response.size(), where, answer.labels);
    } else {
        const Segmentation cut = settings.keys.segments == "auto"
                                     ? kind.segmentation
                                     : segmentation_of(settings.keys.segments);
        answer.segments = segments(answer.response, cut, settings.keys.semicolons);
    }
    if (answer.has_ids && answer.token_segment.empty())
        answer.token_segment = token_segments(begins, answer.segments);
    answer.stored = key_of(row, {kind.stored});
    if (answer.stored) answer.texts = stored_texts(row, kind, where);
    return answer;
}
