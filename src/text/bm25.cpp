#include "text/bm25.h"

#include "base/check.h"
#include "text/jinja/python_text.h"
#include "text/unicode.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <numeric>
#include <omp.h>

void for_each_word(std::string_view text, const std::function<void(std::string_view)>& visit) {
    // ASCII letters and digits to their lower case, all else to 0.
    static const std::array<char, 128> ascii = [] {
        std::array<char, 128> table{};
        for (int c = '0'; c <= '9'; ++c) table[c] = (char)c;
        for (int c = 'a'; c <= 'z'; ++c) table[c] = table[c - 32] = (char)c;
        return table;
    }();
    std::string word;
    auto flush = [&] {
        if (!word.empty()) visit(word);
        word.clear();
    };
    for (size_t at = 0; at < text.size();) {
        if ((uint8_t)text[at] < 128) {
            char lower = ascii[(uint8_t)text[at++]];
            if (lower)
                word += lower;
            else
                flush();
            continue;
        }
        int32_t c = next_code_point(text, at);
        if (c < 0 || (!python::is_letter(c) && !is_number(c))) {
            flush();
        } else if (is_han_or_kana(c)) {
            flush();
            append_utf8(word, c);
            flush();
        } else {
            append_utf8(word, lower_case(c));
        }
    }
    flush();
}

void Bm25Builder::add(std::string_view passage) {
    const uint32_t d = passages();
    CHECK(d < max_passages, "a block of the index holds at most %u passages", max_passages);
    uint32_t words = 0;
    for_each_word(passage, [&](std::string_view word) {
        ++words;
        auto found = number.find(word);
        if (found == number.end()) {
            found = number.emplace(word, (uint32_t)number.size()).first;
            last.push_back(UINT32_MAX);
        }
        const uint32_t w = found->second;
        if (last[w] != UINT32_MAX && entries[last[w]].posting >> 16 == d) {
            CHECK((++entries[last[w]].posting & 0xFFFF) != 0,
                  "a passage holds the word \"%s\" more than 65535 times; cut it into passages",
                  std::string(word).c_str());
        } else {
            last[w] = (uint32_t)entries.size();
            entries.push_back({w, d << 16 | 1});
        }
    });
    length.push_back(words);
}

void Bm25Index::add(Bm25Builder&& builder) {
    if (builder.passages() == 0) return;
    CHECK(passage_count + builder.passages() < UINT32_MAX, "an index holds at most 2^32 passages");
    Bm25Block& block = built.emplace_back();
    block.first = (uint32_t)passage_count;
    block.length = std::move(builder.length);
    passage_count += block.length.size();
    total_length += std::accumulate(block.length.begin(), block.length.end(), uint64_t(0));

    const uint32_t words = (uint32_t)builder.number.size();
    block.word.resize(words), block.begin.assign(words + 1, 0);
    for (const auto& [word, local] : builder.number)
        block.word[local] = number.insert({word, (uint32_t)number.size()}).first->second;
    // Counting sort by word; the entries of one are in the order of their passages.
    for (const auto& entry : builder.entries) ++block.begin[entry.word + 1];
    std::partial_sum(block.begin.begin(), block.begin.end(), block.begin.begin());
    block.posting.resize(builder.entries.size());
    std::vector<uint32_t> next(block.begin.begin(), block.begin.end() - 1);
    for (const auto& entry : builder.entries) block.posting[next[entry.word]++] = entry.posting;
    builder = {};
}

// The block's words, numbered by arrival, get their places in the order of all words.
static void renumber(Bm25Block& block, const std::vector<uint32_t>& place) {
    const size_t words = block.word.size();
    std::vector<uint32_t> order(words);
    std::iota(order.begin(), order.end(), 0);
    for (uint32_t& word : block.word) word = place[word];
    std::sort(order.begin(), order.end(),
              [&](uint32_t x, uint32_t y) { return block.word[x] < block.word[y]; });
    Bm25Block sorted;
    sorted.word.reserve(words), sorted.begin.reserve(words + 1);
    sorted.posting.reserve(block.posting.size());
    for (uint32_t w : order) {
        sorted.word.push_back(block.word[w]);
        sorted.begin.push_back((uint32_t)sorted.posting.size());
        sorted.posting.insert(sorted.posting.end(), block.posting.begin() + block.begin[w],
                              block.posting.begin() + block.begin[w + 1]);
    }
    sorted.begin.push_back((uint32_t)sorted.posting.size());
    block.word = std::move(sorted.word), block.begin = std::move(sorted.begin);
    block.posting = std::move(sorted.posting);
}

void Bm25Index::finish() {
    word_count = number.size();
    std::vector<std::pair<std::string_view, uint32_t>> words; // by arrival, then ascending
    words.reserve(word_count);
    for (const auto& [word, arrival] : number) words.push_back({word, arrival});
    std::sort(words.begin(), words.end());
    std::vector<uint32_t> place(word_count);
    for (size_t w = 0; w < words.size(); ++w) {
        text_storage.insert(text_storage.end(), words[w].first.begin(), words[w].first.end());
        text_end_storage.push_back(text_storage.size());
        place[words[w].second] = (uint32_t)w;
    }
    words.clear(), words.shrink_to_fit(), number = {};
#pragma omp parallel for schedule(dynamic)
    for (Bm25Block& block : built) renumber(block, place);
    frequency_storage.assign(word_count, 0);
    for (const Bm25Block& block : built) {
        for (size_t w = 0; w < block.word.size(); ++w)
            frequency_storage[block.word[w]] += block.begin[w + 1] - block.begin[w];
        blocks.push_back({block.first, (uint32_t)block.length.size(), (uint32_t)block.word.size(),
                          block.length.data(), block.word.data(), block.begin.data(),
                          block.posting.data()});
    }
    text = text_storage.data(), text_end = text_end_storage.data();
    frequency = frequency_storage.data();
}

Bm25Index Bm25Index::of(const std::vector<std::string>& passages) {
    Bm25Index index;
    Bm25Builder builder;
    for (const std::string& passage : passages) {
        if (builder.passages() == Bm25Builder::max_passages) index.add(std::move(builder));
        builder.add(passage);
    }
    index.add(std::move(builder));
    index.finish();
    return index;
}

int64_t Bm25Index::find_word(std::string_view word) const {
    auto at = [&](uint64_t w) {
        uint64_t begin = w == 0 ? 0 : text_end[w - 1];
        return std::string_view(text + begin, text_end[w] - begin);
    };
    uint64_t low = 0, high = word_count; // the first word that is not below it is in [low, high]
    while (low < high) {
        uint64_t middle = (low + high) / 2;
        if (at(middle) < word)
            low = middle + 1;
        else
            high = middle;
    }
    return low < word_count && at(low) == word ? (int64_t)low : -1;
}

namespace {
// The best hits seen so far, the worst on top. Passages come in ascending order, so one that equals the
// worst comes too late.
struct BestHits {
    size_t top;
    std::vector<SearchHit> heap{};

    static bool better(const SearchHit& x, const SearchHit& y) {
        return x.score != y.score ? x.score > y.score : x.passage < y.passage;
    }
    double floor() const { return heap.size() < top ? 0 : heap.front().score; }
    void offer(SearchHit hit) {
        heap.push_back(hit);
        std::push_heap(heap.begin(), heap.end(), better);
        if (heap.size() <= top) return;
        std::pop_heap(heap.begin(), heap.end(), better);
        heap.pop_back();
    }
};
} // namespace

std::vector<SearchHit> Bm25Index::search(std::string_view query, int top) const {
    struct Term {
        uint32_t word;
        double weight; // idf (k1 + 1) times how often the query has it
    };
    std::vector<Term> terms; // in the order of the query, which is that of the sum
    const double N = (double)passage_count;
    uint64_t postings = 0;
    for_each_word(query, [&](std::string_view word) {
        const int64_t w = find_word(word);
        if (w < 0) return;
        const double n = frequency[w], weight = std::log(1 + (N - n + 0.5) / (n + 0.5)) * (k1 + 1);
        auto known = std::find_if(terms.begin(), terms.end(),
                                  [&](const Term& term) { return term.word == (uint32_t)w; });
        if (known != terms.end()) {
            known->weight += weight;
        } else {
            terms.push_back({(uint32_t)w, weight});
            postings += frequency[w];
        }
    });
    if (terms.empty() || top <= 0) return {};

    // k1 (1 - b + b |d| / avg) = base + slope |d|
    const double base = k1 * (1 - b), slope = k1 * b * N / (double)total_length;
    std::vector<SearchHit> hits;
#pragma omp parallel if (postings > 100000)
    {
        BestHits best{(size_t)top};
        std::vector<double> score; // (passages of the block)
#pragma omp for schedule(dynamic) nowait
        for (size_t i = 0; i < blocks.size(); ++i) {
            const BlockView& block = blocks[i];
            if (score.size() < block.passages) score.resize(block.passages, 0);
            bool any = false;
            for (const Term& term : terms) {
                const uint32_t* end = block.word + block.words;
                const uint32_t* found = std::lower_bound(block.word, end, term.word);
                if (found == end || *found != term.word) continue;
                any = true;
                const uint32_t* stop = block.posting + block.begin[found - block.word + 1];
                for (const uint32_t* p = block.posting + block.begin[found - block.word]; p < stop;
                     ++p) {
                    const uint32_t d = *p >> 16;
                    const double tf = *p & 0xFFFF;
                    score[d] += term.weight * tf / (tf + base + slope * block.length[d]);
                }
            }
            if (!any) continue;
            for (uint32_t d = 0; d < block.passages; ++d) {
                if (score[d] > best.floor()) best.offer({block.first + d, score[d]});
                score[d] = 0;
            }
        }
#pragma omp critical
        hits.insert(hits.end(), best.heap.begin(), best.heap.end());
    }
    std::sort(hits.begin(), hits.end(), BestHits::better);
    if (hits.size() > (size_t)top) hits.resize(top);
    return hits;
}

// ---- As bytes: a header of five counts, the words, and the blocks, each part filled up to 8 bytes.

static size_t filled(size_t bytes) { return (bytes + 7) / 8 * 8; }

void Bm25Index::write(const std::function<void(const void*, size_t)>& put) const {
    auto put_part = [&](const void* bytes, size_t count) {
        static const char zeros[8] = {};
        put(bytes, count);
        put(zeros, filled(count) - count);
    };
    const uint64_t text_bytes = word_count ? text_end[word_count - 1] : 0;
    const uint64_t header[5] = {passage_count, total_length, word_count, text_bytes, blocks.size()};
    put_part(header, sizeof header);
    put_part(text_end, word_count * 8);
    put_part(frequency, word_count * 4);
    put_part(text, text_bytes);
    for (const BlockView& block : blocks) {
        const uint32_t counts[4] = {block.first, block.passages, block.words,
                                    block.begin[block.words]};
        put_part(counts, sizeof counts);
        put_part(block.length, block.passages * 4ull);
        put_part(block.word, block.words * 4ull);
        put_part(block.begin, (block.words + 1) * 4ull);
        put_part(block.posting, counts[3] * 4ull);
    }
}

Bm25Index Bm25Index::map(const uint8_t* data, size_t size, const std::string& where) {
    size_t at = 0;
    auto take = [&](uint64_t count, size_t width) {
        CHECK(count <= (size - at) / width && filled(count * width) <= size - at,
              "%s is cut off or damaged; remove it, and it is written anew", where.c_str());
        const uint8_t* part = data + at;
        at += filled(count * width);
        return part;
    };
    auto sound = [&](bool right) {
        CHECK(right, "%s is damaged; remove it, and it is written anew", where.c_str());
    };
    Bm25Index index;
    const uint64_t* header = (const uint64_t*)take(5, 8);
    index.passage_count = header[0], index.total_length = header[1], index.word_count = header[2];
    index.text_end = (const uint64_t*)take(header[2], 8);
    index.frequency = (const uint32_t*)take(header[2], 4);
    index.text = (const char*)take(header[3], 1);
    for (uint64_t w = 0; w < header[2]; ++w)
        sound(index.text_end[w] >= (w ? index.text_end[w - 1] : 0) &&
              index.text_end[w] <= header[3]);
    uint64_t next = 0; // passage
    for (uint64_t i = 0; i < header[4]; ++i) {
        const uint32_t* counts = (const uint32_t*)take(4, 4);
        BlockView block{counts[0], counts[1], counts[2], nullptr, nullptr, nullptr, nullptr};
        sound(block.first == next && block.passages <= Bm25Builder::max_passages);
        next += block.passages;
        block.length = (const uint32_t*)take(block.passages, 4);
        block.word = (const uint32_t*)take(block.words, 4);
        block.begin = (const uint32_t*)take(block.words + 1ull, 4);
        block.posting = (const uint32_t*)take(counts[3], 4);
        sound(std::is_sorted(block.begin, block.begin + block.words + 1) &&
              block.begin[block.words] == counts[3] &&
              std::is_sorted(block.word, block.word + block.words));
        for (uint32_t p = 0; p < counts[3]; ++p) sound(block.posting[p] >> 16 < block.passages);
        index.blocks.push_back(block);
    }
    sound(next == index.passage_count && at == size);
    return index;
}
