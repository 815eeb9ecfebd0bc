#include "message_of.h"
#include "text/bm25.h"

#include "base/check.h"
#include "base/rng.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <gtest/gtest.h>
#include <map>

using Texts = std::vector<std::string>;

static Texts words_of(const std::string& text) {
    Texts words;
    for_each_word(text, [&](std::string_view word) { words.push_back(std::string(word)); });
    return words;
}

TEST(Bm25, Vector) {
    Bm25Index index = Bm25Index::of({"a b c", "a a d", "e"});
    auto hits = index.search("a b", 10);
    ASSERT_EQ(hits.size(), 2u); // the third has no word of the query
    EXPECT_EQ(hits[0].passage, 0u);
    EXPECT_NEAR(hits[0].score, 1.299002, 5e-7); // six digits are given
    EXPECT_EQ(hits[1].passage, 1u);
    EXPECT_NEAR(hits[1].score, .598186, 5e-7);
}

TEST(Bm25, WordsAreLowerCasedRunsOfLettersAndDigitsAndSingleHanAndKana) {
    EXPECT_EQ(words_of("Don't stop: 3.5 km_2 ÄÖ-Ü"),
              (Texts{"don", "t", "stop", "3", "5", "km", "2", "äö", "ü"}));
    EXPECT_EQ(words_of("ΣΑΣ ПРИВЕТ x²½"), (Texts{"σασ", "привет", "x²½"}));
    EXPECT_EQ(words_of("北京2008年のアニメー"),
              (Texts{"北", "京", "2008", "年", "の", "ア", "ニ", "メ", "ー"}));
    EXPECT_EQ(words_of("한국어 abc書def"), (Texts{"한국어", "abc", "書", "def"}));
    EXPECT_EQ(words_of("a\xFF"
                       "b \xE4\xB8 c"),
              (Texts{"a", "b", "c"})); // ill-formed bytes part words
    EXPECT_EQ(words_of(" .,;\n。「」"), Texts{});
}

TEST(Bm25, RepeatedWordsOfAQueryCountRepeatedlyAndTiesGoByTheLowestPassage) {
    Bm25Index index = Bm25Index::of({"x", "b a", "a b", "a c", "a b"});
    auto once = index.search("B", 5), twice = index.search("b B", 5);
    ASSERT_EQ(once.size(), 3u);
    for (int i = 0; i < 3; ++i) EXPECT_DOUBLE_EQ(2 * once[i].score, twice[i].score);
    EXPECT_EQ(once[0].passage, 1u);
    EXPECT_EQ(once[1].passage, 2u);
    EXPECT_EQ(once[2].passage, 4u);
    EXPECT_EQ(index.search("b", 2).size(), 2u);
    EXPECT_EQ(index.search("b", 2)[1].passage, 2u);
    EXPECT_TRUE(index.search("no such words, q", 5).empty());
    EXPECT_TRUE(index.search("", 5).empty());
    EXPECT_TRUE(Bm25Index::of({}).search("a", 5).empty());
    EXPECT_TRUE(Bm25Index::of({"", "..."}).search("a", 5).empty());
}

// The formula over whole passages, word by word.
static std::vector<std::pair<double, size_t>> scan(const Texts& passages,
                                                   const std::string& query) {
    const double N = (double)passages.size();
    std::vector<std::map<std::string, int>> counts(passages.size());
    std::map<std::string, int> having;
    std::vector<double> length(passages.size());
    double total = 0;
    for (size_t d = 0; d < passages.size(); ++d) {
        for (const std::string& word : words_of(passages[d])) ++counts[d][word], ++length[d];
        for (auto& [word, count] : counts[d]) ++having[word];
        total += length[d];
    }
    std::vector<std::pair<double, size_t>> result;
    for (size_t d = 0; d < passages.size(); ++d) {
        double score = 0;
        for (const std::string& word : words_of(query)) {
            auto found = counts[d].find(word);
            if (found == counts[d].end()) continue;
            const double n = having[word], tf = found->second;
            score += std::log(1 + (N - n + .5) / (n + .5)) * tf * 2.2 /
                     (tf + 1.2 * (1 - .75 + .75 * length[d] * N / total));
        }
        if (score > 0) result.push_back({-score, d});
    }
    std::sort(result.begin(), result.end());
    return result;
}

// Words with frequencies like those of a language: w with probability about 1 / (w + 1).
static Texts language(int passages, uint64_t seed) {
    Rng rng(seed);
    Texts texts(passages);
    for (std::string& text : texts)
        for (int i = 5 + rng.below(20); i > 0; --i)
            text += "w" + std::to_string((int)std::exp(rng.uniform() * std::log(3000))) + " ";
    return texts;
}

static void expect_scan(const Bm25Index& index, const Texts& texts) {
    for (const char* query :
         {"w1 w2", "w5 w900 w33 w5", "w2000", "w1", "w77 w78 w79 w80 nothing"}) {
        auto wanted = scan(texts, query);
        auto hits = index.search(query, 12);
        ASSERT_EQ(hits.size(), std::min<size_t>(12, wanted.size())) << query;
        for (size_t i = 0; i < hits.size(); ++i) {
            EXPECT_EQ(hits[i].passage, wanted[i].second) << query << " " << i;
            EXPECT_NEAR(hits[i].score, -wanted[i].first, 1e-12) << query << " " << i;
        }
    }
}

TEST(Bm25, AgreesWithAScanOfAllPassages) {
    Texts texts = language(3000, 1);
    expect_scan(Bm25Index::of(texts), texts);
}

TEST(Bm25, BlocksAndTheirNumberChangeNothing) {
    Texts texts = language(2000, 2);
    Bm25Index index;
    Rng rng(3);
    Bm25Builder builder;
    for (const std::string& text : texts) {
        builder.add(text);
        if (rng.below(300) == 0) index.add(std::move(builder)), builder = {};
    }
    index.add(std::move(builder));
    index.finish();
    expect_scan(index, texts);
}

TEST(Bm25, BytesAreReadInPlaceAndDamageIsSeen) {
    Texts texts = language(500, 4);
    Bm25Index index = Bm25Index::of(texts);
    std::string bytes;
    index.write([&](const void* part, size_t count) { bytes.append((const char*)part, count); });
    std::vector<uint64_t> aligned(bytes.size() / 8);
    auto data = (uint8_t*)aligned.data();
    auto mapped = [&](size_t size) { return Bm25Index::map(data, size, "F"); };
    std::copy(bytes.begin(), bytes.end(), data);
    Bm25Index again = mapped(bytes.size());
    EXPECT_EQ(again.passages(), 500u);
    EXPECT_EQ(again.words(), index.words());
    expect_scan(again, texts);

    for (size_t size :
         {size_t(0), size_t(8), size_t(40), bytes.size() / 2 / 8 * 8, bytes.size() - 8})
        EXPECT_NE(message_of([&] { mapped(size); }).find("F is"), std::string::npos) << size;
    for (size_t at = 0; at < bytes.size(); at += 1 + bytes.size() / 997) {
        data[at] ^= 0xFF; // refused, or still an index that can be searched
        message_of([&] { mapped(bytes.size()).search("w1 w2 w3", 5); });
        data[at] ^= 0xFF;
    }
}
