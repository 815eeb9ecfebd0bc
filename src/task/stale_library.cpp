#include "task/stale_library.h"

#include "task/task.h"
#include "text/verdicts.h"

#include <algorithm>
#include <numeric>

using Role = LibraryQuestion::Role;
using stale_library::words;

// ---- words --------------------------------------------------------------------------------------

namespace {

constexpr int most_entities = 64, attributes = 4, most_values = 40, most_sentences = 6;
constexpr int sentence_tokens = 4; // thing, attribute, value, stop

// Ids in the order of the list in words().
constexpr int first_attribute = most_entities, first_value = first_attribute + attributes;
constexpr int first_number = first_value + most_values;
enum Word {
    fresh = first_number + most_sentences,
    stale,
    stop,
    know,
    document,
    claims,
    same,
    other,
    unfaithful,
    faithful,
    wrong,
    right,
    answer,
    requests,
    verdicts
};

int32_t entity_id(Fact fact) { return fact.entity; }
int32_t attribute_id(Fact fact) { return first_attribute + fact.attribute; }
int32_t value_id(int value) { return first_value + value; }

} // namespace

const Vocabulary& stale_library::words() {
    static const Vocabulary vocabulary = [] {
        std::vector<std::string> list;
        for (const char* first : {"Ba", "Ke", "Li", "Mo", "Nu", "Ra", "Se", "To"})
            for (const char* second : {"bo", "da", "fi", "ku", "le", "mi", "na", "vo"})
                list.push_back(std::string(first) + second);
        for (const char* attribute : {" price", " owner", " metal", " origin"})
            list.push_back(attribute);
        for (int v = 0; v < most_values; ++v) list.push_back(format(" %d", 10 + v));
        for (int s = 1; s <= most_sentences; ++s) list.push_back(format("[%d] ", s));
        for (const char* word :
             {"fresh: ", "stale: ", ". ", " know ", " document", ", said", ", same", ", other",
              "faithfulness: 0 | reason:", "faithfulness: 1 | reason:", " | correctness: 0\n",
              " | correctness: 1\n", "answer: ", "requests: ", "verdicts: "})
            list.push_back(word);
        return Vocabulary(list);
    }();
    return vocabulary;
}

// ---- the library --------------------------------------------------------------------------------

Library::Library(const StaleLibraryConfig& config)
    : entities(config.entities), values(config.values) {
    const int count = entities * attributes;
    Rng rng((uint64_t)config.library, 0x11b);
    for (int f = 0; f < count; ++f) value.push_back(rng.below(values));
    std::vector<int> order(count);
    std::iota(order.begin(), order.end(), 0);
    rng.shuffle(order);
    parts.resize(count);
    for (int k = 0; k < count; ++k)
        parts[order[k]] = k < count / 2       ? Part::supervised
                          : k < 3 * count / 4 ? Part::labels
                                              : Part::held_out;
}

int Library::known(Fact fact) const { return value[fact.entity * attributes + fact.attribute]; }

Library::Part Library::part(Fact fact) const {
    return parts[fact.entity * attributes + fact.attribute];
}

std::vector<Fact> Library::facts(const std::string& which) const {
    std::vector<Fact> list;
    for (int e = 0; e < entities; ++e)
        for (int a = 0; a < attributes; ++a) {
            const Part its = part({e, a});
            if ((which == "held_out" && its == Part::held_out) ||
                (which == "supervised" && its == Part::supervised) ||
                (which == "labels" && its == Part::labels) ||
                (which == "any" && its != Part::held_out) || which == "all")
                list.push_back({e, a});
        }
    return list;
}

// ---- questions ----------------------------------------------------------------------------------

const char* library_case_name(int kind) {
    static const char* const names[library_cases] = {"faithful_right", "faithful_wrong",
                                                     "unfaithful_right", "unfaithful_wrong"};
    return names[kind];
}

const LibraryLine* LibraryQuestion::line(Fact fact) const {
    for (const LibraryLine& each : lines)
        if (each.fact == fact) return &each;
    return nullptr;
}

int LibraryQuestion::truth(const Library& library, Fact fact) const {
    const LibraryLine* said = line(fact);
    return said && said->fresh && fact.changes() ? said->value : library.known(fact);
}

bool LibraryQuestion::faithful(const LibrarySentence& sentence) const {
    const LibraryLine* said = line(sentence.fact);
    return said && said->value == sentence.value;
}

bool LibraryQuestion::right(const Library& library, const LibrarySentence& sentence) const {
    return sentence.value == truth(library, sentence.fact);
}

std::vector<int32_t> library_prompt(const LibraryQuestion& question) {
    std::vector<int32_t> ids = {words().bos()};
    auto put_fact = [&](Fact fact) {
        ids.insert(ids.end(), {entity_id(fact), attribute_id(fact)});
    };
    auto put_value = [&](int value) { ids.insert(ids.end(), {value_id(value), stop}); };
    for (const LibraryLine& line : question.lines) {
        ids.push_back(line.fresh ? fresh : stale);
        put_fact(line.fact), put_value(line.value);
    }
    if (question.role == Role::know) {
        ids.push_back(know);
        put_fact(question.requests.at(0));
        return ids;
    }
    if (question.role == Role::answer) {
        ids.push_back(requests);
        for (Fact fact : question.requests) put_fact(fact), ids.push_back(stop);
    }
    ids.push_back(answer);
    if (question.role == Role::answer) return ids;
    for (size_t s = 0; s < question.sentences.size(); ++s) {
        ids.push_back(first_number + (int)s);
        put_fact(question.sentences[s].fact), put_value(question.sentences[s].value);
    }
    ids.push_back(verdicts);
    return ids;
}

namespace {

// Takes tokens from the front of a list.
struct TokenReader {
    const std::vector<int32_t>& ids;
    size_t at = 0;
    bool take(int32_t id) {
        if (at == ids.size() || ids[at] != id) return false;
        ++at;
        return true;
    }
    bool take_from(int32_t first, int count, int& index) {
        if (at == ids.size() || ids[at] < first || ids[at] >= first + count) return false;
        index = ids[at++] - first;
        return true;
    }
    bool take_fact(Fact& fact) {
        return take_from(0, most_entities, fact.entity) &&
               take_from(first_attribute, attributes, fact.attribute);
    }
    bool take_sentence(Fact& fact, int& value) {
        const size_t before = at;
        if (take_fact(fact) && take_from(first_value, most_values, value) && take(stop))
            return true;
        at = before;
        return false;
    }
};

} // namespace

static bool read_question(TokenReader& read, LibraryQuestion& question) {
    if (!read.take(words().bos())) return false;
    for (bool is_fresh; (is_fresh = read.take(fresh)) || read.take(stale);) {
        LibraryLine line;
        line.fresh = is_fresh;
        if (!read.take_sentence(line.fact, line.value)) return false;
        question.lines.push_back(line);
    }
    Fact fact;
    if (read.take(know)) {
        if (!read.take_fact(fact)) return false;
        question.requests = {fact};
        return true;
    }
    question.role = read.take(requests) ? Role::answer : Role::judge;
    if (question.role == Role::answer)
        while (!read.take(answer)) {
            if (!read.take_fact(fact) || !read.take(stop)) return false;
            question.requests.push_back(fact);
        }
    if (question.role == Role::answer) return !question.requests.empty();
    if (!read.take(answer)) return false;
    while (!read.take(verdicts)) {
        LibrarySentence sentence;
        if (!read.take(first_number + (int)question.sentences.size()) ||
            !read.take_sentence(sentence.fact, sentence.value))
            return false;
        question.sentences.push_back(sentence);
    }
    return !question.sentences.empty();
}

LibraryQuestion parse_library(const std::vector<int32_t>& ids) {
    LibraryQuestion question;
    TokenReader read{ids};
    CHECK(read_question(read, question) && read.at == ids.size(),
          "\"%s\" is no prompt of stale_library: <bos>, lines as \"fresh: Bako price 17. \", then "
          "\" know Bako price\", \"answer: [1] Bako price 17. verdicts: \" or \"requests: Bako "
          "price. answer: \"",
          words().text(ids, true).c_str());
    return question;
}

std::vector<LibrarySentence> read_sentences(const std::vector<int32_t>& completion) {
    std::vector<LibrarySentence> sentences;
    TokenReader read{completion};
    for (LibrarySentence each; read.take_sentence(each.fact, each.value);)
        sentences.push_back(each);
    return sentences;
}

// ---- drawing ------------------------------------------------------------------------------------

namespace {

struct Draw {
    const StaleLibraryConfig& config;
    const Library& library;
    Rng& rng;

    int value_but(int a, int b = -1) {
        int value;
        do value = rng.below(library.values);
        while (value == a || value == b);
        return value;
    }
    // Different ones of a list.
    std::vector<Fact> facts(std::vector<Fact> from, int count) {
        rng.shuffle(from);
        from.resize(std::min<size_t>(from.size(), count));
        return from;
    }
    // A line that is right or wrong, where it can be: of what changes, a fresh one is the truth.
    LibraryLine line(Fact fact, bool outdated) {
        const int known = library.known(fact);
        LibraryLine line{rng.below(2) == 0, fact, known};
        if (outdated || (line.fresh && fact.changes())) line.value = value_but(known);
        return line;
    }
    int kind() {
        const double sum = std::accumulate(config.mix.begin(), config.mix.end(), 0.0);
        double u = rng.uniform() * sum;
        for (int k = 0; k < library_cases; ++k)
            if ((u -= config.mix[k]) < 0) return k;
        return library_cases - 1;
    }
    // A line and a sentence of this case.
    std::pair<LibraryLine, LibrarySentence> judged(Fact fact, int kind) {
        const int known = library.known(fact);
        LibraryLine said{rng.below(2) == 0, fact, known};
        if (kind == library_case(true, false) || kind == library_case(false, true)) {
            if (fact.changes()) said.fresh = false;
            said.value = value_but(known);
            return {said, {fact, kind == library_case(true, false) ? said.value : known}};
        }
        const bool current = said.fresh && fact.changes(); // the document is the truth
        if (current) said.value = value_but(known);
        if (kind == library_case(true, true)) return {said, {fact, said.value}};
        // unfaithful and wrong: what one knew, where that is over, or anything else
        if (current && rng.below(2)) return {said, {fact, known}};
        if (!current && rng.below(2)) said.value = value_but(known);
        return {said, {fact, value_but(known, said.value)}};
    }
    LibraryQuestion statement(Fact fact) {
        LibraryQuestion question;
        question.requests = {fact};
        if (rng.uniform() >= config.documents_share) return question;
        for (Fact each : facts(library.facts("all"), 1 + rng.below(config.sentences)))
            question.lines.push_back(line(each, rng.uniform() < config.outdated));
        if (rng.below(2) == 0 && !question.line(fact))
            question.lines[rng.below((int)question.lines.size())] = line(fact, true);
        return question;
    }
    LibraryQuestion to_judge(const std::vector<Fact>& from) {
        LibraryQuestion question;
        question.role = Role::judge;
        for (Fact fact : facts(from, 1 + rng.below(config.sentences))) {
            const auto [said, sentence] = judged(fact, kind());
            question.lines.push_back(said), question.sentences.push_back(sentence);
        }
        rng.shuffle(question.lines);
        return question;
    }
    LibraryQuestion to_answer(const std::vector<Fact>& from) {
        LibraryQuestion question;
        question.role = Role::answer;
        question.requests = facts(from, config.sentences);
        for (Fact fact : question.requests)
            question.lines.push_back(line(fact, rng.uniform() < config.outdated));
        rng.shuffle(question.lines);
        return question;
    }
    std::vector<int32_t> demonstration(const LibraryQuestion& question) {
        std::vector<int32_t> ids;
        for (Fact fact : question.requests) {
            const double skipped = rng.uniform(), how = rng.uniform();
            int value = question.truth(library, fact);
            if (how < config.slip)
                value = value_but(value);
            else if (how < config.slip + (1 - config.slip) * config.obey)
                value = question.line(fact)->value;
            if (skipped < config.skip) continue;
            ids.insert(ids.end(), {entity_id(fact), attribute_id(fact), value_id(value), stop});
        }
        ids.push_back(words().eos());
        return ids;
    }
};

} // namespace

std::vector<int32_t> library_verdicts(const Library& library, const LibraryQuestion& question,
                                      const std::vector<std::string>& fields) {
    auto filled = [&](const char* name) {
        return std::find(fields.begin(), fields.end(), name) != fields.end();
    };
    std::vector<int32_t> ids;
    for (size_t s = 0; s < question.sentences.size(); ++s) {
        const LibrarySentence& sentence = question.sentences[s];
        const Fact fact = sentence.fact;
        const LibraryLine* line = question.line(fact);
        const bool is_right = question.right(library, sentence);
        ids.push_back(first_number + (int)s);
        ids.push_back(!filled("faithfulness") || question.faithful(sentence) ? faithful
                                                                             : unfaithful);
        if (filled("reason")) {
            if (line && line->fresh && fact.changes())
                ids.insert(ids.end(), {document, value_id(line->value)});
            else
                ids.insert(ids.end(), {know, entity_id(fact), attribute_id(fact),
                                       value_id(library.known(fact))});
            ids.insert(ids.end(), {claims, value_id(sentence.value), is_right ? same : other});
        }
        ids.push_back(is_right ? right : wrong);
    }
    ids.push_back(words().eos());
    return ids;
}

// ---- the rule -----------------------------------------------------------------------------------

static std::optional<std::vector<JudgedSentence>> judged(const Library& library,
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
    const auto list = judged(library, question, completion, verdict.reason);
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
    const bool is_right = completion == std::vector<int32_t>{value_id(known), words().eos()};
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
    const size_t end = sentence_tokens * result.sentences.size();
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
        steps.push_back({at, at + sentence_tokens, is_right, library_case_name(kind), kind});
        at += sentence_tokens;
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
    const auto list = judged(library, question, completion, why_not);
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

// ---- figures ------------------------------------------------------------------------------------

namespace {

double share(double part, double of) { return of > 0 ? part / of : NAN; }

// The best F1 of calling those wrong whose score is above a threshold.
double best_f1(std::vector<std::pair<double, bool>> scored, double wrong_ones) {
    std::sort(scored.begin(), scored.end(), [](auto& a, auto& b) { return a.first > b.first; });
    double best = 0, hits = 0;
    for (size_t k = 0; k < scored.size(); ++k) {
        hits += scored[k].second;
        const bool tied = k + 1 < scored.size() && scored[k + 1].first == scored[k].first;
        if (!tied) best = std::max(best, 2 * hits / ((double)k + 1 + wrong_ones));
    }
    return best;
}

// Of a judge: how well it finds the wrong sentences, and what it says right in each case.
struct JudgeFigures {
    double cases[library_cases] = {}, hits[library_cases] = {};
    double sentences = 0, readable = 0, faithful_hits = 0;
    double found = 0, alarms = 0, wrong_ones = 0;
    std::vector<std::pair<double, bool>> scored; // p(wrong) of the written verdict

    void add(const Library& library, const LibraryQuestion& question, const Answered& answered) {
        std::string why_not;
        const auto list = judged(library, question, *answered.completion, why_not);
        int begin = 0;
        for (size_t s = 0; s < question.sentences.size(); ++s) {
            const LibrarySentence& sentence = question.sentences[s];
            const bool is_right = question.right(library, sentence);
            const bool is_faithful = question.faithful(sentence);
            const int kind = library_case(is_faithful, is_right);
            ++cases[kind], ++sentences, wrong_ones += !is_right;
            if (!list) continue; // an output that cannot be read finds nothing
            const JudgedSentence& said = (*list)[s];
            ++readable;
            hits[kind] += said.correct == is_right;
            faithful_hits += said.faithful == is_faithful;
            alarms += !said.correct, found += !said.correct && !is_right;
            double logp = 0; // of what is written behind the faithfulness
            for (int t = begin + 2; t < said.end && !answered.logp.empty(); ++t)
                logp += answered.logp[t];
            const double p = std::exp(logp);
            scored.push_back({said.correct ? 1 - p : p, !is_right});
            begin = said.end;
        }
    }
    std::vector<TaskFigure> list(bool with_logp) const {
        std::vector<TaskFigure> figures = {{"f1_of_wrong", share(2 * found, alarms + wrong_ones)},
                                           {"precision_of_wrong", share(found, alarms)},
                                           {"recall_of_wrong", share(found, wrong_ones)}};
        if (with_logp && wrong_ones > 0)
            figures.push_back({"best_f1_of_wrong", best_f1(scored, wrong_ones)});
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

static std::vector<TaskFigure> figures(const Library& library,
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

// ---- the task -----------------------------------------------------------------------------------

static Role role_of(const std::string& name) {
    return name == "know" ? Role::know : name == "judge" ? Role::judge : Role::answer;
}

static void check_library(const StaleLibraryConfig& config) {
    CHECK(config.mix.size() == library_cases &&
              std::accumulate(config.mix.begin(), config.mix.end(), 0.0) > 0,
          "task.stale_library.mix needs four weights, not all 0; found %zu", config.mix.size());
    for (const std::string& field : config.fields)
        CHECK(field == "faithfulness" || field == "reason",
              "task.stale_library.fields has \"%s\"; it can have faithfulness and reason",
              field.c_str());
}

Task stale_library_task(const TaskConfig& task_config) {
    const StaleLibraryConfig config = task_config.stale_library;
    check_library(config);
    const uint64_t seed = (uint64_t)task_config.seed;
    const auto library = std::make_shared<const Library>(config);
    const Role role = role_of(config.role);
    const std::vector<Fact> all = library->facts("all"), trained = library->facts(config.facts),
                            held_out = library->facts("held_out");
    Task task;
    task.name = "stale_library";
    task.vocabulary = &words();
    task.count = [](Split) { return INT64_MAX; };
    task.problem = [=](Split split, int64_t i) {
        const bool train = split == Split::train;
        Rng rng(seed, 2 * (uint64_t)i + (train ? 0 : 1));
        Draw draw{config, *library, rng};
        const std::vector<Fact>& facts = train ? trained : held_out;
        const bool bare = role == Role::know || (train && rng.uniform() < config.know_share);
        LibraryQuestion question;
        if (bare)
            question = draw.statement(
                all[(size_t)(train ? rng.below((int)all.size()) : i % (int64_t)all.size())]);
        else
            question = role == Role::judge ? draw.to_judge(facts) : draw.to_answer(facts);
        Problem problem;
        problem.prompt_ids = library_prompt(question);
        problem.prompt = words().text(problem.prompt_ids, false);
        if (question.role == Role::know)
            problem.demonstration_ids = {value_id(library->known(question.requests[0])),
                                         words().eos()};
        else if (question.role == Role::judge)
            problem.demonstration_ids = library_verdicts(*library, question, config.fields);
        else
            problem.demonstration_ids = draw.demonstration(question);
        problem.demonstration = words().text(problem.demonstration_ids, false);
        if (question.role == Role::judge)
            for (const LibrarySentence& each : question.sentences)
                problem.answer += question.right(*library, each) ? "1" : "0";
        else
            for (Fact fact : question.requests)
                problem.answer += words().text(
                    {entity_id(fact), attribute_id(fact),
                     value_id(question.role == Role::know ? library->known(fact)
                                                          : question.truth(*library, fact)),
                     stop},
                    false);
        problem.where = format("stale_library problem %lld", (long long)i);
        return problem;
    };
    task.verify = [=](const Problem& problem, const std::vector<int32_t>& completion,
                      const std::string&) {
        const LibraryQuestion question = parse_library(problem.prompt_ids);
        if (question.role == Role::know) return verify_know(*library, question, completion);
        return question.role == Role::judge ? verify_judge(*library, question, completion)
                                            : verify_answer(*library, question, completion);
    };
    task.figures = [=](const std::vector<Answered>& answers) { return figures(*library, answers); };
    if (role == Role::know) return task;
    task.verify_steps = [=](const Problem& problem, const std::vector<int32_t>& completion) {
        const LibraryQuestion question = parse_library(problem.prompt_ids);
        return question.role == Role::judge ? judge_steps(*library, question, completion)
                                            : answer_steps(*library, question, completion);
    };
    if (role == Role::judge)
        task.judged = [=](const Problem& problem, const std::vector<int32_t>& completion) {
            std::string why_not;
            return judged(*library, parse_library(problem.prompt_ids), completion, why_not);
        };
    return task;
}
