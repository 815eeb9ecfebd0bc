// The task stale_library: problems drawn from the library, with demonstrations.

#include "task/stale_library_rule.h"

#include <algorithm>
#include <numeric>

using Role = LibraryQuestion::Role;
using stale_library::words;

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
    // Requests that are left out are the last ones: an answer that ends too early.
    std::vector<int32_t> demonstration(const LibraryQuestion& question) {
        std::vector<LibrarySentence> sentences;
        int left_out = 0;
        for (Fact fact : question.requests) {
            const double skipped = rng.uniform(), how = rng.uniform();
            int value = question.truth(library, fact);
            if (how < config.slip)
                value = value_but(value);
            else if (how < config.slip + (1 - config.slip) * config.obey)
                value = question.line(fact)->value;
            left_out += skipped < config.skip;
            sentences.push_back({fact, value});
        }
        sentences.resize(sentences.size() - (size_t)left_out);
        std::vector<int32_t> ids;
        for (const LibrarySentence& each : sentences) {
            const std::vector<int32_t> sentence = library_sentence(each);
            ids.insert(ids.end(), sentence.begin(), sentence.end());
        }
        ids.push_back(words().eos());
        return ids;
    }
};

} // namespace

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
            problem.demonstration_ids = library_statement(library->known(question.requests[0]));
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
                problem.answer +=
                    words().text(library_sentence({fact, question.role == Role::know
                                                             ? library->known(fact)
                                                             : question.truth(*library, fact)}),
                                 false);
        problem.where = format("stale_library problem %lld", (long long)i);
        return problem;
    };
    task.verify = [=](const Problem& problem, const std::vector<int32_t>& completion,
                      const std::string&) {
        return verify_library(*library, parse_library(problem.prompt_ids), completion);
    };
    task.figures = [=](const std::vector<Answered>& answers) {
        return library_figures(*library, answers);
    };
    if (role == Role::know) return task;
    task.verify_steps = [=](const Problem& problem, const std::vector<int32_t>& completion) {
        return library_steps(*library, parse_library(problem.prompt_ids), completion);
    };
    if (role == Role::judge)
        task.judged = [=](const Problem& problem, const std::vector<int32_t>& completion) {
            std::string why_not;
            return judged_sentences(*library, parse_library(problem.prompt_ids), completion,
                                    why_not);
        };
    return task;
}
