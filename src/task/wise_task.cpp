#include "task/wise_task.h"

#include "base/rng.h"

#include <algorithm>
#include <numeric>

void WiseSettings::visit(Fields& v) {
    v.field("context_tokens", context_tokens, 8, 1e6,
            "of the utterances before the turn; in form generate words. The oldest are cut");
    v.field("query_tokens", query_tokens, 2, 1e5, "heads: tokens of a candidate query");
    v.field("passage_tokens", passage_tokens, 2, 1e5, "heads: tokens of a candidate passage");
    v.field("response_tokens", response_tokens, 1, 1e5, "heads: tokens of a response");
    v.field("queries", queries, 0, 10, "candidate queries of a turn");
    v.field("passages", passages, 0, 10, "candidate passages of a turn");
    v.choice("order", order, {"newest_first", "oldest_first"},
             "of the utterances; the authors' model reads the newest first");
    v.choice("candidates", candidates, {"file", "search"},
             "search: the turn stops behind its keyphrases, and what BM25 finds by them are its "
             "passages; training then asks every second time for intent and keyphrases alone");
}

bool WiseExample::labelled(WiseStage stage) const { return conversation->has(stage); }
WiseStages asked_stages(const WiseExample& example) { return example.conversation->labelled; }
WiseTextLimits text_limits(const WiseSettings& settings) {
    return {settings.context_tokens, settings.order == "newest_first"};
}

static WiseLimits limits_of(const WiseSettings& settings, int64_t seed) {
    return {settings.queries, settings.passages, (uint64_t)seed};
}

// Conversations of a file, all in memory.
static std::vector<WiseExample> examples_of(const std::string& path,
                                            std::shared_ptr<const WisePassages> texts,
                                            const WiseLimits& limits) {
    std::vector<WiseExample> examples;
    auto all = std::make_shared<const std::vector<WiseConversation>>(read_wise(path, *texts));
    for (const WiseTurn& turn : wise_turns(*all, limits))
        examples.push_back(
            {std::shared_ptr<const WiseConversation>(all, turn.conversation), texts, turn});
    CHECK(!examples.empty(), "%s: no conversation has an utterance of the wizard (role system)",
          path.c_str());
    return examples;
}

// Place i of an endless walk through `count` rows, in a new order each time round.
struct Shuffled {
    int64_t count;
    uint64_t seed;
    bool shuffle;
    std::vector<int> order{};
    int64_t epoch = -1;
    int64_t operator()(int64_t i) {
        if (!shuffle) return i % count;
        if (epoch != i / count) {
            epoch = i / count;
            order.resize(count);
            std::iota(order.begin(), order.end(), 0);
            Rng(seed, (uint64_t)epoch).shuffle(order);
        }
        return order[i % count];
    }
};

static WiseTurns file_turns(const TaskConfig& config) {
    CHECK(!config.documents.empty(),
          "task.documents is missing: the file of documents whose passages the conversations name");
    CHECK(!config.conversations.empty() || !config.eval_conversations.empty(),
          "task.conversations is missing: a file of conversations");
    auto texts =
        std::make_shared<const WisePassages>(wise_passages(read_documents(config.documents)));
    auto rows = std::make_shared<std::array<std::vector<WiseExample>, 2>>();
    const WiseLimits limits = limits_of(config.wise, config.seed);
    if (!config.conversations.empty())
        (*rows)[0] = examples_of(config.conversations, texts, limits);
    if (!config.eval_conversations.empty())
        (*rows)[1] = examples_of(config.eval_conversations, texts, limits);
    auto order = std::make_shared<Shuffled>(
        Shuffled{(int64_t)(*rows)[0].size(), (uint64_t)config.seed, config.shuffle});
    WiseTurns turns;
    turns.count = [=](Split split) { return (int64_t)(*rows)[split == Split::eval].size(); };
    turns.example = [=](Split split, int64_t i) {
        const auto& list = (*rows)[split == Split::eval];
        CHECK(!list.empty(), "the task has no turns %s",
              split == Split::train ? "to train on: set task.conversations"
                                    : "held out for evaluation: set task.eval_conversations");
        return list[split == Split::train ? (*order)(i) : i % (int64_t)list.size()];
    };
    return turns;
}

static WiseTurns made_turns(const TaskConfig& config) {
    const MiniWiseConfig world = config.mini_wise;
    auto part_of = [](const std::string& name) {
        for (size_t p = 0; p < std::size(mini_wise_parts); ++p)
            if (name == mini_wise_parts[p]) return (MiniWisePart)p;
        fail("task.mini_wise.part names \"%s\"; the parts are train, valid, testseen, testunseen, "
             "qa, "
             "chat, triples and reading",
             name.c_str());
    };
    std::vector<MiniWisePart> train; // they take turns
    for (size_t at = 0; at <= world.part.size();) {
        const size_t end = std::min(world.part.find('+', at), world.part.size());
        train.push_back(part_of(world.part.substr(at, end - at)));
        at = end + 1;
    }
    const MiniWisePart held_out = part_of(world.held_out);
    auto order = std::make_shared<Shuffled>(
        Shuffled{std::max<int64_t>(world.turns, 1), (uint64_t)config.seed, config.shuffle});
    WiseTurns turns;
    turns.count = [=](Split split) {
        return split == Split::train && world.turns ? world.turns : INT64_MAX;
    };
    turns.example = [=, limits = limits_of(config.wise, config.seed)](Split split, int64_t i) {
        if (split == Split::train && world.turns) i = (*order)(i);
        const int64_t parts = split == Split::train ? (int64_t)train.size() : 1;
        const MiniWisePart part = split == Split::train ? train[i % parts] : held_out;
        MiniWiseWorld one = mini_wise(world, part, i / parts / mini_wise_turns);
        auto conversation = std::make_shared<std::vector<WiseConversation>>(
            std::vector<WiseConversation>{std::move(one.conversation)});
        WiseExample example;
        example.texts = std::make_shared<const WisePassages>(wise_passages(one.documents));
        WiseLimits own = limits;
        own.seed = mix64(limits.seed ^ (uint64_t)i);
        example.turn = wise_turns(*conversation, own)[i / parts % mini_wise_turns];
        example.conversation =
            std::shared_ptr<const WiseConversation>(conversation, conversation->data());
        return example;
    };
    return turns;
}

WiseTurns wise_examples(const TaskConfig& config) {
    return config.name == "wise" ? file_turns(config) : made_turns(config);
}

static Problem turn_problem(const WiseExample& example, const WiseStages& asked, bool candidates,
                            const WiseTextLimits& limits) {
    Problem problem;
    problem.prompt = wise_prompt(example.turn, *example.texts, asked, candidates, limits);
    problem.demonstration = wise_completion(example.turn, wise_gold(example.turn), asked);
    problem.answer = example.turn.spoken().response;
    problem.row = {{"prompt", problem.prompt}, {"completion", problem.demonstration}};
    problem.where =
        example.conversation->where + format(": conversations[%d]", example.turn.utterance);
    problem.wise = std::make_shared<const WiseExample>(example);
    return problem;
}

static std::string outline(const WiseSaid& said) {
    return said.why_not.empty() ? "action " + said.fields.action : said.why_not;
}

Task wise_task(const TaskConfig& config) {
    CHECK(config.form == "generate", "task.form=heads has no text to write: train it by "
                                     "train.objective=wise, measure it by eval");
    const WiseTurns turns = wise_examples(config);
    const WiseTextLimits limits = text_limits(config.wise);
    const bool search = config.wise.candidates == "search";
    Task task;
    task.name = config.name;
    task.count = [=](Split split) {
        const int64_t count = turns.count(split);
        return search && split == Split::train && count != INT64_MAX ? 2 * count : count;
    };
    task.problem = [=](Split split, int64_t i) {
        const bool twice = search && split == Split::train;
        const WiseExample example = turns.example(split, twice ? i / 2 : i);
        WiseStages asked = asked_stages(example);
        const bool before = twice && i % 2 && asked[0] && asked[1];
        return turn_problem(example, before ? before_search : asked, !before, limits);
    };
    task.verify = [](const Problem& problem, const std::vector<int32_t>&,
                     const std::string& completion) {
        const WiseTurn& turn = problem.wise->turn;
        const WiseSaid said = parse_wise_text(completion, turn, asked_stages(*problem.wise));
        Verdict verdict;
        verdict.reward = said.why_not.empty() && wise_success({wise_gold(turn), said.fields});
        verdict.reason = verdict.reward > 0 ? "right" : outline(said);
        verdict.answer = said.fields.response;
        return verdict;
    };
    task.fields = [](const Problem& problem, const std::string& completion) {
        const WiseTurn& turn = problem.wise->turn;
        const WiseStages asked = asked_stages(*problem.wise);
        const WiseSaid said = parse_wise_text(completion, turn, asked);
        std::vector<FieldVerdict> fields;
        if (!said.why_not.empty()) return fields;
        for (int s = 0; s < wise_stages; ++s) {
            if (!asked[s]) continue;
            size_t begin =
                said.begin[s]; // a token may hold the blank before the tag and a part of it
            while (begin > 0 && completion[begin - 1] == ' ') --begin;
            fields.push_back({wise_stage_names[s], begin, said.end[s],
                              wise_field_score(turn, said.fields, (WiseStage)s)});
        }
        return fields;
    };
    return task;
}
