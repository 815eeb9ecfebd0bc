#include "text/tokenizer_parts.h"

#include "base/check.h"
#include "base/file.h"
#include "base/json.h"
#include "text/unicode.h"

#include <algorithm>

Tokenizer::Tokenizer(std::unique_ptr<TokenizerParts> parts_) : parts(std::move(parts_)) {}
Tokenizer::~Tokenizer() = default;

// tokenizer_config.json. Older directories keep the names of special tokens in special_tokens_map.json,
// and the table of added tokens in added_tokens.json.
static Json tokenizer_config(const std::string& directory) {
    auto object = [&](const char* name) {
        const std::string path = join_path(directory, name);
        Json json = file_exists(path) ? read_json(path) : Json::object();
        CHECK(json.is_object(), "%s must be a JSON object, found %s", path.c_str(),
              json.type_name());
        return json;
    };
    Json config = object("tokenizer_config.json");
    if (config.contains("added_tokens_decoder")) return config;
    const Json named = object("special_tokens_map.json"), added = object("added_tokens.json");
    for (auto& [key, value] : named.items()) config[key] = value;
    Json& table = config["added_tokens_decoder"] = Json::object();
    for (auto& [token, id] : added.items()) table[dump_row(id)] = {{"content", token}};
    return config;
}

std::unique_ptr<Tokenizer> Tokenizer::load(const std::string& directory) {
    std::string path = join_path(directory, "tokenizer.json");
    CHECK(file_exists(path), "%s has no tokenizer.json; a Hugging Face model directory holds one",
          directory.c_str());
    auto parts = read_tokenizer(read_file(path), path);
    add_configured_tokens(*parts, tokenizer_config(directory),
                          join_path(directory, "tokenizer_config.json"));
    return std::make_unique<Tokenizer>(std::move(parts));
}

std::unique_ptr<Tokenizer> Tokenizer::parse(const std::string& tokenizer_json,
                                            const std::string& where) {
    return std::make_unique<Tokenizer>(read_tokenizer(tokenizer_json, where));
}

void TokenFinder::add(const std::string& text, int index) {
    if (text.empty()) return;
    token_of[text] = index;
    std::vector<size_t>& lengths = lengths_by_first[(uint8_t)text[0]];
    if (std::find(lengths.begin(), lengths.end(), text.size()) == lengths.end())
        lengths.push_back(text.size());
    std::sort(lengths.rbegin(), lengths.rend());
}

int TokenFinder::find(std::string_view text, size_t at, Span& match) const {
    if (token_of.empty()) return -1;
    for (; at < text.size(); ++at)
        for (size_t length : lengths_by_first[(uint8_t)text[at]]) {
            if (length > text.size() - at) continue;
            auto found = token_of.find(std::string(text.substr(at, length)));
            if (found == token_of.end()) continue;
            match = {at, at + length};
            return found->second;
        }
    return -1;
}

namespace {

// One encoding: collects ids and where they begin.
struct Encoder {
    TokenizerParts& parts;
    std::vector<int32_t>& ids;
    std::vector<size_t>& begins;
    std::vector<WordToken> tokens;
    std::vector<Span> matches, pieces, next_pieces;

    void put(int32_t id, size_t begin) {
        ids.push_back(id);
        begins.push_back(begin);
    }

    // Calls text(begin, end) and token(index, begin, end) for the stretches of `text`, in order.
    template <class Text, class Token>
    void cut_tokens(std::string_view text, const TokenFinder& finder, Text on_text,
                    Token on_token) const {
        size_t start = 0, at = 0;
        Span match{};
        for (int index; (index = finder.find(text, at, match)) >= 0;) {
            at = match.end;
            const AddedToken& token = parts.added[index];
            if (token.single_word && (ends_in_word(text.substr(0, match.begin)) ||
                                      begins_with_word(text.substr(match.end))))
                continue;
            size_t begin = match.begin, end = match.end;
            if (token.left_strip) begin = std::max(start, strip_right(text.substr(0, begin)));
            if (token.right_strip) end = text.size() - strip_left(text.substr(end));
            if (start < begin) on_text(start, begin);
            on_token(index, begin, end);
            start = end;
        }
        if (start < text.size()) on_text(start, text.size());
    }

    static bool begins_with_word(std::string_view text) {
        size_t at = 0;
        return !text.empty() && is_word(next_code_point(text, at));
    }
    static size_t last_character(std::string_view text) {
        size_t at = text.size() - 1;
        while (at > 0 && ((uint8_t)text[at] & 0xC0) == 0x80) --at;
        return at;
    }
    static bool ends_in_word(std::string_view text) {
        return !text.empty() && begins_with_word(text.substr(last_character(text)));
    }
    // Length of the text without white space at its right end, or at its left end.
    static size_t strip_right(std::string_view text) {
        while (!text.empty()) {
            size_t last = last_character(text), at = last;
            if (!is_white_space(next_code_point(text, at))) break;
            text = text.substr(0, last);
        }
        return text.size();
    }
    static size_t strip_left(std::string_view text) {
        for (size_t at = 0; at < text.size();) {
            size_t begin = at;
            if (!is_white_space(next_code_point(text, at))) return text.size() - begin;
        }
        return 0;
    }

    void encode(std::string_view text) {
        cut_tokens(
            text, parts.plain_finder,
            [&](size_t begin, size_t end) { encode_text(text.substr(begin, end - begin), begin); },
            [&](int index, size_t begin, size_t) { put(parts.added[index].id, begin); });
    }

    void encode_text(std::string_view text, size_t offset) {
        if (!parts.nfc) return encode_normalized(text, [&](size_t at) { return offset + at; });
        Normalized normal = normalize_nfc(text);
        encode_normalized(normal.text,
                          [&](size_t at) { return offset + normal.original_position(at); });
    }

    template <class Position> void encode_normalized(std::string_view text, Position position) {
        cut_tokens(
            text, parts.normalized_finder,
            [&](size_t begin, size_t end) {
                split_words(text.substr(begin, end - begin));
                for (const Span& piece : pieces)
                    encode_piece(text.substr(begin + piece.begin, piece.end - piece.begin),
                                 [&](size_t at) { return position(begin + piece.begin + at); });
            },
            [&](int index, size_t begin, size_t) { put(parts.added[index].id, position(begin)); });
    }

    // The pre-tokenizer up to its last stage.
    void split_words(std::string_view text) {
        pieces.assign(1, {0, text.size()});
        for (const SplitStage& stage : parts.stages) {
            if (stage.kind == SplitStage::Kind::byte_level) break;
            next_pieces.clear();
            for (const Span& piece : pieces)
                split_piece(stage, text.substr(piece.begin, piece.end - piece.begin), piece.begin);
            std::swap(pieces, next_pieces);
        }
    }

    // The last stage, ByteLevel, and the merges.
    template <class Position> void encode_piece(std::string_view text, Position position) {
        const SplitStage& stage = parts.stages.back();
        std::string prefixed;
        size_t added = stage.add_prefix_space && text[0] != ' ';
        if (added) {
            prefixed = " ";
            prefixed += text;
            text = prefixed;
        }
        next_pieces.clear();
        if (stage.regex.empty())
            next_pieces.push_back({0, text.size()});
        else
            split_piece(stage, text, 0);
        for (const Span& word : next_pieces) {
            tokens.clear();
            parts.bpe.encode(text.substr(word.begin, word.end - word.begin), tokens);
            for (const WordToken& token : tokens) {
                size_t begin = word.begin + token.begin;
                put(token.id, position(begin < added ? 0 : begin - added));
            }
        }
    }

    // Appends the pieces of one piece to next_pieces.
    void split_piece(const SplitStage& stage, std::string_view text, size_t offset) {
        using Behavior = SplitStage::Behavior;
        if (text.empty()) return;
        if (stage.kind == SplitStage::Kind::digits)
            find_digits(text);
        else
            stage.regex[0].find_all(text, matches);
        auto add = [&](size_t begin, size_t end) {
            if (begin < end) next_pieces.push_back({offset + begin, offset + end});
        };
        // Every stretch is a match or lies between two; an empty match only marks a place to cut.
        struct Stretch {
            size_t begin, end;
            bool match;
        };
        std::vector<Stretch> stretches;
        size_t at = 0;
        for (const Span& match : matches) {
            if (at < match.begin) stretches.push_back({at, match.begin, stage.invert});
            stretches.push_back({match.begin, match.end, !stage.invert});
            at = match.end;
        }
        if (at < text.size()) stretches.push_back({at, text.size(), stage.invert});
        Behavior behavior = stage.behavior;
        for (size_t i = 0; i < stretches.size();) {
            if (stretches[i].match && behavior == Behavior::removed) {
                ++i;
                continue;
            }
            // [i, j) stay together
            size_t j = i + 1;
            if (behavior == Behavior::contiguous)
                while (j < stretches.size() && stretches[j].match == stretches[i].match) ++j;
            else if (behavior == Behavior::merged_with_previous) {
                if (j < stretches.size() && !stretches[i].match && stretches[j].match) ++j;
            } else if (behavior == Behavior::merged_with_next) {
                if (j < stretches.size() && stretches[i].match && !stretches[j].match) ++j;
            }
            add(stretches[i].begin, stretches[j - 1].end);
            i = j;
        }
    }

    void find_digits(std::string_view text) {
        matches.clear();
        for (size_t at = 0; at < text.size();) {
            size_t begin = at;
            int32_t c = next_code_point(text, at);
            if (c < 0x80 ? c >= '0' && c <= '9' : is_number(c)) matches.push_back({begin, at});
        }
    }
};

} // namespace

std::vector<int32_t> Tokenizer::encode(const std::string& text, bool special_tokens,
                                       std::vector<size_t>* begins) const {
    std::vector<int32_t> ids;
    std::vector<size_t> local_begins;
    if (!begins) begins = &local_begins;
    begins->clear();
    if (special_tokens) {
        ids = parts->prefix;
        begins->assign(ids.size(), 0);
    }
    std::string repaired = valid_utf8(text);
    {
        std::lock_guard<std::mutex> lock(parts->bpe_mutex);
        Encoder encoder{*parts, ids, *begins, {}, {}, {}, {}};
        encoder.encode(repaired);
    }
    if (special_tokens) {
        ids.insert(ids.end(), parts->suffix.begin(), parts->suffix.end());
        begins->resize(ids.size(), repaired.size());
    }
    return ids;
}

std::string Tokenizer::decode(const std::vector<int32_t>& ids, bool skip_special,
                              std::vector<size_t>* begins) const {
    std::string text, bytes;
    std::vector<size_t> raw(ids.size(), std::string::npos); // where each token begins in `text`
    bool first = true;
    for (size_t i = 0; i < ids.size(); ++i) {
        auto token = parts->token_by_id.find(ids[i]);
        if (token == parts->token_by_id.end()) continue;
        if (skip_special && parts->special_by_id.count(ids[i])) continue;
        if (!parts->byte_level_decoder && !first) text += " ";
        const size_t before = text.size();
        if (parts->byte_level_decoder && alphabet_to_bytes(token->second, bytes))
            text += bytes;
        else
            text += token->second; // an added token with characters of its own
        if (text.size() > before) raw[i] = before;
        first = false;
    }
    if (begins) *begins = positions_in_valid_utf8(text, raw);
    return valid_utf8(text);
}

int Tokenizer::vocabulary() const { return parts->vocabulary; }

int Tokenizer::id_of(const std::string& token) const {
    auto added = parts->added_ids.find(token);
    if (added != parts->added_ids.end()) return added->second;
    auto found = parts->bpe.vocabulary.find(token);
    return found == parts->bpe.vocabulary.end() ? -1 : found->second;
}

std::string Tokenizer::token_of(int32_t id) const {
    auto found = parts->token_by_id.find(id);
    return found == parts->token_by_id.end() ? "" : found->second;
}
