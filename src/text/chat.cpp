#include "text/chat.h"

#include "base/file.h"

#include <algorithm>
#include <cstdio>

// ---- the template and its variables --------------------------------------------------------------------

// A special token is a string, or an object with its "content".
static bool special_token(const Json& value, std::string& text) {
    const Json* content = &value;
    if (value.is_object() && value.contains("content")) content = &value["content"];
    if (content->is_string()) text = content->get<std::string>();
    return content->is_string();
}

static void add_special_tokens(const Json& config, Json& tokens, bool any_name) {
    if (!config.is_object()) return;
    for (auto& [name, value] : config.items()) {
        bool is_name = any_name || (name.size() > 6 && name.rfind("_token") == name.size() - 6);
        std::string text;
        if (is_name && special_token(value, text)) tokens[name] = text;
    }
}

static std::map<std::string, ChatTemplate::Source> templates_in(const Json& config,
                                                                const std::string& path) {
    std::map<std::string, ChatTemplate::Source> sources;
    auto found = config.find("chat_template");
    if (found == config.end() || found->is_null()) return sources;
    auto add = [&](const std::string& name, const Json& text) {
        std::string where = path + ", chat_template";
        CHECK(text.is_string(), "%s must be a string, found %s", where.c_str(), text.type_name());
        sources[name] = {text.get<std::string>(),
                         name == "default" ? where : where + " \"" + name + "\""};
    };
    if (found->is_array()) {
        for (const Json& named : *found) {
            CHECK(named.is_object() && named.contains("template"),
                  "%s: \"chat_template\" must hold objects of \"name\" and \"template\"",
                  path.c_str());
            add(json_string(named, "name", path), named["template"]);
        }
    } else if (found->is_object()) {
        for (auto& [name, text] : found->items()) add(name, text);
    } else {
        add("default", *found);
    }
    return sources;
}

// Without sources where the directory has none.
static ChatTemplate read_chat_template(const std::string& directory) {
    ChatTemplate chat;
    std::string config_path = join_path(directory, "tokenizer_config.json");
    Json config = file_exists(config_path) ? read_json(config_path) : Json::object();
    CHECK(config.is_object(), "%s must be a JSON object", config_path.c_str());
    add_special_tokens(config, chat.special_tokens, false);
    for (const char* key : {"extra_special_tokens", "model_specific_special_tokens"})
        if (config.contains(key)) add_special_tokens(config[key], chat.special_tokens, true);
    std::string map_path = join_path(directory, "special_tokens_map.json");
    if (!config.contains("added_tokens_decoder") && file_exists(map_path))
        add_special_tokens(read_json(map_path), chat.special_tokens, false); // older directories

    std::string jinja = join_path(directory, "chat_template.jinja");
    if (file_exists(jinja)) chat.sources["default"] = {read_file(jinja), jinja};
    std::string more = join_path(directory, "additional_chat_templates");
    const std::string ending = ".jinja";
    for (const std::string& name :
         is_directory(more) ? list_directory(more) : std::vector<std::string>()) {
        if (name.size() <= ending.size() || name.rfind(ending) != name.size() - ending.size())
            continue;
        std::string path = join_path(more, name);
        chat.sources[name.substr(0, name.size() - ending.size())] = {read_file(path), path};
    }
    if (chat.sources.empty()) chat.sources = templates_in(config, config_path);
    return chat;
}

bool ChatTemplate::is_in(const std::string& directory) {
    return !read_chat_template(directory).sources.empty();
}

ChatTemplate ChatTemplate::load(const std::string& directory) {
    ChatTemplate chat = read_chat_template(directory);
    CHECK(!chat.sources.empty(),
          "%s has no chat template: neither chat_template.jinja nor \"chat_template\" in "
          "tokenizer_config.json",
          directory.c_str());
    return chat;
}

void ChatTemplate::set_date(const std::string& date) {
    for (const char* form :
         {"%Y-%m-%d", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M", "%d %b %Y"}) {
        std::tm time{};
        const char* end = strptime(date.c_str(), form, &time);
        if (!end || *end) continue;
        int day = time.tm_mday;
        std::time_t seconds = timegm(&time); // for the day of the week and of the year
        std::tm checked{};
        gmtime_r(&seconds, &checked);
        if (checked.tm_mday != day) continue; // 30 February
        now = checked;
        return;
    }
    fail("chat.date must be a day as 2024-07-26, 2024-07-26 13:45:00 or 26 Jul 2024, found \"%s\"",
         date.c_str());
}

const JinjaTemplate& ChatTemplate::chosen(const Conversation& conversation) const {
    bool tool_use = !conversation.tools.is_null() && sources.count("tool_use");
    std::string name = tool_use ? "tool_use" : "default", names;
    for (auto& [other, source] : sources) names += (names.empty() ? "" : ", ") + other;
    auto source = sources.find(name);
    CHECK(source != sources.end(),
          "the model has several chat templates (%s) and none is named \"default\"", names.c_str());
    auto found = parsed.find(name);
    if (found == parsed.end())
        found =
            parsed.emplace(name, JinjaTemplate::parse(source->second.text, source->second.where))
                .first;
    return found->second;
}

// Reasoning goes by three names, and templates read one of them: as transformers, the first one that a
// message has is given as "reasoning_content" and "thinking", too.
static Json with_reasoning_names(Json message) {
    for (const char* name : {"reasoning_content", "thinking", "reasoning"}) {
        if (!message.contains(name)) continue;
        Json reasoning = message[name], renamed = Json::object();
        if (!message.contains("thinking")) renamed["thinking"] = reasoning;
        for (auto& [key, value] : message.items()) renamed[key] = value;
        renamed["reasoning_content"] = reasoning;
        return renamed;
    }
    return message;
}

static Json without_null_keys(const Json& message) {
    Json kept = Json::object();
    for (auto& [key, value] : message.items())
        if (!value.is_null()) kept[key] = value;
    return kept;
}

JinjaOutput ChatTemplate::text(const Conversation& conversation, bool add_generation_prompt) const {
    Json variables = special_tokens;
    if (now) { // Llama 3.1's templates take the day as a variable
        char day[32];
        std::strftime(day, sizeof day, "%d %b %Y", &*now);
        variables["date_string"] = day;
    }
    for (auto& [name, value] : conversation.variables.items()) variables[name] = value;
    Json messages = Json::array();
    for (const Json& message : conversation.messages)
        messages.push_back(with_reasoning_names(without_null_keys(message)));
    variables["messages"] = std::move(messages);
    variables["tools"] = conversation.tools;
    variables["documents"] = nullptr;
    variables["add_generation_prompt"] = add_generation_prompt;
    const JinjaTemplate& jinja = chosen(conversation);
    if (!now && jinja.reads_clock && !first_read) {
        std::time_t seconds = std::time(nullptr);
        first_read.emplace();
        localtime_r(&seconds, &*first_read);
        char day[32];
        std::strftime(day, sizeof day, "%Y-%m-%d", &*first_read);
        std::fprintf(stderr,
                     "the chat template reads the clock; chat.date=%s keeps today's tokens\n", day);
    }
    return jinja.render(variables, now ? now : first_read);
}

// ---- what is trained -----------------------------------------------------------------------------------

// Finds the trained text of a conversation whose whole rendering is known.
struct ChatTemplate::Marker {
    const ChatTemplate& chat;
    const std::vector<int32_t>& stops;
    const Conversation& conversation;
    const JinjaOutput& whole;
    const std::vector<size_t>& begins; // of the tokens of whole.text
    Rendered& rendered;
    std::vector<JinjaOutput::Span> spans = {}; // of trained text, ascending

    size_t token_end(size_t t) const {
        return t + 1 < begins.size() ? begins[t + 1] : whole.text.size();
    }

    // False: the rendering ends in an error, which `no_mask` then tells.
    bool render_first(size_t count, bool ask, size_t turn, JinjaOutput& output) const {
        Conversation first = conversation;
        first.messages.erase(first.messages.begin() + (int)count, first.messages.end());
        if (count == 0) return true; // the empty text stands before all messages
        try { // a part of a conversation may be what a template refuses, when the whole is fine
            output = chat.text(first, ask);
            return true;
        } catch (const Error& error) {
            return refuse(turn,
                          std::string("the messages up to it alone are refused: ") + error.what());
        }
    }

    bool refuse(size_t turn, const std::string& why) const {
        rendered.no_mask = "messages[" + std::to_string(turn) + "]: " + why;
        return false;
    }

    // The blocks that a template marks, as many as each turn adds.
    bool mark_blocks(const std::vector<size_t>& turns, bool every_turn) {
        if (whole.displaced_generation)
            return refuse(turns.empty() ? 0 : turns[0],
                          format("the {%% generation %%} block on line %d of the chat template is "
                                 "in a macro, {%% set %%} or {%% filter %%}: its place is unknown",
                                 whole.displaced_generation));
        if (every_turn) {
            spans = whole.generations;
            return true;
        }
        for (size_t turn : turns) {
            JinjaOutput before, behind;
            if (!render_first(turn, false, turn, before)) return false;
            if (!render_first(turn + 1, false, turn, behind)) return false;
            size_t first = before.generations.size(), last = behind.generations.size();
            if (first > last || last > whole.generations.size())
                return refuse(turn, "the number of {% generation %} blocks before it changes when "
                                    "it is added");
            spans.insert(spans.end(), whole.generations.begin() + (long)first,
                         whole.generations.begin() + (long)last);
        }
        return true;
    }

    bool mark_turn(size_t turn) {
        JinjaOutput before, behind;
        if (!render_first(turn, true, turn, before)) return false;
        if (!render_first(turn + 1, false, turn, behind)) return false;
        const std::string &start = before.text, &end = behind.text;
        if (end.compare(0, start.size(), start) != 0)
            return refuse(turn, "what the chat template writes before this turn, a generation "
                                "prompt included, is not how its text with the turn begins");
        auto differs = std::mismatch(end.begin(), end.end(), whole.text.begin(), whole.text.end());
        size_t common = (size_t)(differs.first - end.begin());
        const char* changed = "the chat template writes this turn, or what stands before it, in "
                              "another way once other messages follow";
        if (common < start.size()) return refuse(turn, changed);
        size_t first =
            (size_t)(std::lower_bound(begins.begin(), begins.end(), start.size()) - begins.begin());
        for (size_t t = first; t < begins.size() && token_end(t) <= common; ++t)
            if (std::find(stops.begin(), stops.end(), rendered.ids[t]) != stops.end()) {
                spans.push_back({start.size(), token_end(t)});
                return true;
            }
        if (common < end.size()) return refuse(turn, changed);
        spans.push_back({start.size(), end.size()});
        return true;
    }

    void mark(TrainedTurns which, bool by_blocks) {
        std::vector<size_t> turns, of_assistant;
        for (size_t i = 0; i < conversation.messages.size(); ++i)
            if (conversation.messages[i].value("role", Json()) == "assistant")
                of_assistant.push_back(i);
        if (which == TrainedTurns::last && !of_assistant.empty())
            of_assistant.erase(of_assistant.begin(), of_assistant.end() - 1);
        for (size_t turn : of_assistant)
            if (conversation.trained[turn]) turns.push_back(turn);
        bool every_turn = which == TrainedTurns::all && turns.size() == of_assistant.size();
        if (by_blocks) {
            if (!mark_blocks(turns, every_turn)) return;
        } else {
            for (size_t turn : turns)
                if (!mark_turn(turn)) return;
        }
        size_t span = 0;
        rendered.mask.resize(begins.size());
        for (size_t t = 0; t < begins.size(); ++t) {
            while (span < spans.size() && spans[span].end <= begins[t]) ++span;
            if (span == spans.size()) break;
            bool inside = begins[t] >= spans[span].begin;
            // A token over the end of a block is not the block's.
            rendered.mask[t] = inside && (!by_blocks || token_end(t) <= spans[span].end);
        }
    }
};

Rendered ChatTemplate::render(const Tokenizer& tokenizer, const std::vector<int32_t>& stops,
                              const Conversation& conversation, bool add_generation_prompt,
                              TrainedTurns turns) const {
    JinjaOutput whole = text(conversation, add_generation_prompt);
    Rendered rendered;
    std::vector<size_t> begins;
    rendered.ids = tokenizer.encode(whole.text, false, &begins);
    Marker marker{*this, stops, conversation, whole, begins, rendered};
    marker.mark(turns, chosen(conversation).marks_generation);
    rendered.text = std::move(whole.text);
    return rendered;
}
