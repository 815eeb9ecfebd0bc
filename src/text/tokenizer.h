#pragma once
// Byte-level BPE as Hugging Face's `tokenizers` does it, read from tokenizer.json: added and special
// tokens cut out of the text, normalizer (NFC), pre-tokenizer (Split by regular expression, Digits,
// ByteLevel, Sequences of them), merges by rank, post-processor (TemplateProcessing, ByteLevel).

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct Tokenizer {
    // Reads directory/tokenizer.json (and tokenizer_config.json where it matters). An unsupported
    // component is an error that names it.
    static std::unique_ptr<Tokenizer> load(const std::string& directory);
    static std::unique_ptr<Tokenizer> parse(const std::string& tokenizer_json,
                                            const std::string& where);
    virtual ~Tokenizer() = default; // the one class with an implementation hidden behind it

    // special_tokens: apply the post-processor (Llama 3 puts <|begin_of_text|> in front).
    virtual std::vector<int32_t> encode(const std::string& text, bool special_tokens) const = 0;
    virtual std::string decode(const std::vector<int32_t>& ids, bool skip_special) const = 0;
    virtual int vocabulary() const = 0;                    // largest id + 1
    virtual int id_of(const std::string& token) const = 0; // -1: no such token
    virtual std::string token_of(int32_t id) const = 0;    // "" for an id without a token
};
