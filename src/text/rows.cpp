#include "text/rows.h"

#include "base/file.h"

#include <algorithm>

void ChatConfig::apply(RowOptions& options) const {
    CHECK(add_generation_prompt.is_null() || add_generation_prompt.is_boolean(),
          "chat.add_generation_prompt must be true, false or null, found %s",
          dump_row(add_generation_prompt).c_str());
    options.add_generation_prompt =
        add_generation_prompt.is_null() ? -1 : (int)add_generation_prompt.get<bool>();
    options.chat_date = date;
    CHECK(variables.is_object(), "chat.variables must be an object, found %s",
          dump_row(variables).c_str());
    options.chat_variables = variables;
    options.trained_turns = train == "last" ? TrainedTurns::last : TrainedTurns::all;
}

namespace {

bool has(const Json& json, const char* key) {
    auto found = json.find(key);
    return found != json.end() && !found->is_null();
}

// Reads one row into `row`.
struct RowReader {
    const Json& json;
    const std::string& where;
    const RowOptions& options;
    RowNeed need;
    Row& row;

    // The first of the keys that the row has, or nullptr; remembered as used.
    const char* use(std::initializer_list<const char*> keys) {
        for (const char* key : keys)
            if (has(json, key)) {
                row.used_keys.push_back(key);
                return key;
            }
        return nullptr;
    }

    const Tokenizer& tokenizer() const {
        CHECK(options.tokenizer, "%s: the row holds text, and the model directory has no tokenizer",
              where.c_str());
        return *options.tokenizer;
    }

    void append(const std::vector<int32_t>& ids) {
        row.ids.insert(row.ids.end(), ids.begin(), ids.end());
    }

    void append_completion(const char* key) {
        if (std::string(key) == "completion_ids") return append(json_ids(json, key, where));
        append(tokenizer().encode(json_string(json, key, where), false));
        if (!options.add_eos) return;
        CHECK(options.eos >= 0,
              "%s: a completion needs an end-of-sequence token and the model directory names none; "
              "set data.add_eos=false",
              where.c_str());
        row.ids.push_back(options.eos);
    }

    const ChatTemplate& chat() const {
        if (!options.chat) {
            ChatTemplate loaded = ChatTemplate::load(options.chat_directory);
            if (!options.chat_date.empty()) loaded.set_date(options.chat_date);
            options.chat = std::make_shared<const ChatTemplate>(std::move(loaded));
        }
        return *options.chat;
    }

    static bool is_assistant(const Json& message) { return message["role"] == "assistant"; }

    // Everything that a row says beside its messages.
    void read_extras(Conversation& conversation) {
        conversation.variables = options.chat_variables;
        if (const char* key = use({"tools"})) {
            conversation.tools = json[key];
            bool objects = conversation.tools.is_array();
            for (const Json& tool : conversation.tools) objects = objects && tool.is_object();
            CHECK(objects, "%s: \"tools\" must be a list of JSON schemas, found %.60s",
                  where.c_str(), dump_row(json[key]).c_str());
        }
        if (const char* key = use({"chat_template_kwargs"})) {
            CHECK(json[key].is_object(), "%s: \"chat_template_kwargs\" must be an object",
                  where.c_str());
            for (auto& [name, value] : json[key].items()) conversation.variables[name] = value;
        }
        for (const char* own : {"messages", "tools", "documents", "add_generation_prompt"})
            CHECK(!conversation.variables.contains(own),
                  "%s: \"%s\" cannot be a variable of chat.variables or chat_template_kwargs",
                  where.c_str(), own);
    }

    void render(Conversation conversation) {
        read_extras(conversation);
        Json& messages = conversation.messages;
        bool answered = is_assistant(messages.back());
        if (need == RowNeed::prompt && answered && options.add_generation_prompt < 0) {
            CHECK(messages.size() > 1, "%s: only the assistant speaks; a prompt is needed",
                  where.c_str());
            messages.erase(messages.size() - 1);
            answered = false;
        }
        bool ask = options.add_generation_prompt < 0 ? !answered : options.add_generation_prompt;
        // Of a prompt nothing is trained.
        bool masked = need != RowNeed::prompt;
        if (!masked) conversation.trained.assign(messages.size(), false);
        Rendered rendered;
        try { // the template's message names the line of the template; this one that of the row
            rendered =
                chat().render(tokenizer(), options.stops, conversation, ask, options.trained_turns);
        } catch (const Error& error) {
            fail("%s: %s", where.c_str(), error.what());
        }
        append(rendered.ids);
        if (masked) row.mask = rendered.mask;
        row.no_mask = rendered.no_mask;
        row.mask.resize(masked ? row.ids.size() : 0);
        auto trained = std::find(row.mask.begin(), row.mask.end(), 1);
        row.first = std::max((int)(trained - row.mask.begin()), 1);
        row.is_prompt = !answered;
        row.prompt_length = row.is_prompt ? (int)row.ids.size() : row.first;
    }

    // Other trainers' ways to leave an assistant's message untrained: "weight" 0 and "train" false.
    bool is_trained(const Json& message, const std::string& at) const {
        bool trained = true, says_yes = false;
        if (has(message, "weight")) {
            const Json& weight = message["weight"];
            CHECK(weight == 0 || weight == 1,
                  "%s: \"weight\" is %.40s; 0 (not trained) and 1 are supported", at.c_str(),
                  dump_row(weight).c_str());
            (weight == 1 ? says_yes : trained) = weight == 1;
        }
        if (has(message, "train")) {
            const Json& train = message["train"];
            CHECK(train.is_boolean(), "%s: \"train\" must be true or false, found %.40s",
                  at.c_str(), dump_row(train).c_str());
            if (train.get<bool>())
                says_yes = true;
            else
                trained = false;
        }
        CHECK(trained || !says_yes, "%s: \"weight\" and \"train\" contradict each other",
              at.c_str());
        CHECK(is_assistant(message) || !says_yes,
              "%s: a message of the role \"%s\" cannot be trained, only the assistant's",
              at.c_str(), message["role"].get<std::string>().c_str());
        return is_assistant(message) && trained;
    }

    void read_messages() {
        const Json& list = json["messages"];
        CHECK(list.is_array() && !list.empty(),
              "%s: \"messages\" must be a list of {\"role\", \"content\"} and not empty",
              where.c_str());
        Conversation conversation;
        conversation.messages = list;
        for (size_t i = 0; i < list.size(); ++i) {
            std::string at = where + ": messages[" + std::to_string(i) + "]";
            CHECK(list[i].is_object(), "%s must be {\"role\", \"content\"}, found %.60s",
                  at.c_str(), dump_row(list[i]).c_str());
            json_string(list[i], "role", at);
            bool says = false; // beside the role and what other programs note
            for (auto& [key, value] : list[i].items())
                says |= !value.is_null() && key != "role" && key != "weight" && key != "train";
            CHECK(says, "%s: \"content\" is missing", at.c_str());
            conversation.trained.push_back(is_trained(list[i], at));
        }
        render(std::move(conversation));
    }

    Conversation turns_of(const char* prompt, const char* completion) const {
        Conversation conversation;
        conversation.messages = {{{"role", "user"}, {"content", json_string(json, prompt, where)}}};
        if (completion)
            conversation.messages.push_back(
                {{"role", "assistant"}, {"content", json_string(json, completion, where)}});
        conversation.trained = {false, true};
        return conversation;
    }

    void read_prompt_and_completion() {
        const char* prompt = use({"prompt_ids", "prompt", "question"});
        CHECK(prompt, "%s: the row has a completion and no \"prompt\"", where.c_str());
        bool gsm8k = std::string(prompt) == "question";
        const char* completion = gsm8k ? use({"completion_ids", "completion", "response", "answer"})
                                       : use({"completion_ids", "completion", "response"});
        if (need == RowNeed::prompt) completion = nullptr;
        bool prompt_is_text = std::string(prompt) != "prompt_ids";
        bool answer_is_text = completion && std::string(completion) != "completion_ids";
        if (options.template_name == "chat" && prompt_is_text) {
            render(turns_of(prompt, answer_is_text ? completion : nullptr));
            if (!completion || answer_is_text) return;
            row.mask.clear();
        } else if (prompt_is_text) {
            append(tokenizer().encode(json_string(json, prompt, where), true));
        } else {
            append(json_ids(json, prompt, where));
        }
        row.prompt_length = (int)row.ids.size();
        row.first = std::max(row.prompt_length, 1);
        row.is_prompt = !completion;
        if (completion) append_completion(completion);
    }

    void read() {
        if (use({"ids"}))
            append(json_ids(json, "ids", where));
        else if (use({"messages"}))
            read_messages();
        else if (has(json, "prompt") || has(json, "prompt_ids") || has(json, "question") ||
                 has(json, "completion") || has(json, "completion_ids") || has(json, "response"))
            read_prompt_and_completion();
        else if (use({"text"}))
            append(tokenizer().encode(json_string(json, "text", where), true));
        else
            unknown_form();
        finish();
    }

    [[noreturn]] void unknown_form() {
        std::string keys;
        for (auto& [key, value] : json.items()) keys += (keys.empty() ? "" : ", ") + key;
        fail("%s: no known form of row. A row has \"ids\"; or \"text\"; or \"prompt\" and "
             "\"completion\" "
             "(or \"response\"); or \"prompt_ids\" and \"completion_ids\"; or \"messages\"; or "
             "\"question\" and \"answer\". Found the keys: %.200s",
             where.c_str(), keys.empty() ? "none" : keys.c_str());
    }

    void finish() {
        int length = (int)row.ids.size();
        CHECK(length > 0 || options.allow_empty, "%s: the row has no tokens", where.c_str());
        for (int32_t id : row.ids)
            CHECK(options.vocabulary == 0 || id < options.vocabulary,
                  "%s: id %d is outside the vocabulary of %d", where.c_str(), id,
                  options.vocabulary);
        bool whole = row.used_keys[0] == "ids" || row.used_keys[0] == "text";
        if (has(json, "first")) {
            int64_t first = json_int(json, "first", where);
            CHECK(first >= 1 && first <= length, "%s: \"first\" is %lld; it must be in 1 .. %d",
                  where.c_str(), (long long)first, length);
            row.first = (int)first;
            row.used_keys.push_back("first");
            if (whole) row.prompt_length = row.first;
        }
        if (whole && need == RowNeed::prompt) {
            if (has(json, "first")) row.ids.resize(row.first);
            length = row.prompt_length = (int)row.ids.size();
            row.is_prompt = true;
        }
        if (row.is_prompt && row.mask.empty()) row.first = std::max(length, 1);
        CHECK(options.max_length == 0 || length <= options.max_length,
              "%s: the row has %d tokens; the model's context is %d", where.c_str(), length,
              options.max_length);
        bool from_template = !row.mask.empty();
        row.mask.resize(length, 1);
        // A template's mask may begin at 0, which has nothing before it: `first` is 1 then.
        bool keeps_all = from_template && !has(json, "first");
        for (int t = 0; t < length; ++t)
            if ((t < row.first && !keeps_all) || (row.is_prompt && !from_template)) row.mask[t] = 0;
        CHECK(row.no_mask.empty() || options.allow_no_mask || need == RowNeed::prompt ||
                  has(json, "first"),
              "%s: which tokens are trained is unknown: %s%s", where.c_str(), row.no_mask.c_str(),
              options.trained_turns == TrainedTurns::all
                  ? "; chat.train=last trains the last turn of the assistant alone"
                  : "");
        bool trained = std::find(row.mask.begin(), row.mask.end(), 1) != row.mask.end();
        CHECK(need != RowNeed::completion || trained || !row.is_prompt,
              "%s: the row has no completion: nothing in it can be trained or scored",
              where.c_str());
        if (has(json, "answer"))
            row.answer = json["answer"].is_string() ? json["answer"].get<std::string>()
                                                    : dump_row(json["answer"]);
    }
};

} // namespace

Row parse_row(const Json& json, const std::string& where, const RowOptions& options, RowNeed need) {
    CHECK(json.is_object(), "%s: a row must be a JSON object, found %s", where.c_str(),
          json.type_name());
    Row row;
    row.source = json;
    row.where = where;
    RowReader{json, where, options, need, row}.read();
    return row;
}

std::vector<Row> read_rows(const std::string& path, const RowOptions& options, RowNeed need) {
    std::vector<Row> rows;
    for_each_row(path, [&](const Json& json, const std::string& where) {
        rows.push_back(parse_row(json, where, options, need));
    });
    return rows;
}

Json other_keys(const Row& row) {
    Json rest = Json::object();
    for (auto& [key, value] : row.source.items())
        if (std::find(row.used_keys.begin(), row.used_keys.end(), key) == row.used_keys.end())
            rest[key] = value;
    return rest;
}

int end_of_sequence(const std::string& directory, const Tokenizer& tokenizer) {
    std::string path = join_path(directory, "tokenizer_config.json");
    if (file_exists(path)) {
        Json config = read_json(path);
        if (has(config, "eos_token")) {
            const Json& token = config["eos_token"];
            int id = tokenizer.id_of(token.is_object() ? json_string(token, "content", path)
                                                       : json_string(config, "eos_token", path));
            if (id >= 0) return id;
        }
    }
    for (const char* name : {"generation_config.json", "config.json"}) {
        path = join_path(directory, name);
        if (!file_exists(path)) continue;
        Json config = read_json(path);
        if (!has(config, "eos_token_id")) continue;
        if (!config["eos_token_id"].is_array()) return (int)json_int(config, "eos_token_id", path);
        std::vector<int32_t> ids = json_ids(config, "eos_token_id", path);
        if (!ids.empty()) return ids[0];
    }
    return -1;
}

std::vector<int32_t> stop_ids(const std::string& directory, const Tokenizer& tokenizer) {
    std::vector<int32_t> ids;
    auto add = [&](int32_t id) {
        if (id >= 0 && std::find(ids.begin(), ids.end(), id) == ids.end()) ids.push_back(id);
    };
    for (const char* name : {"generation_config.json", "config.json"}) {
        std::string path = join_path(directory, name);
        if (!file_exists(path)) continue;
        Json config = read_json(path);
        if (!has(config, "eos_token_id")) continue;
        if (config["eos_token_id"].is_array())
            for (int32_t id : json_ids(config, "eos_token_id", path)) add(id);
        else
            add((int32_t)json_int(config, "eos_token_id", path));
        break; // the first file that names one decides, as in transformers
    }
    add(end_of_sequence(directory, tokenizer));
    return ids;
}
