#include "app/judge/kinds.h"

#include "text/verdicts.h"

#include <algorithm>

namespace {

using Wrong = std::optional<std::vector<double>>; // (segments) 0 .. 1; none: the judge has failed

Json spans_json(const std::vector<Segment>& segments) {
    Json list = Json::array();
    for (const Segment& segment : segments) list.push_back({segment.begin, segment.end});
    return list;
}

// ---- CAPO ---------------------------------------------------------------------------------------

bool passed_over(const AnswerToJudge& answer, const JudgeSettings& settings) {
    return answer.truncated && !answer.stored && settings.kind == "capo" &&
           settings.keys.truncated != "judge";
}

Wrong put_critiques(Json& line, const AnswerToJudge& answer, const JudgeSettings& settings,
                    JudgeCounts& counts) {
    const int steps = (int)answer.segments.size();
    line["steps"] = spans_json(answer.segments);
    Json& list = line["critiques"] = Json::array();
    std::vector<Critique> critiques;
    for (const JudgeText& text : answer.texts) {
        const Critique& critique = critiques.emplace_back(
            text.why_not.empty() ? parse_critique(text.text, steps) : Critique{{}, text.why_not});
        Json& item = list.emplace_back(Json{{"text", text.text}, {"wrong", nullptr}});
        ++counts.critiques;
        if (critique.wrong) {
            item["wrong"] = *critique.wrong;
        } else {
            item["why_not"] = critique.why_not;
            ++counts.invalid_critiques, ++counts.reasons[critique.why_not];
        }
    }
    Votes votes = vote(critiques, steps, settings.keys.vote, settings.keys.tie == "wrong");
    const bool skipped = passed_over(answer, settings);
    if (skipped && settings.keys.truncated == "last_step_wrong" && steps > 0)
        votes.wrong = {steps - 1}, votes.penalty.back() = 1;
    counts.truncated += skipped;
    counts.rows_without_vote += !skipped && !votes.voted;
    line["votes"] = votes.count;
    line["valid_critiques"] = votes.valid;
    line["wrong_steps"] = votes.wrong;
    line["step_penalty"] = votes.penalty;
    if (answer.has_ids) {
        Json& penalty = line["token_penalty"] = Json::array();
        for (int step : answer.token_segment) penalty.push_back(step < 0 ? 0 : votes.penalty[step]);
    }
    if (!skipped && !votes.voted) return std::nullopt;
    return votes.penalty;
}

// ---- TRM ----------------------------------------------------------------------------------------

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

Wrong put_verdicts(Json& line, const AnswerToJudge& answer, const JudgeSettings&,
                   JudgeCounts& counts) {
    const size_t sentences = answer.segments.size();
    line["sentences"] = spans_json(answer.segments);
    if (!answer.stored && !answer.texts.empty()) {
        Json& words = line["verdict_text"] = Json::array();
        for (const JudgeText& text : answer.texts) words.push_back({{"text", text.text}});
        for (size_t i = 0; i < answer.texts.size(); ++i)
            if (const std::string& why_not = answer.texts[i].why_not; !why_not.empty())
                words[i]["why_not"] = why_not;
    }
    std::vector<std::vector<SentenceVerdict>> verdicts;
    std::string why_not;
    for (const JudgeText& text : answer.texts) {
        if (!text.why_not.empty())
            why_not = text.why_not;
        else if (auto one = parse_verdicts(text.text, (int)sentences, why_not))
            verdicts.push_back(std::move(*one));
    }
    if (verdicts.empty() && sentences > 0) {
        line["verdicts"] = nullptr;
        line["why_not"] = why_not;
        ++counts.unparsable, ++counts.reasons[why_not];
        return std::nullopt;
    }
    Json& list = line["verdicts"] = Json::array();
    std::vector<double> wrong;
    if (sentences == 0) return wrong;
    for (const SentenceVerdict& verdict : majority(verdicts)) {
        list.push_back({{"faithful", verdict.faithful},
                        {"reason", verdict.reason},
                        {"correct", verdict.correct}});
        wrong.push_back(!verdict.correct);
    }
    return wrong;
}

} // namespace

std::span<const JudgeKind> judge_kinds() {
    static const JudgeKind rows[] = {
        {"capo", "critiques", false, Segmentation::blank_line, false, capo_prompt, capo_lesson,
         put_critiques},
        {"trm", "verdict_text", true, Segmentation::sentence, true, trm_prompt, trm_lesson,
         put_verdicts},
    };
    return rows;
}

const JudgeKind& find_kind(const std::string& name) {
    for (const JudgeKind& kind : judge_kinds())
        if (name == kind.name) return kind;
    fail("no judge of the kind \"%s\" writes text", name.c_str());
}

std::string judge_notes() {
    std::string notes = "The prompts are Jinja over question, reference (or none), documents, "
                        "segments (texts) and propagate.\n";
    for (const JudgeKind& kind : judge_kinds())
        notes += format("\n---- judge.kind=%s:\n\n%s", kind.name, kind.prompt);
    return notes;
}

bool needs_judge(const AnswerToJudge& answer, const JudgeSettings& settings) {
    return !answer.stored && !answer.segments.empty() && !passed_over(answer, settings);
}

JudgedRow judged_row(const AnswerToJudge& answer, const JudgeSettings& settings,
                     JudgeCounts& counts) {
    ++counts.rows;
    JudgedRow row{answer.source, {}};
    row.wrong = find_kind(settings.kind).put(row.line, answer, settings, counts);
    // A judge that has failed has found nothing.
    if (!answer.rule.empty() && !passed_over(answer, settings))
        counts.rule.add(answer.rule, row.wrong.value_or(std::vector<double>(answer.rule.size())));
    if (answer.rule.empty() && !answer.labels.empty())
        counts.rule.add(answer.labels,
                        row.wrong.value_or(std::vector<double>(answer.labels.size())));
    return row;
}

// ---- counts -------------------------------------------------------------------------------------

void AgainstRule::add(const std::vector<StepVerdict>& rule,
                      const std::vector<double>& wrong_share) {
    bool same = true;
    for (size_t s = 0; s < rule.size(); ++s) {
        const bool is_wrong = !rule[s].right, calls = wrong_share[s] > 0.5;
        wrong += is_wrong, called += calls, found += is_wrong && calls;
        same &= is_wrong == calls;
    }
    ++answers, segments += (int64_t)rule.size(), exact += same;
}

// What has no label is not counted, nor is an answer without any.
void AgainstRule::add(const std::vector<SentenceLabels>& labels,
                      const std::vector<double>& wrong_share) {
    std::vector<StepVerdict> known;
    std::vector<double> of_known;
    for (size_t s = 0; s < labels.size(); ++s) {
        if (labels[s].correct < 0) continue;
        StepVerdict verdict;
        verdict.right = labels[s].correct == 1;
        known.push_back(verdict), of_known.push_back(wrong_share[s]);
    }
    if (!known.empty()) add(known, of_known);
}

Json AgainstRule::json() const {
    auto share = [](double part, double whole) { return whole > 0 ? Json(part / whole) : Json(); };
    return {{"answers", answers},
            {"steps", segments},
            {"wrong_steps", wrong},
            {"called_wrong", called},
            {"precision", share((double)found, (double)called)},
            {"recall", share((double)found, (double)wrong)},
            {"f1", share(2.0 * (double)found, (double)(called + wrong))},
            {"exact_share", share((double)exact, (double)answers)}};
}

Json JudgeCounts::json() const {
    Json result = {{"rows", rows},
                   {"critiques", critiques},
                   {"invalid_critiques", invalid_critiques},
                   {"rows_without_vote", rows_without_vote},
                   {"unparsable", unparsable},
                   {"judge_tokens", work.new_tokens},
                   {"cache_hits", work.cache_hits}};
    if (truncated) result["truncated"] = truncated;
    if (work.answers) {
        result["judged_answers"] = work.answers;
        result["judge_prompt_tokens"] = work.prompt_tokens;
        result["judge_seconds"] = work.seconds;
    }
    if (!reasons.empty()) result["reasons"] = reasons;
    if (rule.answers) result["rule"] = rule.json();
    return result;
}
