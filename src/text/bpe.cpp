#include "text/bpe.h"

#include <algorithm>

// For a heap whose top is the lowest rank, the leftmost of equals.
static bool comes_later(const Bpe::Candidate& a, const Bpe::Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
}

void Bpe::add_candidate(int32_t left, int32_t right) {
    auto merge = merges.find(pair_key(symbols[left].id, symbols[right].id));
    if (merge == merges.end()) return;
    heap.push_back({merge->second.rank, left, merge->second.id});
    std::push_heap(heap.begin(), heap.end(), comes_later);
}

void Bpe::merge_word(std::string_view word, std::vector<WordToken>& tokens) {
    symbols.clear(), heap.clear();
    for (uint32_t at = 0; at < word.size(); ++at) {
        int32_t id = byte_id[(uint8_t)word[at]];
        bool known = id >= 0;
        if (!known) id = unknown;
        if (id < 0) continue; // dropped, and its neighbours meet
        bool fuse = !known && fuse_unknown && !symbols.empty() && symbols.back().id == unknown &&
                    symbols.back().begin + symbols.back().length == at &&
                    byte_id[(uint8_t)word[at - 1]] < 0;
        if (fuse)
            symbols.back().length++;
        else
            symbols.push_back(
                {id, (int32_t)symbols.size() - 1, (int32_t)symbols.size() + 1, at, 1});
    }
    if (symbols.empty()) return;
    symbols.back().next = -1;
    for (int32_t left = 0; left + 1 < (int32_t)symbols.size(); ++left)
        add_candidate(left, left + 1);
    while (!heap.empty()) {
        std::pop_heap(heap.begin(), heap.end(), comes_later);
        Candidate top = heap.back();
        heap.pop_back();
        Symbol& left = symbols[top.position];
        if (left.length == 0 || left.next < 0) continue;
        Symbol& right = symbols[left.next];
        // The pair may have changed since; `tokenizers` compares the merged token, not the rank.
        auto merge = merges.find(pair_key(left.id, right.id));
        if (merge == merges.end() || merge->second.id != top.id) continue;
        left.id = top.id;
        left.length += right.length;
        left.next = right.next;
        right.length = 0;
        if (left.next >= 0) symbols[left.next].previous = top.position;
        if (left.previous >= 0) add_candidate(left.previous, top.position);
        if (left.next >= 0) add_candidate(top.position, left.next);
    }
    for (const Symbol& symbol : symbols)
        if (symbol.length) tokens.push_back({symbol.id, symbol.begin});
}

void Bpe::encode(std::string_view word, std::vector<WordToken>& tokens) {
    // Words of natural text are short and come back; the limits keep hostile text from filling memory.
    const size_t longest_cached = 64, most_cached = 1 << 20;
    std::string key(word);
    if (ignore_merges) {
        auto found = words.find(key);
        if (found != words.end()) return tokens.push_back({found->second, 0});
    }
    if (word.size() > longest_cached) return merge_word(word, tokens);
    auto seen = cache.find(key);
    if (seen == cache.end()) {
        if (cached_tokens > most_cached) cache.clear(), cached_tokens = 0;
        std::vector<WordToken> merged;
        merge_word(word, merged);
        cached_tokens += merged.size() + 1;
        seen = cache.emplace(std::move(key), std::move(merged)).first;
    }
    tokens.insert(tokens.end(), seen->second.begin(), seen->second.end());
}
