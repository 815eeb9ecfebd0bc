// rlhf chat: a person at a terminal, or the lines of a pipe, talks to a model. With documents the model is
// the wizard of WISE, who searches in them; every stage of its turn is shown.

#include "app/commands.h"
#include "app/terminal.h"
#include "app/wizard.h"
#include "base/clock.h"
#include "model/hf.h"

#include <cstdio>

namespace {

struct TalkConfig {
    ModelSettings model;
    std::string system, documents, queries, format = "text";
    PromptSettings data;
    ChatConfig chat;
    WiseSettings wise;
    SampleConfig sample;
    ComputeSettings compute;
    TalkConfig() {
        data.template_name = "chat";
        sample.temperature = 0.7, sample.top_p = 0.95, sample.max_new_tokens = 512;
        wise.order = "oldest_first", wise.queries = wise.passages = 4;
    }
    void visit(Fields& v) {
        v.object("model", model, "who is talked to");
        v.field("system", system, "message of the system in front of the conversation");
        v.field(
            "documents", documents,
            "document file: the model is the wizard of WISE in form generate, and searches here");
        v.field("queries", queries,
                "wizard: document file of queries, among which it looks for related ones");
        v.choice("format", format, {"text", "json"}, "of a turn; json: one object per line");
        v.object("data", data, "how a conversation becomes a prompt");
        v.object("chat", chat, "conversations");
        v.object("wise", wise, "what the wizard sees of a turn");
        v.object("sample", sample, "how tokens are drawn");
        v.object("compute", compute, "the machine");
    }
};

// What stays out of sight until more has come: U+FFFD at the end may be the beginning of a character.
size_t settled(const std::string& text) {
    const std::string unknown = "\xef\xbf\xbd";
    size_t end = text.size();
    while (end >= 3 && text.compare(end - 3, 3, unknown) == 0) end -= 3;
    return end;
}

// A conversation with a model; messages that no longer fit its context are forgotten, the oldest first.
struct Talk {
    Model& model;
    const Inputs& inputs;
    const TalkConfig& config;
    Json messages = Json::array();
    uint32_t turns = 0;

    void start() {
        messages = Json::array();
        if (!config.system.empty())
            messages.push_back({{"role", "system"}, {"content", config.system}});
    }
    bool raw() const { return config.data.template_name == "none"; }

    std::vector<int32_t> prompt(const std::string& where) const {
        Json row = {{"messages", messages}};
        if (raw()) {
            std::string text;
            for (const Json& message : messages) text += message["content"].get<std::string>();
            row = {{"prompt", text}};
        }
        return parse_row(row, where, inputs.options, RowNeed::prompt).ids;
    }

    // The prompt, after so many messages were forgotten that an answer has room.
    std::vector<int32_t> fitting_prompt(const std::string& where, int& forgotten) {
        const int context = model.config.max_positions;
        const int room = std::min(config.sample.max_new_tokens, context / 2);
        const size_t oldest = !messages.empty() && messages[0]["role"] == "system";
        for (;;) {
            std::vector<int32_t> ids = prompt(where);
            if ((int)ids.size() + room <= context) return ids;
            if (messages.size() == oldest + 1) {
                CHECK((int)ids.size() < context,
                      "%s: the message has %zu tokens and leaves no room to answer; the model's "
                      "context is %d",
                      where.c_str(), ids.size(), context);
                return ids;
            }
            // Whole exchanges: a template may insist that the user begins.
            do {
                messages.erase(messages.begin() + (int)oldest);
                ++forgotten;
            } while (messages.size() > oldest + 1 && messages[oldest]["role"] != "user");
        }
    }

    void say(const std::string& text, const std::string& where) {
        const Json before = messages;
        messages.push_back({{"role", "user"}, {"content", text}});
        int forgotten = 0;
        std::vector<int32_t> ids;
        try {
            ids = fitting_prompt(where, forgotten);
        } catch (const Error&) {
            messages = before; // as if it had not been said
            throw;
        }
        if (forgotten)
            std::fprintf(stderr,
                         "(the oldest %d messages do not fit the context of %d tokens any more "
                         "and are forgotten)\n",
                         forgotten, model.config.max_positions);
        const bool text_out = config.format == "text";
        std::string answer;
        size_t shown = 0;
        bool stopped = false;
        SampleConfig sample = config.sample;
        sample.n = 1;
        Terminal::interrupted(); // pressed before the turn began
        auto drawn = [&](const Completion& completion) {
            answer = inputs.text(completion.ids);
            const size_t end = settled(answer);
            if (text_out && end > shown) {
                std::fwrite(answer.data() + shown, 1, end - shown, stdout);
                std::fflush(stdout);
                shown = end;
            }
            stopped = Terminal::interrupted();
            return !stopped;
        };
        const std::vector<Completion> completions =
            generate(model, {ids}, sample, turns++, nullptr, {}, nullptr, drawn);
        const Completion& completion = completions[0];
        if (text_out) {
            std::fwrite(answer.data() + shown, 1, answer.size() - shown, stdout);
            std::printf("%s\n", stopped ? " ..." : "");
        } else {
            const Json row = {{"user", text},
                              {"assistant", answer},
                              {"finish", stopped               ? "interrupted"
                                         : completion.finished ? "stop"
                                                               : "length"},
                              {"prompt_tokens", ids.size()},
                              {"new_tokens", completion.ids.size()},
                              {"forgotten", forgotten}};
            std::printf("%s\n", dump_row(row).c_str());
        }
        std::fflush(stdout);
        messages.push_back({{"role", "assistant"}, {"content", answer}});
    }
};

// A conversation with the wizard.
struct WizardTalk {
    const Wizard& wizard;
    const TalkConfig& config;
    std::vector<WiseUtterance> utterances{};

    void start() { utterances.clear(); }

    WiseExample example(const std::string& where) const {
        auto conversation = std::make_shared<WiseConversation>();
        conversation->utterances = utterances;
        conversation->where = where;
        WiseUtterance& own = conversation->utterances.emplace_back();
        own.system = true, own.action = 0;
        WiseExample example;
        example.turn.conversation = conversation.get();
        example.turn.utterance = (int)utterances.size();
        example.conversation = conversation;
        example.texts = std::make_shared<const WisePassages>();
        return example;
    }

    static std::string list(const std::vector<std::string>& items) {
        std::string text;
        for (const std::string& item : items) text += (text.empty() ? "" : " | ") + item;
        return text.empty() ? "-" : text;
    }

    void show(const WizardTurn& turn) const {
        const WiseFields& said = turn.said.fields;
        auto row = [](const char* name, const std::string& value) {
            std::printf("  %-11s %s\n", name, value.c_str());
        };
        auto text_of = [&](const std::string& id) { return id + "  " + turn.texts->at(id); };
        row("intent", said.intent);
        row("keyphrases", list(said.keyphrases));
        for (size_t i = 0; i < turn.turn.passages.size(); ++i)
            row(i ? "" : "search", text_of(turn.turn.passages[i].text));
        if (turn.turn.passages.empty()) row("search", "nothing found");
        row("action", said.action);
        if (!turn.turn.queries.empty()) row("queries", list(said.queries));
        for (size_t i = 0; i < said.passages.size(); ++i)
            row(i ? "" : "passages", text_of(said.passages[i]));
        if (said.passages.empty()) row("passages", "-");
        if (!turn.said.why_not.empty())
            row("unreadable", turn.said.why_not + ", as the model wrote: " + turn.text);
        std::printf("%s\n", said.response.c_str());
    }

    void say(const std::string& text, const std::string& where) {
        WiseUtterance user;
        user.response = text;
        utterances.push_back(user);
        const WizardTurn turn = wizard.write({example(where)})[0];
        const WiseFields& said = turn.said.fields;
        if (config.format == "text") {
            show(turn);
        } else {
            Json row = {{"user", text}};
            row.update(wise_fields_json(said));
            Json& found = row["search"] = Json::array();
            for (const WiseCandidate& one : turn.turn.passages)
                found.push_back({{"passage", one.text}, {"text", turn.texts->at(one.text)}});
            if (!turn.said.why_not.empty()) row["unreadable"] = turn.said.why_not;
            std::printf("%s\n", dump_row(row).c_str());
        }
        std::fflush(stdout);
        utterances.back().intent = wise_intent(said.intent);
        WiseUtterance own;
        own.system = true, own.action = std::max(0, wise_action(said.action));
        own.response = said.response;
        utterances.push_back(own);
    }
};

// Lines of standard input until there are no more. What goes wrong in a turn ends it at a terminal, and the
// program in a pipe.
template <class T> void converse(T& talk, const char* who) {
    Terminal terminal;
    if (terminal.person)
        std::printf("%s. ctrl-C ends an answer, /clear the conversation, /exit or ctrl-D the "
                    "program.\n",
                    who);
    talk.start();
    while (std::optional<std::string> line = terminal.read_line("> ")) {
        if (line->find_first_not_of(" \t") == std::string::npos) continue;
        if (*line == "/exit") break;
        try {
            if (*line == "/clear")
                talk.start();
            else
                talk.say(*line, format("line %d", terminal.line));
        } catch (const Error& error) {
            if (!terminal.person) throw;
            std::fflush(stdout);
            std::fprintf(stderr, "%s\n", error.what());
        }
    }
}

} // namespace

static int chat(TalkConfig& config, const Args&) {
    CHECK(config.queries.empty() || !config.documents.empty(),
          "queries=%s belongs to the wizard; name the documents to search by documents=F",
          config.queries.c_str());
    const ComputeConfig compute = apply_compute(config.compute);
    const std::string directory = model_directory(config.model.path);
    std::unique_ptr<Model> model = load_model(directory, compute, true);
    CHECK(model->config.head == Head::lm, "%s is a reward model and cannot answer",
          directory.c_str());
    if (!config.documents.empty() && config.data.template_name == "chat" &&
        !ChatTemplate::is_in(directory))
        config.data.template_name = "none";
    Inputs inputs =
        open_inputs(directory, model->config, config.data.template_name, true, config.chat);
    inputs.options.max_length = 0; // a conversation is cut here, not refused
    CHECK(inputs.tokenizer, "%s has no tokenizer.json; a chat is text", directory.c_str());
    if (config.documents.empty()) {
        CHECK(config.data.template_name == "none" || ChatTemplate::is_in(directory),
              "%s has no chat template, so it does not know who speaks: data.template=none goes on "
              "with what is typed as it is",
              directory.c_str());
        Talk talk{*model, inputs, config};
        converse(talk, directory.c_str());
        return 0;
    }
    const DocumentSearch documents = DocumentSearch::open(config.documents, "");
    std::unique_ptr<DocumentSearch> queries;
    if (!config.queries.empty())
        queries = std::make_unique<DocumentSearch>(DocumentSearch::open(config.queries, ""));
    config.sample.n = 1;
    const Wizard wizard{*model, inputs, config.sample, config.wise, {}, &documents, queries.get()};
    WizardTalk talk{wizard, config};
    converse(talk, directory.c_str());
    return 0;
}

extern const Command chat_command;
const Command chat_command =
    command<TalkConfig, chat>("chat", "talk to a model, or to a wizard that searches in documents");
