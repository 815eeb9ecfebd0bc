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
            if (!options.chat_date.empty()) loaded.date = options.chat_date;
            options.chat = std::make_shared<const ChatTemplate>(std::move(loaded));
        }
        return *options.chat;
    }

    void render(std::vector<Message> messages) {
        bool answered = messages.back().role == "assistant";
        if (need == RowNeed::prompt && answered && options.add_generation_prompt < 0) {
            CHECK(messages.size() > 1, "%s: only the assistant speaks; a prompt is needed",
                  where.c_str());
            messages.pop_back();
            answered = false;
        }
        bool ask = options.add_generation_prompt < 0 ? !answered : options.add_generation_prompt;
        Rendered rendered = chat().render(tokenizer(), messages, ask);
        append(rendered.ids);
        row.mask = rendered.mask;
        auto trained = std::find(row.mask.begin(), row.mask.end(), 1);
        row.first = std::max((int)(trained - row.mask.begin()), 1);
        row.is_prompt = !answered;
        row.prompt_length = row.is_prompt ? (int)row.ids.size() : row.first;
    }

    void read_messages() {
        const Json& list = json["messages"];
        CHECK(list.is_array() && !list.empty(),
              "%s: \"messages\" must be a list of {\"role\", \"content\"} and not empty",
              where.c_str());
        std::vector<Message> messages;
        for (size_t i = 0; i < list.size(); ++i) {
            std::string at = where + ": messages[" + std::to_string(i) + "]";
            messages.push_back(
                {json_string(list[i], "role", at), json_string(list[i], "content", at)});
            for (const char* key : {"tool_calls", "reasoning_content"})
                CHECK(!has(list[i], key) || list[i][key].empty(),
                      "%s: \"%s\" is not supported; write what the model says into \"content\"",
                      at.c_str(), key);
        }
        render(std::move(messages));
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
            std::vector<Message> messages = {{"user", json_string(json, prompt, where)}};
            if (answer_is_text)
                messages.push_back({"assistant", json_string(json, completion, where)});
            render(std::move(messages));
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
        for (int t = 0; t < length; ++t)
            if (t < row.first || (row.is_prompt && !from_template)) row.mask[t] = 0;
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
