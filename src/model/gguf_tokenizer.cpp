#include "model/gguf_model.h"

#include "format/tokenizer_file.h"

#include <cstring>
#include <unordered_map>
#include <unordered_set>

// llama.cpp names a pre-tokenizer (tokenizer.ggml.pre); tokenizer.json spells it out. The patterns are
// those of the tokenizer.json files that the models came with.
struct PreTokenizer {
    Json json;
    bool nfc = false, ignore_merges = false, adds_bos = false; // adds_bos: llama.cpp's default
};

static PreTokenizer pre_tokenizer(const std::string& name, const std::string& where) {
    // Contractions, words with one other character before them, runs of \p{N}{digits}, the rest
    auto words = [](const std::string& digits) {
        return R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N})" + digits +
               R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
    };
    PreTokenizer pre;
    if (name == "gpt-2") {
        pre.json = byte_level_stage(true);
    } else if (name == "smollm") {
        Json digits = {{"type", "Digits"}, {"individual_digits", true}};
        pre.json = {{"type", "Sequence"},
                    {"pretokenizers", Json::array({digits, byte_level_stage(true)})}};
    } else if (name == "qwen2") {
        pre.json = split_stage(words(""));
        pre.nfc = true;
    } else if (name == "llama-bpe") {
        pre.json = split_stage(words("{1,3}"));
        pre.ignore_merges = pre.adds_bos = true;
    } else {
        fail("%s: pre-tokenizer \"%.60s\" (tokenizer.ggml.pre) is not supported; supported are "
             "smollm, gpt-2, "
             "qwen2, llama-bpe",
             where.c_str(), name.c_str());
    }
    return pre;
}

static std::vector<std::string> strings(const Json& metadata, const char* key,
                                        const std::string& where) {
    CHECK(metadata.contains(key) && metadata.at(key).is_array(), "%s: the list %s is missing",
          where.c_str(), key);
    std::vector<std::string> list;
    for (const Json& item : metadata.at(key)) {
        CHECK(item.is_string(), "%s: %s must be a list of strings", where.c_str(), key);
        list.push_back(item.get<std::string>());
    }
    return list;
}

// Puts `bos` in front of a text, or nothing when it is empty.
static Json post_processor(const std::string& bos, int bos_id) {
    Json level = {{"type", "ByteLevel"},
                  {"add_prefix_space", true},
                  {"trim_offsets", false},
                  {"use_regex", true}};
    if (bos.empty()) return level;
    auto sequence = [](const char* id, int type) {
        return Json{{"Sequence", {{"id", id}, {"type_id", type}}}};
    };
    auto token = [&](int type) { return Json{{"SpecialToken", {{"id", bos}, {"type_id", type}}}}; };
    Json special = {
        {bos, {{"id", bos}, {"ids", Json::array({bos_id})}, {"tokens", Json::array({bos})}}}};
    Json processor = {
        {"type", "TemplateProcessing"},
        {"single", Json::array({token(0), sequence("A", 0)})},
        {"pair", Json::array({token(0), sequence("A", 0), token(1), sequence("B", 1)})},
        {"special_tokens", special}};
    return {{"type", "Sequence"}, {"processors", Json::array({level, processor})}};
}

// The token of the id that the metadata name, or "".
static std::string special_token(const Json& metadata, const char* key, const std::string& where) {
    int64_t id = json_int_or(metadata, key, -1, where);
    const Json& tokens = metadata.at("tokenizer.ggml.tokens");
    return id >= 0 && id < (int64_t)tokens.size() && tokens[id].is_string()
               ? tokens[id].get<std::string>()
               : "";
}

// Tokens of type normal that are marks nevertheless, as some converters write them: what the metadata name
// as a beginning, an end or a filler, and what the chat template writes in the form of a mark and no merge
// makes, so that text would never become it. llama.cpp overrides the type of the former, too.
static std::unordered_set<std::string> untyped_marks(const Json& metadata,
                                                     const std::vector<std::string>& tokens,
                                                     const std::vector<std::string>& merges,
                                                     const std::string& where) {
    std::unordered_set<std::string> made, marks;
    for (const std::string& merge : merges) {
        std::string whole = merge;
        if (size_t space = merge.find(' ', 1); space != std::string::npos) whole.erase(space, 1);
        made.insert(whole);
    }
    std::string chat; // of every name
    for (auto& [key, value] : metadata.items())
        if (key.rfind("tokenizer.chat_template", 0) == 0 && value.is_string())
            chat += value.get<std::string>() + "\n";
    for (const std::string& token : tokens) {
        const bool form =
            token.size() > 2 && std::strchr("<[", token.front()) && std::strchr(">]", token.back());
        if (form && !made.count(token) && chat.find(token) != std::string::npos)
            marks.insert(token);
    }
    for (const char* role :
         {"bos", "eos", "eot", "eom", "unknown", "padding", "seperator", "cls", "mask", "fim_pre",
          "fim_suf", "fim_mid", "fim_pad", "fim_rep", "fim_sep"}) {
        const std::string key = format("tokenizer.ggml.%s_token_id", role);
        const std::string token = special_token(metadata, key.c_str(), where);
        if (token.size() > 2) marks.insert(token); // a byte's letter has two bytes at most
    }
    return marks;
}

static Json tokenizer_config(const Json& metadata, const std::string& where) {
    Json config = {
        {"tokenizer_class", "PreTrainedTokenizerFast"},
        {"add_prefix_space", false},
        {"clean_up_tokenization_spaces", false},
        {"model_max_length", 1000000000000000019884624838656.0}}; // transformers' "no limit"
    for (auto [name, key] : {std::pair{"bos_token", "tokenizer.ggml.bos_token_id"},
                             {"eos_token", "tokenizer.ggml.eos_token_id"},
                             {"unk_token", "tokenizer.ggml.unknown_token_id"},
                             {"pad_token", "tokenizer.ggml.padding_token_id"}}) {
        std::string token = special_token(metadata, key, where);
        if (!token.empty()) config[name] = token;
    }
    std::string chat = json_string_or(metadata, "tokenizer.chat_template", "", where);
    if (!chat.empty()) config["chat_template"] = chat;
    if (!metadata.contains("tokenizer.chat_templates")) return config;
    Json named = Json::array(); // several templates: the default one and those of the names listed
    if (!chat.empty()) named.push_back({{"name", "default"}, {"template", chat}});
    for (const std::string& name : strings(metadata, "tokenizer.chat_templates", where)) {
        std::string key = "tokenizer.chat_template." + name;
        named.push_back({{"name", name}, {"template", json_string(metadata, key.c_str(), where)}});
    }
    config["chat_template"] = named;
    return config;
}

namespace {
struct Vocabulary {
    // Filled as the list it is: its own insertion looks through all keys before.
    Json::object_t vocab;
    std::unordered_map<std::string, size_t> id_of;
    Json added = Json::array(); // control tokens and the user's
};
} // namespace

static Vocabulary read_vocabulary(const Json& metadata, const std::vector<std::string>& tokens,
                                  const std::vector<std::string>& merges,
                                  const std::string& where) {
    const char* types_key = "tokenizer.ggml.token_type";
    Json types = metadata.contains(types_key) ? metadata.at(types_key) : Json::array();

    // llama.cpp's kinds of token: 1 normal, 3 control, 4 the user's, 5 unused (a filler for an id without
    // a token).
    enum { normal = 1, control = 3, user_defined = 4, unused = 5 };
    Vocabulary all;
    const std::unordered_set<std::string> marks = untyped_marks(metadata, tokens, merges, where);
    for (size_t id = 0; id < tokens.size(); ++id) {
        const std::string& token = tokens[id];
        int64_t type =
            id < types.size() && types[id].is_number_integer() ? types[id].get<int64_t>() : 1;
        if (type == unused) continue;
        if (type == normal && marks.count(token)) type = control;
        CHECK(all.id_of.emplace(token, id).second,
              "%s: token \"%.60s\" stands in the vocabulary twice", where.c_str(), token.c_str());
        all.vocab.emplace_back(token, id);
        if (type == control || type == user_defined)
            all.added.push_back({{"id", id},
                                 {"content", token},
                                 {"single_word", false},
                                 {"lstrip", false},
                                 {"rstrip", false},
                                 {"normalized", false},
                                 {"special", type == control}});
    }
    return all;
}

static void check_merges(const std::vector<std::string>& merges,
                         const std::unordered_map<std::string, size_t>& id_of,
                         const std::string& where) {
    for (const std::string& merge : merges) {
        size_t space = merge.find(' ', 1);
        bool valid = space != std::string::npos;
        if (valid) {
            std::string left = merge.substr(0, space), right = merge.substr(space + 1);
            valid = id_of.count(left) && id_of.count(right) && id_of.count(left + right);
        }
        CHECK(valid, "%s: merge \"%.60s\" does not join two tokens of the vocabulary to a third",
              where.c_str(), merge.c_str());
    }
}

TokenizerFiles gguf_tokenizer(const Json& metadata, const std::string& where) {
    std::string kind = json_string_or(metadata, "tokenizer.ggml.model", "none", where);
    CHECK(
        kind == "gpt2",
        "%s: a tokenizer of kind \"%.60s\" (tokenizer.ggml.model) is not supported; byte-level BPE "
        "(gpt2) is",
        where.c_str(), kind.c_str());
    PreTokenizer pre =
        pre_tokenizer(json_string_or(metadata, "tokenizer.ggml.pre", "none", where), where);
    std::vector<std::string> tokens = strings(metadata, "tokenizer.ggml.tokens", where);
    std::vector<std::string> merges = strings(metadata, "tokenizer.ggml.merges", where);
    Vocabulary all = read_vocabulary(metadata, tokens, merges, where);
    check_merges(merges, all.id_of, where);
    CHECK(!json_bool_or(metadata, "tokenizer.ggml.add_eos_token", false, where),
          "%s: tokenizer.ggml.add_eos_token: true is not supported", where.c_str());
    const char* bos_key = "tokenizer.ggml.bos_token_id";
    std::string bos;
    if (json_bool_or(metadata, "tokenizer.ggml.add_bos_token", pre.adds_bos, where))
        bos = special_token(metadata, bos_key, where);

    BpeFile file;
    file.added = std::move(all.added), file.vocab = std::move(all.vocab);
    file.merges = std::move(merges), file.ignore_merges = pre.ignore_merges;
    if (pre.nfc) file.normalizer = {{"type", "NFC"}};
    file.pre_tokenizer = pre.json;
    file.post_processor = post_processor(bos, (int)json_int_or(metadata, bos_key, -1, where));
    file.decoder = byte_level_stage(true);
    auto text = [](const Json& value) {
        return value.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
    };
    return {text(tokenizer_file(std::move(file))), text(tokenizer_config(metadata, where))};
}
