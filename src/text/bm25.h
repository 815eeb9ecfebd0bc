#pragma once
// BM25 over passages with an inverted index [Robertson & Zaragoza 2009, eq. 3.15]:
//
//   score(q, d) = sum over the words w of q of  idf_w tf (k1 + 1) / (tf + k1 (1 - b + b |d| / avg))
//   idf_w = ln(1 + (N - n_w + 1/2) / (n_w + 1/2)),   k1 = 1.2, b = 0.75
//
// N passages, n_w of them with w; tf: how often w stands in d; |d|: words of d. A word that the query
// repeats counts repeatedly; equal scores go by the lowest passage.
//
// Words are maximal runs of letters and digits, lower-cased by Unicode; Han, hiragana and katakana
// characters stand alone. No stop words, no stemming.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

// visit(word): the view lives until the next call.
void for_each_word(std::string_view text, const std::function<void(std::string_view)>& visit);

// Passages are indexed in blocks, each by one thread; the parts of a block are in order of their words.
//
// A posting is one passage with one word: the passage, counted from the block's first, in the upper 16 bits,
// tf in the lower 16.
struct Bm25Block {
    uint32_t first = 0;            // passage
    std::vector<uint32_t> length;  // (passages) |d|
    std::vector<uint32_t> word;    // (words of the block) ascending: numbers of the index's words
    std::vector<uint32_t> begin;   // (words of the block + 1) where each one's postings begin
    std::vector<uint32_t> posting; // by word, then by passage
};

// A map from words that looks views up without copying them.
struct WordHash {
    using is_transparent = void;
    size_t operator()(std::string_view word) const { return std::hash<std::string_view>()(word); }
};
using WordNumbers = std::unordered_map<std::string, uint32_t, WordHash, std::equal_to<>>;

// Gathers the passages of one block. Words are numbered within the block until the index takes it.
struct Bm25Builder {
    static constexpr uint32_t max_passages = 65536;
    void add(std::string_view passage); // at most max_passages times
    uint32_t passages() const { return (uint32_t)length.size(); }

private:
    friend struct Bm25Index;
    struct Entry {
        uint32_t word, posting;
    };
    WordNumbers number;
    std::vector<uint32_t> last; // (words) the word's last entry
    std::vector<uint32_t> length;
    std::vector<Entry> entries;
};

struct SearchHit {
    uint32_t passage;
    double score;
};

struct Bm25Index {
    static constexpr double k1 = 1.2, b = 0.75;

    Bm25Index() = default;
    Bm25Index(Bm25Index&&) = default;
    Bm25Index& operator=(Bm25Index&&) = default;

    // Appends a builder's passages, in the order of the calls; then finish() makes the index searchable.
    void add(Bm25Builder&& builder);
    void finish();
    static Bm25Index of(const std::vector<std::string>& passages);

    // The `top` best of the passages that hold a word of the query, best first.
    std::vector<SearchHit> search(std::string_view query, int top) const;
    uint32_t passages() const { return passage_count; }
    uint64_t words() const { return word_count; }

    // put(bytes, count): the index as a stretch of bytes. map() reads such bytes, which must be aligned to 8
    // and outlive the index, in place; bytes that are not an index are an error that names `where`.
    void write(const std::function<void(const void*, size_t)>& put) const;
    static Bm25Index map(const uint8_t* data, size_t size, const std::string& where);

private:
    struct BlockView { // a Bm25Block, here or in mapped bytes
        uint32_t first, passages, words;
        const uint32_t *length, *word, *begin, *posting;
    };
    int64_t find_word(std::string_view word) const; // -1: not in the index

    uint64_t passage_count = 0, total_length = 0, word_count = 0;
    const char* text = nullptr;          // the words, ascending, without anything between them
    const uint64_t* text_end = nullptr;  // (words)
    const uint32_t* frequency = nullptr; // (words) n_w
    std::vector<BlockView> blocks;

    // What an index that was built here stands on.
    WordNumbers number; // until finish()
    std::vector<Bm25Block> built;
    std::vector<char> text_storage;
    std::vector<uint64_t> text_end_storage;
    std::vector<uint32_t> frequency_storage;
};
