#pragma once
// Byte-level BPE as Hugging Face's `tokenizers` does it, read from tokenizer.json: added and special
// tokens cut out of the text, normalizer (NFC), pre-tokenizer (Split by regular expression, Digits,
// ByteLevel, Sequences of them), merges by rank, post-processor (TemplateProcessing, ByteLevel).

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

struct Tokenizer {
    // Reads directory/tokenizer.json and the tokens that only tokenizer_config.json names. An unsupported
    // component is an error that names it.
    static std::unique_ptr<Tokenizer> load(const std::string& directory);
    static std::unique_ptr<Tokenizer> parse(const std::string& tokenizer_json,
                                            const std::string& where);

    // special_tokens: apply the post-processor (Llama 3 puts <|begin_of_text|> in front). Ill-formed
    // UTF-8 is read as U+FFFD. `begins`: for each id the byte of `text` where its token begins.
    std::vector<int32_t> encode(const std::string& text, bool special_tokens,
                                std::vector<size_t>* begins = nullptr) const;
    // Ids without a token are passed over. Bytes that are not UTF-8 become U+FFFD. `begins`: for each id
    // the byte of the result where its token begins; npos for one that adds nothing to it.
    std::string decode(const std::vector<int32_t>& ids, bool skip_special,
                       std::vector<size_t>* begins = nullptr) const;
    int vocabulary() const;                    // largest id + 1
    int id_of(const std::string& token) const; // -1: no such token
    std::string token_of(int32_t id) const;    // as in tokenizer.json; "" for an id without a token

    explicit Tokenizer(std::unique_ptr<struct TokenizerParts> parts);
    ~Tokenizer();

private:
    std::unique_ptr<struct TokenizerParts> parts;
};
