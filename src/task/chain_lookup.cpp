#include "task/chain_lookup.h"

#include "task/lessons.h"

#include <algorithm>

using chain_lookup::nodes;
using chain_lookup::words;

const Vocabulary& chain_lookup::words() {
    static const Vocabulary vocabulary = [] {
        std::vector<std::string> list;
        for (char c = 'A'; c <= 'Z'; ++c) list.push_back({c});
        for (char c = 'a'; c <= 'n'; ++c) list.push_back({c});
        for (char c = '0'; c <= '9'; ++c) list.push_back({c});
        for (const char* sign : {"#", ";", "?", "!", "-", ">", "=", "|"}) list.push_back(sign);
        for (const char* word : {"relevant", "coherent", "yes", "no"}) list.push_back(word);
        return Vocabulary(list);
    }();
    return vocabulary;
}

namespace {

int32_t sign(char c) { return words().id(std::string(1, c)); }
int32_t digit(int value) { return nodes + value; }
bool is_node(int32_t id) { return id >= 0 && id < nodes; }

} // namespace

// ---- questions ----------------------------------------------------------------------------------

int LookupQuestion::follow(int from) const {
    for (const LookupDocument& document : documents)
        for (const Edge& edge : document.edges)
            if (edge.first == from) return edge.second;
    return -1;
}

int LookupQuestion::answer() const {
    int node = start;
    for (int hop = 0; hop < hops && node >= 0; ++hop) node = follow(node);
    return node;
}

bool LookupQuestion::mentions(int node) const {
    for (const LookupDocument& document : documents)
        for (const Edge& edge : document.edges)
            if (edge.first == node || edge.second == node) return true;
    return false;
}

bool LookupQuestion::has(Edge edge) const {
    return edge.first >= 0 && follow(edge.first) == edge.second;
}

std::vector<int32_t> lookup_prompt(const LookupQuestion& question) {
    std::vector<int32_t> ids = {words().bos()};
    for (const LookupDocument& document : question.documents) {
        ids.insert(ids.end(), {sign('#'), document.title});
        for (const Edge& edge : document.edges)
            ids.insert(ids.end(), {edge.first, edge.second, sign(';')});
    }
    const int32_t hint = question.hint < 0 ? sign('-') : question.hint;
    ids.insert(ids.end(),
               {sign('?'), question.start, digit(question.hops), sign('!'), hint, sign('>')});
    return ids;
}

LookupQuestion parse_lookup(const std::vector<int32_t>& ids) {
    LookupQuestion question;
    size_t at = 1;
    auto check = [&](bool right) {
        CHECK(
            right,
            "\"%s\" is no question of chain_lookup: <bos>, two documents as #AAB;BC;, then ?A2!-> "
            "with a hint or - behind the !",
            words().text(ids, true).c_str());
    };
    auto is = [&](size_t k, char c) { return k < ids.size() && ids[k] == sign(c); };
    auto node = [&](size_t k) {
        check(k < ids.size() && is_node(ids[k]));
        return (int)ids[k];
    };
    check(!ids.empty() && ids[0] == words().bos());
    while (is(at, '#')) {
        LookupDocument& document = question.documents.emplace_back();
        document.title = node(at + 1);
        for (at += 2; is(at + 2, ';'); at += 3) document.edges.push_back({node(at), node(at + 1)});
    }
    check(question.documents.size() == 2 && ids.size() == at + 6 && is(at, '?') &&
          is(at + 3, '!') && is(at + 5, '>'));
    question.start = node(at + 1);
    question.hops = ids[at + 2] - digit(0);
    check(question.hops >= 1 && question.hops <= 9);
    if (!is(at + 4, '-')) question.hint = node(at + 4);
    check(question.answer() >= 0);
    return question;
}

static LookupQuestion draw_question(const ChainLookupConfig& config, Rng& rng) {
    std::vector<int> order(config.nodes);
    for (int n = 0; n < config.nodes; ++n) order[n] = n;
    rng.shuffle(order);
    LookupQuestion question;
    for (int d = 0; d < 2; ++d) {
        const int* chain = order.data() + (size_t)d * (config.edges + 1);
        LookupDocument& document = question.documents.emplace_back();
        document.title = chain[0];
        for (int e = 0; e < config.edges; ++e) document.edges.push_back({chain[e], chain[e + 1]});
        rng.shuffle(document.edges);
    }
    question.start = question.documents[rng.below(2)].title;
    question.hops = config.hops_min + rng.below(config.hops_max - config.hops_min + 1);
    if (rng.uniform() < config.hint) question.hint = question.answer();
    return question;
}

// ---- traces -------------------------------------------------------------------------------------

const char* trace_kind_name(TraceKind kind) {
    static const char* const names[trace_kinds] = {"valid",      "hesitant", "off_topic",
                                                   "incoherent", "other",    "malformed"};
    return names[(int)kind];
}

// From a node along the edges.
static std::vector<Edge> walk(const LookupQuestion& question, int from) {
    std::vector<Edge> trace;
    for (int hop = 0; hop < question.hops; ++hop) {
        trace.push_back({from, question.follow(from)});
        from = trace.back().second;
    }
    return trace;
}

static const LookupDocument& other_document(const LookupQuestion& question) {
    const bool first = question.documents[0].title == question.start;
    return question.documents[first ? 1 : 0];
}

std::vector<Edge> lookup_trace(const LookupQuestion& question, TraceKind kind, Rng& rng) {
    if (kind == TraceKind::off_topic) return walk(question, other_document(question).title);
    std::vector<Edge> trace = walk(question, question.start);
    if (kind == TraceKind::incoherent)
        for (Edge& edge : trace) std::swap(edge.first, edge.second);
    if (kind == TraceKind::hesitant) {
        const int at = rng.below((int)trace.size() - 1); // the edge whose end is invented
        const std::vector<Edge>& strange = other_document(question).edges;
        const Edge& from = strange[rng.below((int)strange.size())];
        trace[at].second = trace[at + 1].first = rng.below(2) ? from.first : from.second;
    }
    return trace;
}

std::vector<int32_t> lookup_completion(const std::vector<Edge>& trace, int answer) {
    std::vector<int32_t> ids;
    for (size_t e = 0; e < trace.size(); ++e)
        ids.insert(ids.end(), {digit((int)(trace.size() - e)), trace[e].first, trace[e].second});
    ids.insert(ids.end(), {sign('='), answer, words().eos()});
    return ids;
}

WrittenTrace read_trace(const LookupQuestion& question, const std::vector<int32_t>& ids) {
    WrittenTrace trace;
    size_t at = 0;
    auto is_digit = [&](int32_t id) { return id >= digit(0) && id <= digit(9); };
    for (;
         at + 3 <= ids.size() && is_digit(ids[at]) && is_node(ids[at + 1]) && is_node(ids[at + 2]);
         at += 3) {
        trace.counted &= ids[at] == digit(question.hops - (int)trace.edges.size());
        trace.edges.push_back({ids[at + 1], ids[at + 2]});
    }
    trace.reasoning = (int)at + 1;
    if (!trace.edges.empty() && ids.size() == at + 3 && ids[at] == sign('=') &&
        is_node(ids[at + 1]) && ids[at + 2] == words().eos())
        trace.answer = ids[at + 1];
    return trace;
}

TraceKind kind_of(const LookupQuestion& question, const WrittenTrace& trace) {
    if (trace.answer < 0) return TraceKind::malformed;
    const std::vector<Edge> right = walk(question, question.start);
    if (!trace.counted || trace.edges.size() != right.size()) return TraceKind::other;
    if (trace.edges == right) return TraceKind::valid;
    if (trace.edges == walk(question, other_document(question).title)) return TraceKind::off_topic;
    bool backwards = true, linked = trace.edges[0].first == question.start;
    for (size_t e = 0; e < right.size(); ++e) {
        backwards &= trace.edges[e] == Edge(right[e].second, right[e].first);
        linked &= e == 0 || trace.edges[e].first == trace.edges[e - 1].second;
    }
    return backwards ? TraceKind::incoherent : linked ? TraceKind::hesitant : TraceKind::other;
}

LookupJudgement judge_trace(const LookupQuestion& question, const WrittenTrace& trace) {
    auto logit = [](double share) { return LookupJudgement::sure * (2 * share - 1); };
    auto touches = [](const Edge& edge, int node) {
        return edge.first == node || edge.second == node;
    };
    const std::vector<Edge>& edges = trace.edges;
    double mentioned = 0, linked = 0;
    for (size_t e = 0; e < edges.size(); ++e) {
        mentioned += question.mentions(edges[e].first) + question.mentions(edges[e].second);
        linked += e == 0 || edges[e].first == edges[e - 1].second;
    }
    LookupJudgement judgement;
    judgement.question = logit(touches(edges.front(), question.start));
    judgement.documents = logit(mentioned / (2 * (double)edges.size()));
    judgement.answer = logit(touches(edges.back(), trace.answer));
    judgement.coherence = logit(edges.size() < 2 ? 1 : (linked - 1) / ((double)edges.size() - 1));
    return judgement;
}

// ---- the task -----------------------------------------------------------------------------------

// Right: the answer is, and the sequence ends behind it. The reasoning may be wrong.
static Verdict verify(const LookupQuestion& question, const std::vector<int32_t>& completion) {
    Verdict verdict;
    const WrittenTrace trace = read_trace(question, completion);
    if (trace.answer < 0) {
        verdict.reason = "no = with a node and the end behind it";
        return verdict;
    }
    verdict.answer = words().spelling[trace.answer];
    const bool right = trace.answer == question.answer();
    const TraceKind kind = kind_of(question, trace);
    verdict.reward = right;
    verdict.reason =
        std::string(right ? "right" : "the answer is wrong") +
        (kind == TraceKind::valid ? ""
                                  : std::string(", the reasoning is ") + trace_kind_name(kind));
    return verdict;
}

// A step is an edge; the last part is the answer with its "=".
static std::vector<StepVerdict> verify_steps(const LookupQuestion& question,
                                             const std::vector<int32_t>& completion) {
    const WrittenTrace trace = read_trace(question, completion);
    std::vector<StepVerdict> parts;
    int from = question.start, size = (int)completion.size();
    for (size_t e = 0; e < trace.edges.size(); ++e) {
        const int at = 3 * (int)e;
        const Edge& edge = trace.edges[e];
        StepVerdict part{at, at + 3, false, ""};
        if (completion[at] != digit(question.hops - (int)e))
            part.reason = "wrong count";
        else if (edge.first != from)
            part.reason = "does not begin where it should";
        else if (!question.has(edge))
            part.reason = "no document has the edge";
        else
            part.right = true, part.reason = "right";
        parts.push_back(part);
        from = edge.second;
    }
    const int end = 3 * (int)trace.edges.size();
    if (end < size) {
        const bool right = trace.answer == question.answer();
        parts.push_back({end, size, right, right ? "right" : "no right answer and end"});
    }
    return parts;
}

static std::vector<TaskFigure> figures(const std::vector<Answered>& answers) {
    double kinds[trace_kinds] = {}, right = 0, valid_right = 0;
    for (const Answered& each : answers) {
        const LookupQuestion question = parse_lookup(each.problem->prompt_ids);
        const WrittenTrace trace = read_trace(question, *each.completion);
        const TraceKind kind = kind_of(question, trace);
        ++kinds[(int)kind];
        if (trace.answer != question.answer()) continue;
        ++right, valid_right += kind == TraceKind::valid;
    }
    std::vector<TaskFigure> list;
    const double all = (double)answers.size();
    for (int k = 0; k < trace_kinds; ++k)
        list.push_back({trace_kind_name((TraceKind)k), kinds[k] / all});
    if (right > 0) list.push_back({"valid_of_right", valid_right / right});
    return list;
}

// relevant Q | R,  relevant D | R,  relevant R | A,  coherent D Q | R; each with the end of a
// sequence. D: the documents, Q: the question without its hint.
JudgeRows lookup_judge_rows(const std::vector<int32_t>& prompt,
                            const std::vector<int32_t>& completion, int reasoning_end) {
    using Ids = std::vector<int32_t>;
    const auto mark = std::find(prompt.begin(), prompt.end(), sign('?'));
    const Ids documents(prompt.begin() + 1, mark), question(mark, mark + 3),
        reasoning(completion.begin(), completion.begin() + reasoning_end),
        answer(completion.begin() + reasoning_end, completion.begin() + reasoning_end + 1);
    auto row = [](const char* what, std::initializer_list<const Ids*> before, const Ids& after) {
        Ids ids = {words().bos(), words().id(what)};
        for (const Ids* part : before) ids.insert(ids.end(), part->begin(), part->end());
        ids.push_back(sign('|'));
        ids.insert(ids.end(), after.begin(), after.end());
        ids.push_back(words().eos());
        return ids;
    };
    return {row("relevant", {&question}, reasoning),
            row("relevant", {&documents}, reasoning),
            row("relevant", {&reasoning}, answer),
            row("coherent", {&documents, &question}, reasoning),
            words().id("yes"),
            words().id("no")};
}

static std::optional<ReasonedAnswer> reasoned(const std::vector<int32_t>& prompt,
                                              const LookupQuestion& question,
                                              const std::vector<int32_t>& completion) {
    const WrittenTrace trace = read_trace(question, completion);
    if (trace.answer < 0) return std::nullopt;
    const LookupJudgement judged = judge_trace(question, trace);
    ReasonedAnswer answer;
    answer.reasoning_end = answer.answer_begin = trace.reasoning;
    answer.question = judged.question, answer.documents = judged.documents;
    answer.answer = judged.answer, answer.coherence = judged.coherence;
    answer.rows = lookup_judge_rows(prompt, completion, trace.reasoning);
    return answer;
}

// Relevance: a reasoning with its own question, documents and answer (yes), and with those that are
// not (no): on the other document, of another problem, before another answer. Coherence: a reasoning
// against the same one spoiled: edges backwards, or two that have changed places.
static std::vector<ReasoningLesson> lessons(const std::string& judge, const Problem& problem,
                                            const Problem& another, Rng& rng) {
    const LookupQuestion question = parse_lookup(problem.prompt_ids);
    auto rows_of = [&](const std::vector<Edge>& trace, int answer) {
        const std::vector<int32_t> completion = lookup_completion(trace, answer);
        return lookup_judge_rows(problem.prompt_ids, completion, (int)completion.size() - 2);
    };
    const std::vector<Edge> right = lookup_trace(question, TraceKind::valid, rng);
    const JudgeRows rows = rows_of(right, question.answer());
    const std::vector<int32_t> yes = {rows.yes}, no = {rows.no};
    if (judge == "relevance") {
        const LookupQuestion strange = parse_lookup(another.prompt_ids);
        const auto elsewhere = lookup_trace(question, TraceKind::off_topic, rng);
        const auto foreign = lookup_trace(strange, TraceKind::valid, rng);
        const int wrong_answer = elsewhere[rng.below((int)elsewhere.size())].second;
        return {
            {rows.question, yes, no},  {rows_of(elsewhere, question.answer()).question, no, yes},
            {rows.documents, yes, no}, {rows_of(foreign, question.answer()).documents, no, yes},
            {rows.answer, yes, no},    {rows_of(right, wrong_answer).answer, no, yes}};
    }
    std::vector<Edge> spoiled = right;
    if (right.size() < 2 || rng.below(2)) {
        const bool all = rng.below(2);
        const int one = rng.below((int)spoiled.size());
        for (int e = 0; e < (int)spoiled.size(); ++e)
            if (all || e == one) std::swap(spoiled[e].first, spoiled[e].second);
    } else {
        const int at = rng.below((int)spoiled.size() - 1);
        std::swap(spoiled[at], spoiled[at + 1]);
    }
    auto pair = [](const std::vector<int32_t>& good, const std::vector<int32_t>& bad) {
        const auto bar = std::find(good.begin(), good.end(), sign('|')) + 1;
        const auto length = bar - good.begin();
        return ReasoningLesson{
            {good.begin(), bar}, {bar, good.end()}, {bad.begin() + length, bad.end()}};
    };
    return {pair(rows.coherence, rows_of(spoiled, question.answer()).coherence)};
}

static TraceKind draw_kind(const ChainLookupConfig& config, Rng& rng) {
    double u = rng.uniform();
    for (auto [kind, share] : {std::pair{TraceKind::hesitant, config.hesitant},
                               {TraceKind::off_topic, config.off_topic},
                               {TraceKind::incoherent, config.incoherent}})
        if ((u -= share) < 0) return kind;
    return TraceKind::valid;
}

Task chain_lookup_task(const TaskConfig& task_config) {
    const ChainLookupConfig config = task_config.chain_lookup;
    const uint64_t seed = (uint64_t)task_config.seed;
    CHECK(config.hops_min <= config.hops_max && config.hops_max <= config.edges,
          "task.chain_lookup: hops_min = %d, hops_max = %d and edges = %d must not fall",
          config.hops_min, config.hops_max, config.edges);
    CHECK(config.nodes >= 2 * (config.edges + 1),
          "task.chain_lookup: two chains of %d edges need %d nodes; nodes = %d", config.edges,
          2 * (config.edges + 1), config.nodes);
    CHECK(config.hesitant + config.off_topic + config.incoherent <= 1,
          "task.chain_lookup: the shares of flawed demonstrations add up to more than 1");
    CHECK(config.hesitant == 0 || config.hops_min >= 2,
          "task.chain_lookup.hesitant = %g needs an inner node: hops_min = 2 or more",
          config.hesitant);
    Task task;
    task.name = "chain_lookup";
    task.vocabulary = &words();
    task.count = [](Split) { return INT64_MAX; };
    task.problem = [=](Split split, int64_t i) {
        const bool train = split == Split::train;
        Rng rng(seed, 2 * (uint64_t)i + (train ? 0 : 1));
        LookupQuestion question;
        Problem problem;
        do {
            question = draw_question(config, rng);
            problem.prompt_ids = lookup_prompt(question);
        } while (chain_held_out(problem.prompt_ids) == train);
        const TraceKind kind = draw_kind(config, rng);
        const int answer = question.answer();
        problem.prompt = words().text(problem.prompt_ids, false);
        problem.demonstration_ids = lookup_completion(lookup_trace(question, kind, rng), answer);
        problem.demonstration = words().text(problem.demonstration_ids, false);
        problem.answer = words().spelling[answer];
        problem.where = format("chain_lookup problem %lld", (long long)i);
        return problem;
    };
    task.verify = [](const Problem& problem, const std::vector<int32_t>& completion,
                     const std::string&) {
        return verify(parse_lookup(problem.prompt_ids), completion);
    };
    task.verify_steps = [](const Problem& problem, const std::vector<int32_t>& completion) {
        return verify_steps(parse_lookup(problem.prompt_ids), completion);
    };
    task.figures = figures;
    task.reasoned = [](const Problem& problem, const std::vector<int32_t>& completion) {
        return reasoned(problem.prompt_ids, parse_lookup(problem.prompt_ids), completion);
    };
    return task;
}

std::vector<ReasoningLesson> reasoning_lessons(const TaskConfig& config, const std::string& judge,
                                               Split split, int64_t i) {
    const Task task = make_task(config);
    CHECK(task.name == "chain_lookup",
          "the task %s has no judges of reasoning to teach; chain_lookup has", task.name.c_str());
    Rng rng(mix64((uint64_t)config.seed), (uint64_t)i);
    return lessons(judge, task.problem(split, i), task.problem(split, i + 1), rng);
}
