// tokenizer.json, read. Whatever is not understood is refused by name: a tokenizer that is almost right
// would feed a model wrong ids without a word.

#include "text/tokenizer_parts.h"

#include "base/json.h"
#include "text/unicode.h"

#include <algorithm>
#include <map>

static const char known_parts[] =
    "This program reads byte-level BPE: normalizer NFC; pre-tokenizers Split, Digits, ByteLevel; "
    "post-processors TemplateProcessing, ByteLevel; decoder ByteLevel; and Sequences of them";

static std::string type_of(const Json& part, const std::string& where) {
    return json_string(part, "type", where);
}

[[noreturn]] static void refuse(const char* kind, const std::string& type,
                                const std::string& where) {
    fail("%s: %s \"%s\" is not supported. %s", where.c_str(), kind, type.c_str(), known_parts);
}

static const Json& child(const Json& object, const char* key) {
    static const Json nothing;
    if (!object.is_object()) return nothing;
    auto found = object.find(key);
    return found == object.end() ? nothing : *found;
}

// Visits a component, or the members of a Sequence of them, in order; null: none.
template <class Visit>
static void for_each_part(const Json& part, const char* members, const std::string& where,
                          Visit visit) {
    if (part.is_null()) return;
    if (type_of(part, where) != "Sequence") return visit(part);
    const Json& list = child(part, members);
    CHECK(list.is_array(), "%s: a Sequence lacks its list \"%s\"", where.c_str(), members);
    for (const Json& member : list) for_each_part(member, members, where, visit);
}

static void read_normalizer(const Json& part, const std::string& where, TokenizerParts& parts) {
    for_each_part(part, "normalizers", where, [&](const Json& normalizer) {
        std::string type = type_of(normalizer, where);
        if (type != "NFC") refuse("normalizer", type, where);
        parts.nfc = true;
    });
}

static SplitStage::Behavior read_behavior(const Json& split, const std::string& where) {
    using Behavior = SplitStage::Behavior;
    static const std::pair<const char*, Behavior> behaviors[] = {
        {"Isolated", Behavior::isolated},
        {"Removed", Behavior::removed},
        {"Contiguous", Behavior::contiguous},
        {"MergedWithPrevious", Behavior::merged_with_previous},
        {"MergedWithNext", Behavior::merged_with_next}};
    std::string name = json_string(split, "behavior", where);
    for (auto& [known, behavior] : behaviors)
        if (name == known) return behavior;
    refuse("Split behavior", name, where);
}

static void read_pre_tokenizer(const Json& part, const std::string& where, TokenizerParts& parts) {
    // GPT-2's pattern, which ByteLevel uses with use_regex [Radford et al. 2019, encoder.py].
    static const char gpt2_pattern[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+"
                                       "| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+";
    auto complete = [&] {
        return !parts.stages.empty() && parts.stages.back().kind == SplitStage::Kind::byte_level;
    };
    for_each_part(part, "pretokenizers", where, [&](const Json& pre) {
        std::string type = type_of(pre, where);
        CHECK(!complete(), "%s: pre-tokenizer \"%s\" stands behind ByteLevel. %s", where.c_str(),
              type.c_str(), known_parts);
        SplitStage stage;
        if (type == "Split") {
            const Json& pattern = child(pre, "pattern");
            bool literal = pattern.is_object() && pattern.contains("String");
            stage.regex.emplace_back(json_string(pattern, literal ? "String" : "Regex", where),
                                     literal, where);
            stage.behavior = read_behavior(pre, where);
            stage.invert = json_bool_or(pre, "invert", false, where);
        } else if (type == "Digits") {
            stage.kind = SplitStage::Kind::digits;
            stage.behavior = json_bool_or(pre, "individual_digits", false, where)
                                 ? SplitStage::Behavior::isolated
                                 : SplitStage::Behavior::contiguous;
        } else if (type == "ByteLevel") {
            stage.kind = SplitStage::Kind::byte_level;
            stage.add_prefix_space = json_bool_or(pre, "add_prefix_space", true, where);
            if (json_bool_or(pre, "use_regex", true, where))
                stage.regex.emplace_back(gpt2_pattern, false, where);
        } else {
            refuse("pre-tokenizer", type, where);
        }
        parts.stages.push_back(std::move(stage));
    });
    CHECK(complete(), "%s: the pre-tokenizer has no ByteLevel. %s", where.c_str(), known_parts);
}

static int32_t id_in_vocabulary(const Bpe& bpe, const std::string& token,
                                const std::string& where) {
    auto found = bpe.vocabulary.find(token);
    CHECK(found != bpe.vocabulary.end(),
          "%s: a merge names the token \"%s\", which is not in the vocabulary", where.c_str(),
          token.c_str());
    return found->second;
}

static void add_merge(Bpe& bpe, const std::string& left, const std::string& right, int32_t rank,
                      const std::string& where) {
    int32_t left_id = id_in_vocabulary(bpe, left, where);
    int32_t right_id = id_in_vocabulary(bpe, right, where);
    bpe.merges[pair_key(left_id, right_id)] = {rank, id_in_vocabulary(bpe, left + right, where)};
}

// "a b", or the newer ["a", "b"], which allows for spaces in tokens.
static void read_merges(const nlohmann::json& merges, const std::string& where, Bpe& bpe) {
    CHECK(merges.is_array(), "%s: model.merges is missing; a BPE model is its merges",
          where.c_str());
    bpe.merges.reserve(merges.size());
    int32_t rank = 0;
    for (const auto& merge : merges) {
        if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
            add_merge(bpe, merge[0].get_ref<const std::string&>(),
                      merge[1].get_ref<const std::string&>(), rank++, where);
            continue;
        }
        const std::string* text = merge.get_ptr<const std::string*>();
        if (text && text->rfind("#version", 0) == 0) continue;
        size_t space = text ? text->find(' ') : std::string::npos;
        CHECK(space != std::string::npos && text->find(' ', space + 1) == std::string::npos,
              "%s: model.merges[%d] is not a pair of tokens", where.c_str(), rank);
        add_merge(bpe, text->substr(0, space), text->substr(space + 1), rank++, where);
    }
}

static void read_vocabulary(const nlohmann::json& vocabulary, const std::string& where,
                            TokenizerParts& parts) {
    const int64_t most = 1 << 24; // sixty times the largest vocabulary in use
    CHECK(vocabulary.is_object(), "%s: model.vocab must be an object of tokens and ids",
          where.c_str());
    Bpe& bpe = parts.bpe;
    bpe.vocabulary.reserve(vocabulary.size()), parts.token_by_id.reserve(vocabulary.size());
    for (auto& [token, value] : vocabulary.items()) {
        int64_t id = value.is_number_integer() ? value.get<int64_t>() : -1;
        CHECK(id >= 0 && id < most, "%s: the id of token \"%s\" must be an integer in 0 .. %lld",
              where.c_str(), token.c_str(), (long long)most - 1);
        bpe.vocabulary[token] = (int32_t)id;
        parts.token_by_id[(int32_t)id] = token;
        parts.vocabulary = std::max(parts.vocabulary, (int)id + 1);
    }
    for (int b = 0; b < 256; ++b) {
        std::string letter;
        append_utf8(letter, byte_alphabet()[b]);
        auto found = bpe.vocabulary.find(letter);
        bpe.byte_id[b] = found == bpe.vocabulary.end() ? -1 : found->second;
    }
}

static void read_model(nlohmann::json& model, const std::string& where, TokenizerParts& parts) {
    CHECK(model.is_object(), "%s: \"model\" is missing", where.c_str());
    nlohmann::json vocabulary = std::move(model["vocab"]), merges = std::move(model["merges"]);
    model.erase("vocab"), model.erase("merges");
    Json small = model;
    std::string type = json_string_or(small, "type", "BPE", where);
    if (type != "BPE") refuse("model", type, where);
    Bpe& bpe = parts.bpe;
    read_vocabulary(vocabulary, where, parts);
    read_merges(merges, where, bpe);
    bpe.ignore_merges = json_bool_or(small, "ignore_merges", false, where);
    std::string bytes;
    if (bpe.ignore_merges)
        for (auto& [token, id] : bpe.vocabulary)
            if (alphabet_to_bytes(token, bytes)) bpe.words[bytes] = id;
    bpe.fuse_unknown = json_bool_or(small, "fuse_unk", false, where);
    std::string unknown = json_string_or(small, "unk_token", "", where);
    if (!unknown.empty()) {
        auto found = bpe.vocabulary.find(unknown);
        CHECK(found != bpe.vocabulary.end(), "%s: unk_token \"%s\" is not in the vocabulary",
              where.c_str(), unknown.c_str());
        bpe.unknown = found->second;
    }
    CHECK(json_number_or(small, "dropout", 0, where) == 0,
          "%s: BPE dropout is not supported; set model.dropout to null", where.c_str());
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"})
        CHECK(json_string_or(small, key, "", where).empty(), "%s: model.%s is not supported. %s",
              where.c_str(), key, known_parts);
    bool complete = *std::min_element(bpe.byte_id.begin(), bpe.byte_id.end()) >= 0;
    CHECK(complete || !json_bool_or(small, "byte_fallback", false, where),
          "%s: byte_fallback with a vocabulary that lacks bytes is not supported. %s",
          where.c_str(), known_parts);
}

static AddedToken read_added_token(const Json& item, const std::string& where) {
    AddedToken token;
    token.content = json_string(item, "content", where);
    token.special = json_bool_or(item, "special", false, where);
    token.normalized = json_bool_or(item, "normalized", !token.special, where);
    token.left_strip = json_bool_or(item, "lstrip", false, where);
    token.right_strip = json_bool_or(item, "rstrip", false, where);
    token.single_word = json_bool_or(item, "single_word", false, where);
    return token;
}

// A token that the vocabulary has keeps its id there. Others are numbered behind all ids, as
// `tokenizers` does it, whatever id the file gives; files that it wrote agree.
static void add_token(AddedToken token, TokenizerParts& parts) {
    if (token.content.empty()) return;
    const int32_t size = (int32_t)parts.bpe.vocabulary.size();
    auto known = parts.added_ids.find(token.content);
    auto in_vocabulary = parts.bpe.vocabulary.find(token.content);
    if (known != parts.added_ids.end())
        token.id = known->second;
    else if (in_vocabulary != parts.bpe.vocabulary.end())
        token.id = in_vocabulary->second;
    else
        token.id = parts.last_added >= size ? parts.last_added + 1 : size;
    parts.last_added = std::max(parts.last_added, token.id);
    parts.added_ids[token.content] = token.id;
    parts.token_by_id[token.id] = token.content;
    if (token.special) parts.special_by_id[token.id] = true;
    parts.vocabulary = std::max(parts.vocabulary, token.id + 1);
    int index = (int)parts.added.size();
    if (!token.normalized)
        parts.plain_finder.add(token.content, index);
    else
        parts.normalized_finder.add(parts.nfc ? normalize_nfc(token.content).text : token.content,
                                    index);
    parts.added.push_back(token);
}

static void read_added_tokens(const Json& list, const std::string& where, TokenizerParts& parts) {
    if (list.is_null()) return;
    CHECK(list.is_array(), "%s: \"added_tokens\" must be a list", where.c_str());
    for (const Json& item : list) add_token(read_added_token(item, where), parts);
}

// Tokens that stand beside tokenizer.json only: as transformers, which adds first the table
// "added_tokens_decoder" in the order of its ids, then the tokens that are named by their roles. A token
// of tokenizer.json stays as it is there, unless it becomes special.
void add_configured_tokens(TokenizerParts& parts, const Json& config, const std::string& where) {
    auto add = [&](const AddedToken& token) {
        auto known = parts.added_ids.find(token.content);
        const bool changes = known == parts.added_ids.end() ||
                             (token.special && !parts.special_by_id.count(known->second));
        if (changes) add_token(token, parts);
    };
    auto add_named = [&](const Json& value) { // "<s>", or {"content": "<s>", ..}
        if (!value.is_string() && !value.is_object()) return;
        AddedToken token;
        token.normalized = false;
        if (value.is_string())
            token.content = value.get<std::string>();
        else
            token = read_added_token(value, where);
        token.special = true;
        add(token);
    };
    std::map<int64_t, AddedToken> decoder;
    const Json& table = child(config, "added_tokens_decoder");
    CHECK(table.is_null() || table.is_object(), "%s: \"added_tokens_decoder\" must be an object",
          where.c_str());
    for (auto& [id, item] : table.items()) {
        const bool number = !id.empty() && id.size() < 10 &&
                            id.find_first_not_of("0123456789") == std::string::npos;
        CHECK(number, "%s: \"added_tokens_decoder\" has the key \"%.40s\", which is no id",
              where.c_str(), id.c_str());
        decoder[std::stoll(id)] = read_added_token(item, where);
    }
    for (auto& [id, token] : decoder) add(token);
    for (const char* role : {"bos_token", "eos_token", "unk_token", "sep_token", "pad_token",
                             "cls_token", "mask_token"})
        add_named(child(config, role));
    for (const char* list : {"additional_special_tokens", "extra_special_tokens"})
        for (const Json& value : child(config, list)) add_named(value);
}

static void read_template(const Json& post, const std::string& where, TokenizerParts& parts) {
    const Json& single = child(post, "single");
    CHECK(single.is_array(), "%s: TemplateProcessing lacks its list \"single\"", where.c_str());
    std::vector<int32_t> before, after;
    int sequences = 0;
    for (const Json& piece : single) {
        if (child(piece, "Sequence").is_object()) {
            ++sequences;
            continue;
        }
        std::string name = json_string(child(piece, "SpecialToken"), "id", where);
        const Json& token = child(child(post, "special_tokens"), name.c_str());
        CHECK(token.is_object(),
              "%s: TemplateProcessing names the special token \"%s\" and does not define it",
              where.c_str(), name.c_str());
        for (int32_t id : json_ids(token, "ids", where)) (sequences ? after : before).push_back(id);
    }
    CHECK(sequences == 1, "%s: TemplateProcessing must hold the text once, found %d times",
          where.c_str(), sequences);
    parts.prefix.insert(parts.prefix.begin(), before.begin(), before.end());
    parts.suffix.insert(parts.suffix.end(), after.begin(), after.end());
}

static void read_post_processor(const Json& part, const std::string& where, TokenizerParts& parts) {
    for_each_part(part, "processors", where, [&](const Json& post) {
        std::string type = type_of(post, where);
        if (type == "TemplateProcessing")
            read_template(post, where, parts);
        else if (type != "ByteLevel") // which changes offsets only
            refuse("post-processor", type, where);
    });
}

static void read_decoder(const Json& part, const std::string& where, TokenizerParts& parts) {
    for_each_part(part, "decoders", where, [&](const Json& decoder) {
        std::string type = type_of(decoder, where);
        if (type != "ByteLevel" || parts.byte_level_decoder) refuse("decoder", type, where);
        parts.byte_level_decoder = true;
    });
}

std::unique_ptr<TokenizerParts> read_tokenizer(const std::string& tokenizer_json,
                                               const std::string& where) {
    nlohmann::json all = parse_large_json(tokenizer_json, where);
    CHECK(all.is_object(), "%s must be a JSON object, found %s", where.c_str(), all.type_name());
    auto parts = std::make_unique<TokenizerParts>();
    nlohmann::json model = std::move(all["model"]);
    all.erase("model");
    Json rest = all;
    read_normalizer(child(rest, "normalizer"), where, *parts);
    read_pre_tokenizer(child(rest, "pre_tokenizer"), where, *parts);
    read_model(model, where, *parts);
    read_added_tokens(child(rest, "added_tokens"), where, *parts);
    read_post_processor(child(rest, "post_processor"), where, *parts);
    read_decoder(child(rest, "decoder"), where, *parts);
    return parts;
}
