#pragma once
// The vocabulary of a built-in task: every token is one of a few spellings, so a model of it can be
// tiny and still read and write text.

#include <cstdint>
#include <string>
#include <vector>

struct Vocabulary {
    // By id: the given words, <eos>, <bos>, <pad>, `more` characters. Of words of more than one
    // character none is the beginning of another.
    std::vector<std::string> spelling;
    int more = 0;

    explicit Vocabulary(std::vector<std::string> words);
    // The same with every printable character of ASCII and the line feed: of a model that writes
    // about the task's answers.
    Vocabulary with_ascii() const;
    int size() const { return (int)spelling.size(); }
    int32_t eos() const { return size() - more - 3; }
    int32_t bos() const { return size() - more - 2; }
    int32_t pad() const { return size() - more - 1; }
    int32_t id(const std::string& word) const; // fails if there is no such word
    // "?" for an id outside. special: with <eos>, <bos> and <pad>.
    std::string text(const std::vector<int32_t>& ids, bool special) const;
    // tokenizer.json and tokenizer_config.json as Hugging Face reads them: a byte-level BPE without
    // merges for the single characters, the longer words as added tokens. A text gets <bos> in
    // front, as a prompt has it.
    std::string tokenizer_json() const;
    std::string tokenizer_config_json() const;
};
