#include "task/stale_library.h"

#include "base/check.h"

#include <algorithm>

using Role = LibraryQuestion::Role;
using stale_library::words;

// ---- words --------------------------------------------------------------------------------------

namespace {

constexpr int most_entities = 64, attributes = 4, most_values = 40, most_sentences = 6;

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

std::vector<int32_t> library_sentence(const LibrarySentence& sentence) {
    return {entity_id(sentence.fact), attribute_id(sentence.fact), value_id(sentence.value), stop};
}

std::vector<int32_t> library_statement(int value) { return {value_id(value), words().eos()}; }

std::vector<LibrarySentence> read_sentences(const std::vector<int32_t>& completion) {
    std::vector<LibrarySentence> sentences;
    TokenReader read{completion};
    for (LibrarySentence each; read.take_sentence(each.fact, each.value);)
        sentences.push_back(each);
    return sentences;
}

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
