#pragma once
// What tokenizer.json holds, in the form in which tokenizer.cpp uses it. Private to the tokenizer.

#include "text/bpe.h"
#include "text/regex.h"
#include "text/tokenizer.h"

#include <mutex>
#include <nlohmann/json_fwd.hpp>

struct AddedToken {
    std::string content;
    int32_t id = -1;
    bool special = false, normalized = true; // normalized: looked for in the normalized text
    bool left_strip = false, right_strip = false, single_word = false;
};

// Finds added tokens in text: the leftmost, of several at one place the longest.
struct TokenFinder {
    std::unordered_map<std::string, int> token_of;         // text to index in `added`
    std::array<std::vector<size_t>, 256> lengths_by_first; // of texts by first byte, longest first
    void add(const std::string& text, int index);
    // The first token at or behind `at`, or -1.
    int find(std::string_view text, size_t at, Span& match) const;
};

// One stage of the pre-tokenizer.
struct SplitStage {
    enum class Kind { split, digits, byte_level } kind = Kind::split;
    enum class Behavior { isolated, removed, contiguous, merged_with_previous, merged_with_next };
    Behavior behavior = Behavior::isolated;
    bool invert = false;           // split: the pattern says what to keep
    bool add_prefix_space = false; // byte_level
    std::vector<Regex> regex;      // one, or none for digits and byte_level without use_regex
};

struct TokenizerParts {
    bool nfc = false;
    std::vector<AddedToken> added;
    TokenFinder plain_finder, normalized_finder; // of added tokens by `normalized`
    std::vector<SplitStage> stages;              // byte_level is the last
    Bpe bpe;
    std::mutex bpe_mutex; // of the caches in bpe and of the scratch memory in the regexes
    std::vector<int32_t> prefix, suffix; // ids that the post-processor puts around a text
    bool byte_level_decoder = false;     // else tokens are joined by spaces
    std::unordered_map<int32_t, std::string> token_by_id;
    std::unordered_map<std::string, int32_t> added_ids; // of added tokens by content
    std::unordered_map<int32_t, bool> special_by_id;    // only ids of special tokens
    int vocabulary = 0;                                 // largest id + 1
    int32_t last_added = -1;                            // largest id of an added token
};

std::unique_ptr<TokenizerParts> read_tokenizer(const std::string& tokenizer_json,
                                               const std::string& where);
// Adds what tokenizer_config.json names and tokenizer.json lacks.
void add_configured_tokens(TokenizerParts& parts, const nlohmann::ordered_json& config,
                           const std::string& where);
