#include "text/chat.h"

#include "base/file.h"
#include "base/json.h"
#include "text/unicode.h"

static bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

// A special token is a string, or an object with its "content".
static std::string special_token(const Json& config, const char* key, const std::string& where) {
    auto found = config.find(key);
    if (found != config.end() && found->is_object()) return json_string(*found, "content", where);
    return json_string_or(config, key, "", where);
}

static std::string template_in(const Json& config, const std::string& where) {
    auto found = config.find("chat_template");
    if (found == config.end() || !found->is_array())
        return json_string_or(config, "chat_template", "", where);
    for (const Json& named : *found) // several templates by name
        if (json_string(named, "name", where) == "default")
            return json_string(named, "template", where);
    return "";
}

ChatTemplate ChatTemplate::load(const std::string& directory) {
    std::string jinja = join_path(directory, "chat_template.jinja");
    std::string config_path = join_path(directory, "tokenizer_config.json");
    Json config = file_exists(config_path) ? read_json(config_path) : Json::object();
    CHECK(config.is_object(), "%s must be a JSON object", config_path.c_str());
    std::string bos = special_token(config, "bos_token", config_path);
    if (file_exists(jinja)) return parse(read_file(jinja), bos, jinja);
    std::string text = template_in(config, config_path);
    CHECK(!text.empty(),
          "%s has no chat template: neither chat_template.jinja nor \"chat_template\" in "
          "tokenizer_config.json",
          directory.c_str());
    return parse(text, bos, config_path);
}

[[noreturn]] static void refuse(const std::string& text, const std::string& where) {
    static const std::pair<const char*, const char*> others[] = {
        {"<|im_sep|>", "Phi-4"},
        {"<start_of_turn>", "Gemma"},
        {"[INST]", "Mistral or Llama 2"},
        {"<|header_start|>", "Llama 4"},
        {"<|assistant|>", "Zephyr or Phi-3"},
        {"<|START_OF_TURN_TOKEN|>", "Command R"},
        {"<\uFF5CUser\uFF5C>", "DeepSeek"},
        {"<|channel|>", "Harmony (gpt-oss)"},
        {"</think>", "a reasoning model's"},
        {"<|im_start|>", "an extended ChatML"},
        {"<|start_header_id|>", "an extended Llama 3"}};
    const char* name = "an unknown one";
    for (auto& [mark, other] : others)
        if (contains(text, mark)) {
            name = other;
            break;
        }
    fail("%s: this chat template (it looks like %s) is not supported. Known are ChatML (Qwen2, "
         "Qwen2.5, "
         "Qwen3, SmolLM2) and Llama 3 (3, 3.1, 3.2, 3.3)",
         where.c_str(), name);
}

// Every <|name|> in the template must be one of the kind's.
static bool has_only(const std::string& text, std::initializer_list<const char*> known) {
    for (size_t at = text.find("<|"); at != std::string::npos; at = text.find("<|", at + 1)) {
        bool found = false;
        for (const char* name : known)
            found |= text.compare(at, std::string(name).size(), name) == 0;
        if (!found) return false;
    }
    return true;
}

static std::string replace_all(std::string text, const std::string& from, const std::string& to) {
    for (size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size())
        text.replace(at, from.size(), to);
    return text;
}

// A system turn that stands in the template in one piece is the default one. Jinja writes its line
// break as \n inside quotes.
static std::string find_default_system(const std::string& text) {
    const std::string begin = "<|im_start|>system", end = "<|im_end|>";
    for (size_t at = text.find(begin); at != std::string::npos; at = text.find(begin, at + 1)) {
        size_t from = at + begin.size(), to = text.find(end, from);
        if (to == std::string::npos) break;
        std::string content = text.substr(from, to - from);
        char quote = at > 0 ? text[at - 1] : '}';
        bool quoted = quote == '\'' || quote == '"';
        content = replace_all(content, "\\n", "\n");
        if (quoted) {
            content = replace_all(content, std::string("\\") + quote, "\x01");
            if (contains(content, std::string(1, quote).c_str())) continue;
            content = replace_all(content, "\x01", std::string(1, quote));
        } else if (contains(content, "{") || quote != '}')
            continue;
        if (content.size() > 1 && content[0] == '\n') return content.substr(1);
    }
    return "";
}

// What stands between `begin` and `end`, or "".
static std::string between(const std::string& text, const std::string& begin,
                           const std::string& end) {
    size_t from = text.find(begin);
    if (from == std::string::npos) return "";
    from += begin.size();
    size_t to = text.find(end, from);
    return to == std::string::npos ? "" : text.substr(from, to - from);
}

ChatTemplate ChatTemplate::parse(const std::string& text, const std::string& bos,
                                 const std::string& where) {
    ChatTemplate chat;
    chat.renders_tools = contains(text, "tool");
    if (contains(text, "bos_token")) chat.bos = bos;
    if (contains(text, "<|im_start|>") &&
        has_only(text, {"<|im_start|>", "<|im_end|>", "<|endoftext|>"})) {
        chat.default_system = find_default_system(text);
        chat.thinks = contains(text, "last_query_index");
        chat.trims = contains(text, "trim");
        bool reasons = contains(text, "</think>") && !chat.thinks;
        if (reasons || contains(text, "assistant\\n<think>") || contains(text, "strftime_now"))
            refuse(text, where);
        return chat;
    }
    if (contains(text, "<|start_header_id|>") && !contains(text, "</think>") &&
        has_only(text, {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>",
                        "<|python_tag|>", "<|begin_of_text|>", "<|end_of_text|>"})) {
        chat.kind = Kind::llama3;
        chat.trims = contains(text, "trim");
        if (contains(text, "<|begin_of_text|>") || (contains(text, "bos_token") && bos.empty()))
            chat.bos = "<|begin_of_text|>";
        chat.cutoff = between(text, "Cutting Knowledge Date: ", "\\n");
        chat.date = between(text, "date_string = \"", "\"");
        if (chat.date.empty()) chat.date = "26 Jul 2024";
        return chat;
    }
    refuse(text, where);
}

std::string ChatTemplate::end_of_turn() const {
    return kind == Kind::chatml ? "<|im_end|>" : "<|eot_id|>";
}

// Python's str.strip(): White_Space and the four separators of ASCII.
static std::string strip(const std::string& text) {
    auto space = [](int32_t c) { return is_white_space(c) || (c >= 0x1C && c <= 0x1F); };
    size_t begin = 0, end = 0;
    bool any = false;
    for (size_t at = 0; at < text.size();) {
        size_t from = at;
        if (space(next_code_point(text, at))) continue;
        if (!any) begin = from;
        any = true;
        end = at;
    }
    return any ? text.substr(begin, end - begin) : "";
}

static std::string strip_newlines(const std::string& text) {
    size_t begin = text.find_first_not_of('\n');
    if (begin == std::string::npos) return "";
    return text.substr(begin, text.find_last_not_of('\n') - begin + 1);
}

// Qwen3: the reasoning is what stands before </think>, the content what stands behind it.
static std::string with_think_block(const std::string& text, bool behind_question, bool last) {
    const std::string open = "<think>", close = "</think>";
    std::string reasoning, content = text;
    size_t end = text.find(close);
    if (end != std::string::npos) {
        reasoning = text.substr(0, end);
        size_t begin = reasoning.rfind(open);
        if (begin != std::string::npos) reasoning = reasoning.substr(begin + open.size());
        reasoning = strip_newlines(reasoning);
        content = text.substr(text.rfind(close) + close.size());
        content.erase(0, content.find_first_not_of('\n'));
    }
    if (!behind_question || (!last && reasoning.empty())) return content;
    content.erase(0, content.find_first_not_of('\n'));
    return open + "\n" + reasoning + "\n" + close + "\n\n" + content;
}

static int last_question(const std::vector<Message>& messages) {
    auto tool_answer = [](const std::string& text) {
        const std::string open = "<tool_response>", close = "</tool_response>";
        return text.rfind(open, 0) == 0 && text.size() >= close.size() &&
               text.compare(text.size() - close.size(), close.size(), close) == 0;
    };
    for (int i = (int)messages.size() - 1; i >= 0; --i)
        if (messages[i].role == "user" && !tool_answer(messages[i].content)) return i;
    return (int)messages.size() - 1;
}

Rendered ChatTemplate::render(const Tokenizer& tokenizer, const std::vector<Message>& messages,
                              bool add_generation_prompt) const {
    CHECK(!messages.empty(), "a conversation needs at least one message");
    struct Span {
        size_t begin, end;
    };
    std::string text = bos;
    std::vector<Span> trained; // bytes of `text`
    auto header = [&](const std::string& role) {
        text += kind == Kind::chatml ? "<|im_start|>" + role + "\n"
                                     : "<|start_header_id|>" + role + "<|end_header_id|>\n\n";
    };
    auto turn = [&](const std::string& role, const std::string& content) {
        header(role);
        size_t begin = text.size();
        text += content + end_of_turn();
        if (role == "assistant") trained.push_back({begin, text.size()});
        if (kind == Kind::chatml) text += "\n";
    };
    size_t first = 0;
    bool has_system = messages[0].role == "system";
    if (!cutoff.empty()) {
        turn("system", "Cutting Knowledge Date: " + cutoff + "\nToday Date: " + date + "\n\n" +
                           (has_system ? strip(messages[0].content) : ""));
        first = has_system;
    } else if (!default_system.empty() && !has_system) {
        turn("system", default_system);
    }
    int question = thinks ? last_question(messages) : 0;
    for (size_t i = first; i < messages.size(); ++i) {
        const std::string& role = messages[i].role;
        CHECK(!renders_tools || role == "system" || role == "user" || role == "assistant",
              "messages[%d] has the role \"%s\"; with this chat template only system, user and "
              "assistant are supported",
              (int)i, role.c_str());
        std::string content = trims ? strip(messages[i].content) : messages[i].content;
        if (thinks && role == "assistant")
            content = with_think_block(content, (int)i > question, i + 1 == messages.size());
        turn(role, content);
    }
    if (add_generation_prompt) header("assistant");

    Rendered rendered;
    std::vector<size_t> begins;
    rendered.ids = tokenizer.encode(text, false, &begins);
    size_t span = 0;
    for (size_t begin : begins) {
        while (span < trained.size() && trained[span].end <= begin) ++span;
        rendered.mask.push_back(span < trained.size() && begin >= trained[span].begin);
    }
    return rendered;
}
