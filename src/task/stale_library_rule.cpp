#include "task/stale_library_rule.h"

#include "text/verdicts.h"

#include <algorithm>
#include <cmath>
#include <map>

using Role = LibraryQuestion::Role;
using stale_library::words;

// ---- verdicts and answers -----------------------------------------------------------------------------------

std::optional<std::vector<JudgedSentence>> judged_sentences(const Library& library,
                                                            const LibraryQuestion& question,
                                                            const std::vector<int32_t>& completion,
                                                            std::string& why_not) {
    const auto end = std::find(completion.begin(), completion.end(), words().eos());
    if (end == completion.end() || end + 1 != completion.end()) {
        why_not = end == completion.end() ? "does not end" : "goes on after its end";
        return std::nullopt;
    }
    const auto verdicts_read =
        parse_verdicts(words().text(completion, false), (int)question.sentences.size(), why_not);
    if (!verdicts_read) return std::nullopt;
    std::vector<JudgedSentence> list;
    size_t byte = 0;
    int token = 0;
    for (size_t s = 0; s < verdicts_read->size(); ++s) {
        const SentenceVerdict& verdict = (*verdicts_read)[s];
        while (byte < verdict.end) byte += words().spelling[completion[token++]].size();
        const LibrarySentence& sentence = question.sentences[s];
        list.push_back({token, verdict.faithful, verdict.correct, question.faithful(sentence),
                        question.right(library, sentence)});
    }
    return list;
}

static Verdict verify_judge(const Library& library, const LibraryQuestion& question,
                            const std::vector<int32_t>& completion) {
    Verdict verdict;
    const auto list = judged_sentences(library, question, completion, verdict.reason);
    if (!list) return verdict;
    bool all_right = true;
    for (const JudgedSentence& each : *list) {
        verdict.answer += each.correct ? "1" : "0";
        all_right &= each.correct == each.true_correct;
    }
    verdict.reward = all_right;
    verdict.reason = all_right ? "right" : "a sentence is misjudged";
    return verdict;
}

static Verdict verify_know(const Library& library, const LibraryQuestion& question,
                           const std::vector<int32_t>& completion) {
    const int known = library.known(question.requests[0]);
    const bool is_right = completion == library_statement(known);
    Verdict verdict;
    verdict.answer = words().text(completion, false);
    verdict.reward = is_right;
    verdict.reason = is_right ? "right" : "not what the library knows";
    return verdict;
}

namespace {
// Sentences of an answer, and which requests they cover.
struct Covered {
    std::vector<LibrarySentence> sentences;
    bool ended = false; // nothing but the end behind the sentences
    int requests = 0, rightly = 0, wrong = 0;
};
} // namespace

static Covered covered(const Library& library, const LibraryQuestion& question,
                       const std::vector<int32_t>& completion) {
    Covered result;
    result.sentences = read_sentences(completion);
    const size_t end = library_sentence_tokens * result.sentences.size();
    result.ended = completion.size() == end + 1 && completion[end] == words().eos();
    for (const LibrarySentence& each : result.sentences)
        result.wrong += !question.right(library, each);
    for (Fact fact : question.requests) {
        bool any = false, rightly = false;
        for (const LibrarySentence& each : result.sentences)
            if (each.fact == fact) any = true, rightly |= question.right(library, each);
        result.requests += any, result.rightly += rightly;
    }
    return result;
}

// Right: every request is answered rightly, and nothing that is said is wrong.
static Verdict verify_answer(const Library& library, const LibraryQuestion& question,
                             const std::vector<int32_t>& completion) {
    const Covered what = covered(library, question, completion);
    const int asked = (int)question.requests.size();
    Verdict verdict;
    verdict.useful = (double)what.requests / asked;
    if (!what.ended) {
        verdict.reason = "something other than sentences and the end";
        return verdict;
    }
    verdict.answer = words().text(completion, false);
    verdict.reward = what.rightly == asked && what.wrong == 0;
    verdict.reason = verdict.reward > 0
                         ? "right"
                         : format("%d of %d requests answered rightly, %d sentences wrong",
                                  what.rightly, asked, what.wrong);
    return verdict;
}

// A step is a sentence, with its case as its kind; the end stands alone, without a kind. What is no
// sentence is one step, unfaithful and wrong.
static std::vector<StepVerdict> answer_steps(const Library& library,
                                             const LibraryQuestion& question,
                                             const std::vector<int32_t>& completion) {
    std::vector<StepVerdict> steps;
    int at = 0, size = (int)completion.size();
    for (const LibrarySentence& each : read_sentences(completion)) {
        const bool is_right = question.right(library, each);
        const int kind = library_case(question.faithful(each), is_right);
        steps.push_back(
            {at, at + library_sentence_tokens, is_right, library_case_name(kind), kind});
        at += library_sentence_tokens;
    }
    if (at + 1 < size || (at < size && completion[at] != words().eos()))
        steps.push_back({at, size, false, "no sentence", library_case(false, false)});
    else if (at < size)
        steps.push_back({at, size, true, "the end", -1});
    return steps;
}

// A verdict is right when its correctness is.
static std::vector<StepVerdict> judge_steps(const Library& library, const LibraryQuestion& question,
                                            const std::vector<int32_t>& completion) {
    std::string why_not;
    const auto list = judged_sentences(library, question, completion, why_not);
    const int size = (int)completion.size();
    if (!list) return {{0, size, false, why_not, -1}};
    std::vector<StepVerdict> steps;
    int at = 0;
    for (const JudgedSentence& each : *list) {
        const bool is_right = each.correct == each.true_correct;
        steps.push_back({at, each.end, is_right, is_right ? "right" : "misjudged",
                         library_case(each.true_faithful, each.true_correct)});
        at = each.end;
    }
    if (at < size) steps.push_back({at, size, true, "the end", -1});
    return steps;
}

Verdict verify_library(const Library& library, const LibraryQuestion& question,
                       const std::vector<int32_t>& completion) {
    if (question.role == Role::know) return verify_know(library, question, completion);
    return question.role == Role::judge ? verify_judge(library, question, completion)
                                        : verify_answer(library, question, completion);
}

std::vector<StepVerdict> library_steps(const Library& library, const LibraryQuestion& question,
                                       const std::vector<int32_t>& completion) {
    return question.role == Role::judge ? judge_steps(library, question, completion)
                                        : answer_steps(library, question, completion);
}

// ---- figures ------------------------------------------------------------------------------------

namespace {

double share(double part, double of) { return of > 0 ? part / of : NAN; }

// A sentence's verdicts, of which there is one per sample that can be read.
struct Said {
    bool is_wrong = false;
    double samples = 0, read = 0, wrong = 0, confidence = 0;
    // p(wrong): the share of several verdicts; of a single one half the scale is each word's, in the order
    // of its probability, so that the words themselves are the threshold 1/2.
    double p() const {
        return samples > 1 ? wrong / read : (wrong ? 1 + confidence : 1 - confidence) / 2;
    }
};

// Precision and recall of calling those wrong whose p is at least a threshold.
struct CurvePoint {
    double threshold, precision, recall, f1;
};

// Of every p as the threshold, from the highest on.
std::vector<CurvePoint> curve_of(std::vector<std::pair<double, bool>> scored, double wrong_ones) {
    std::sort(scored.begin(), scored.end(), [](auto& a, auto& b) { return a.first > b.first; });
    std::vector<CurvePoint> curve;
    double hits = 0;
    for (size_t k = 0; k < scored.size(); ++k) {
        hits += scored[k].second;
        const bool tied = k + 1 < scored.size() && scored[k + 1].first == scored[k].first;
        const double called = (double)k + 1;
        if (!tied)
            curve.push_back({scored[k].first, hits / called, share(hits, wrong_ones),
                             2 * hits / (called + wrong_ones)});
    }
    return curve;
}

// Of a judge: how well it finds the wrong sentences, and what it says right in each case.
struct JudgeFigures {
    double cases[library_cases] = {}, hits[library_cases] = {};
    double sentences = 0, readable = 0, faithful_hits = 0;
    double found = 0, alarms = 0, wrong_ones = 0;
    std::map<std::pair<const Problem*, size_t>, Said> said; // by sentence

    void add(const Library& library, const LibraryQuestion& question, const Answered& answered) {
        std::string why_not;
        const auto list = judged_sentences(library, question, *answered.completion, why_not);
        int begin = 0;
        for (size_t s = 0; s < question.sentences.size(); ++s) {
            const LibrarySentence& sentence = question.sentences[s];
            const bool is_right = question.right(library, sentence);
            const bool is_faithful = question.faithful(sentence);
            const int kind = library_case(is_faithful, is_right);
            ++cases[kind], ++sentences, wrong_ones += !is_right;
            Said& all = said[{answered.problem, s}];
            all.is_wrong = !is_right, ++all.samples;
            if (!list) continue; // an output that cannot be read finds nothing
            const JudgedSentence& one = (*list)[s];
            ++readable;
            hits[kind] += one.correct == is_right;
            faithful_hits += one.faithful == is_faithful;
            alarms += !one.correct, found += !one.correct && !is_right;
            double logp = 0; // of what is written behind the faithfulness
            for (int t = begin + 2; t < one.end && !answered.logp.empty(); ++t)
                logp += answered.logp[t];
            ++all.read, all.wrong += !one.correct, all.confidence = std::exp(logp);
            begin = one.end;
        }
    }
    // The best point of the curve; of several samples the points at the thresholds to which TRM's bonus of
    // 0 to 2 moves a judge (alpha = 1/2): 1 / (2 + 2 bonus).
    void add_curve(std::vector<TaskFigure>& figures, bool with_logp) const {
        std::vector<std::pair<double, bool>> scored;
        double wrongs = 0, samples = 0;
        for (const auto& [at, one] : said) {
            wrongs += one.is_wrong, samples = std::max(samples, one.samples);
            if (one.read > 0) scored.push_back({one.p(), one.is_wrong});
        }
        if (samples < 2 && !with_logp) return;
        const std::vector<CurvePoint> curve = curve_of(scored, wrongs);
        double best = 0;
        for (const CurvePoint& point : curve) best = std::max(best, point.f1);
        figures.push_back({"best_f1_of_wrong", best});
        if (samples < 2) return;
        for (auto [bonus, label] :
             {std::pair{0.0, "0"}, {0.25, "0_25"}, {0.5, "0_5"}, {1.0, "1"}, {2.0, "2"}}) {
            CurvePoint at{0, NAN, 0, 0}; // nothing is called wrong
            for (const CurvePoint& point : curve)
                if (point.threshold >= 1 / (2 + 2 * bonus)) at = point;
            const std::string name = format("_of_wrong_at_bonus_%s", label);
            figures.push_back({"precision" + name, at.precision});
            figures.push_back({"recall" + name, at.recall});
            figures.push_back({"f1" + name, at.f1});
        }
    }
    std::vector<TaskFigure> list(bool with_logp) const {
        std::vector<TaskFigure> figures = {{"f1_of_wrong", share(2 * found, alarms + wrong_ones)},
                                           {"precision_of_wrong", share(found, alarms)},
                                           {"recall_of_wrong", share(found, wrong_ones)}};
        if (wrong_ones > 0) add_curve(figures, with_logp);
        for (int k = 0; k < library_cases; ++k)
            figures.push_back(
                {std::string("hit_") + library_case_name(k), share(hits[k], cases[k])});
        figures.push_back({"hit_faithfulness", share(faithful_hits, sentences)});
        figures.push_back({"readable", share(readable, sentences)});
        return figures;
    }
};

// Of answers: how many sentences are of each case, and what is covered.
struct AnswerFigures {
    double cases[library_cases] = {}, sentences = 0;
    double requests = 0, any = 0, rightly = 0, outdated = 0, obeyed = 0;

    void add(const Library& library, const LibraryQuestion& question, const Answered& answered) {
        const Covered what = covered(library, question, *answered.completion);
        for (const LibrarySentence& each : what.sentences) {
            ++sentences;
            ++cases[library_case(question.faithful(each), question.right(library, each))];
            const LibraryLine* said = question.line(each.fact);
            const bool is_outdated = said && said->value != question.truth(library, each.fact);
            outdated += is_outdated, obeyed += is_outdated && said->value == each.value;
        }
        requests += (double)question.requests.size();
        any += what.requests, rightly += what.rightly;
    }
    std::vector<TaskFigure> list() const {
        std::vector<TaskFigure> figures = {
            {"right_sentences", share(cases[0] + cases[2], sentences)},
            {"faithful_sentences", share(cases[0] + cases[1], sentences)},
            {"coverage", share(any, requests)},
            {"right_coverage", share(rightly, requests)},
            {"outdated_copied", share(obeyed, outdated)}};
        for (int k = 0; k < library_cases; ++k)
            figures.push_back({library_case_name(k), share(cases[k], sentences)});
        return figures;
    }
};

} // namespace

std::vector<TaskFigure> library_figures(const Library& library,
                                        const std::vector<Answered>& answers) {
    JudgeFigures judge;
    AnswerFigures answer_figures;
    bool with_logp = true;
    for (const Answered& each : answers) {
        const LibraryQuestion question = parse_library(each.problem->prompt_ids);
        if (question.role == Role::judge) judge.add(library, question, each);
        if (question.role == Role::answer) answer_figures.add(library, question, each);
        with_logp &= each.logp.size() == each.completion->size();
    }
    std::vector<TaskFigure> list;
    if (judge.sentences > 0) list = judge.list(with_logp);
    if (answer_figures.requests > 0)
        for (const TaskFigure& each : answer_figures.list()) list.push_back(each);
    std::erase_if(list, [](const TaskFigure& each) { return std::isnan(each.value); });
    return list;
}
