#pragma once
// Byte-pair encoding of one word: start from single bytes, always merge the pair of lowest rank, the
// leftmost of equals [Sennrich et al. 2016], with the details of Hugging Face's `tokenizers`.

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

struct WordToken {
    int32_t id;
    uint32_t begin; // byte of the word where the token begins
};

inline uint64_t pair_key(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

struct Bpe {
    struct Merge {
        int32_t rank, id;
    };
    std::unordered_map<std::string, int32_t> vocabulary; // token, as in the file, to id
    std::unordered_map<std::string, int32_t> words; // by the bytes it stands for, if ignore_merges
    std::array<int32_t, 256> byte_id;               // -1: the vocabulary lacks the byte
    std::unordered_map<uint64_t, Merge> merges;     // pair_key to rank and new id
    bool ignore_merges = false;                     // a word that is a token needs no merging
    int32_t unknown = -1; // stands for bytes without a token; -1: they vanish
    bool fuse_unknown = false;

    struct Candidate { // a merge that could be done at a position
        int32_t rank, position, id;
    };

    // The tokens of `word` (bytes), appended. Remembers what it has seen: one thread at a time.
    void encode(std::string_view word, std::vector<WordToken>& tokens);

private:
    struct Symbol {
        int32_t id, previous, next;
        uint32_t begin, length; // bytes; length 0: merged into another
    };
    void merge_word(std::string_view word, std::vector<WordToken>& tokens);
    void add_candidate(int32_t left, int32_t right);

    std::unordered_map<std::string, std::vector<WordToken>> cache;
    size_t cached_tokens = 0;
    std::vector<Symbol> symbols;
    std::vector<Candidate> heap;
};
