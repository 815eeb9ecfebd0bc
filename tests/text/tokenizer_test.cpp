// Against ids that `tokenizers` gives (tests/reference/make_tokenizers.py).

#include "base/file.h"
#include "base/json.h"
#include "message_of.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <functional>
#include <gtest/gtest.h>
#include <map>

static const std::string golden = "tests/golden/tokenizers/";

static std::vector<Json> read_lines(const std::string& path) {
    std::vector<Json> lines;
    std::string text = read_file(path);
    for (size_t begin = 0; begin < text.size();) {
        size_t end = text.find('\n', begin);
        lines.push_back(parse_json(text.substr(begin, end - begin), path));
        begin = end + 1;
    }
    return lines;
}

static void expect_golden(const std::string& kind, const std::string& strings) {
    auto tokenizer = Tokenizer::load(golden + kind);
    std::vector<Json> texts = read_lines(golden + strings);
    std::vector<Json> wanted = read_lines(golden + kind + "/ids.jsonl");
    ASSERT_EQ(texts.size(), wanted.size());
    for (size_t i = 0; i < texts.size(); ++i) {
        std::string text = texts[i].get<std::string>();
        auto ids = wanted[i][0].get<std::vector<int32_t>>();
        std::string decoded = wanted[i].size() > 1 ? wanted[i][1].get<std::string>() : text;
        EXPECT_EQ(tokenizer->encode(text, true), ids) << kind << " " << dump_row(texts[i]);
        EXPECT_EQ(tokenizer->decode(ids, false), decoded) << kind << " " << dump_row(texts[i]);
    }
}

TEST(Tokenizer, SmolLM2GivesTheIdsOfTokenizers) { expect_golden("smollm2", "strings.jsonl"); }
TEST(Tokenizer, Qwen2GivesTheIdsOfTokenizers) { expect_golden("qwen2", "strings.jsonl"); }
TEST(Tokenizer, Llama3GivesTheIdsOfTokenizers) { expect_golden("llama3", "strings.jsonl"); }
// lstrip, rstrip, single_word, normalized, unknown bytes, add_prefix_space, every Split behaviour
TEST(Tokenizer, FlagsOfAddedTokensActAsInTokenizers) {
    expect_golden("flags", "flag_strings.jsonl");
}

TEST(Tokenizer, BeginsPointIntoTheText) {
    auto tokenizer = Tokenizer::load(golden + "smollm2");
    std::vector<size_t> begins;
    for (const Json& line : read_lines(golden + "strings.jsonl")) {
        std::string text = line.get<std::string>();
        auto ids = tokenizer->encode(text, false, &begins);
        ASSERT_EQ(ids.size(), begins.size());
        for (size_t i = 0; i < ids.size(); ++i) {
            size_t end = i + 1 < ids.size() ? begins[i + 1] : text.size();
            std::string token = tokenizer->decode({ids[i]}, false);
            if (token.find("\uFFFD") == std::string::npos) { // a part of a character: no text
                EXPECT_EQ(text.substr(begins[i], end - begins[i]), token);
            }
        }
    }
}

TEST(Tokenizer, BeginsAreOfTheTextBeforeNormalization) {
    auto tokenizer = Tokenizer::load(golden + "qwen2");
    std::string text = "e\u0301<|im_end|>x"; // 3 bytes, 2 after composition
    std::vector<size_t> begins;
    auto ids = tokenizer->encode(text, false, &begins);
    int end = tokenizer->id_of("<|im_end|>");
    auto at = std::find(ids.begin(), ids.end(), end) - ids.begin();
    ASSERT_LT(at + 1, (long)ids.size());
    EXPECT_EQ(begins[at], 3u);
    EXPECT_EQ(begins[at + 1], 3u + 10u);
}

TEST(Tokenizer, SpecialTokensAreAddedAndSkippedOnRequest) {
    auto tokenizer = Tokenizer::load(golden + "llama3");
    auto with = tokenizer->encode("hi<|eot_id|>", true),
         without = tokenizer->encode("hi<|eot_id|>", false);
    EXPECT_EQ(with[0], tokenizer->id_of("<|begin_of_text|>"));
    EXPECT_EQ(with.size(), without.size() + 1);
    EXPECT_EQ(tokenizer->decode(with, false), "<|begin_of_text|>hi<|eot_id|>");
    EXPECT_EQ(tokenizer->decode(with, true), "hi");
    EXPECT_EQ(tokenizer->token_of(with[0]), "<|begin_of_text|>");
    EXPECT_EQ(tokenizer->id_of("no such token"), -1);
    EXPECT_EQ(tokenizer->token_of(1 << 20), "");
    EXPECT_EQ(tokenizer->decode({1 << 20}, false), "");
}

TEST(Tokenizer, DecodingSaysWhereTokensBegin) {
    auto tokenizer = Tokenizer::load(golden + "llama3");
    std::string text = "A \u4e66\U0001f642, 12.\n\nB", decoded;
    std::vector<size_t> begins, encoded;
    auto ids = tokenizer->encode(text, false, &encoded);
    EXPECT_EQ(tokenizer->decode(ids, true, &begins), text);
    EXPECT_EQ(begins, encoded);
    ids.insert(ids.begin() + 1, tokenizer->id_of("<|eot_id|>"));
    tokenizer->decode(ids, true, &begins);
    EXPECT_EQ(begins[1], std::string::npos); // adds nothing to the text
    EXPECT_EQ(begins[2], encoded[1]);
    // A byte that is no UTF-8 becomes three, and what stands behind it moves.
    tokenizer = Tokenizer::load(golden + "smollm2");
    int piece = tokenizer->id_of("Ã"), a = tokenizer->id_of("a");
    EXPECT_EQ(tokenizer->decode({a, piece, piece, a}, false, &begins), "a\uFFFD\uFFFDa");
    EXPECT_EQ(begins, (std::vector<size_t>{0, 1, 4, 7}));
}

TEST(Tokenizer, IllFormedBytesAreReplaced) {
    auto tokenizer = Tokenizer::load(golden + "smollm2");
    EXPECT_EQ(tokenizer->encode("a\xFF\xE2\x82z", false),
              tokenizer->encode("a\uFFFD\uFFFDz", false));
    ASSERT_GE(tokenizer->id_of("Ã"), 0); // the first byte of é
    EXPECT_EQ(tokenizer->decode({tokenizer->id_of("Ã")}, false), "\uFFFD");
}

TEST(Tokenizer, LongTextOfOneWordTakesNoQuadraticTime) {
    auto tokenizer = Tokenizer::load(golden + "qwen2");
    std::string text;
    for (int i = 0; i < 50000; ++i) text += i % 2 ? "\u0301" : "\u0316"; // marks in reversed order
    std::string letters(300000, 'a');
    EXPECT_FALSE(tokenizer->encode(text, false).empty());
    EXPECT_EQ(tokenizer->decode(tokenizer->encode(letters, false), false), letters);
}

TEST(Tokenizer, UnsupportedPartsAreRefusedByName) {
    Json good = read_json(golden + "smollm2/tokenizer.json");
    auto refusal = [&](const std::function<void(Json&)>& change) {
        Json tree = good;
        change(tree);
        return message_of([&] { Tokenizer::parse(tree.dump(), "t.json"); });
    };
    auto names = [](const std::string& message, const char* word) {
        EXPECT_NE(message.find(word), std::string::npos) << message;
        EXPECT_NE(message.find("t.json"), std::string::npos) << message;
    };
    names(refusal([](Json& t) { t["normalizer"] = {{"type", "NFKC"}}; }), "NFKC");
    names(refusal([](Json& t) { t["pre_tokenizer"] = {{"type", "Metaspace"}}; }), "Metaspace");
    names(refusal([](Json& t) { t["pre_tokenizer"] = nullptr; }), "ByteLevel");
    names(refusal([](Json& t) { t["model"]["type"] = "Unigram"; }), "Unigram");
    names(refusal([](Json& t) { t["model"]["dropout"] = 0.5; }), "dropout");
    names(refusal([](Json& t) { t["model"].erase("merges"); }), "merges");
    names(refusal([](Json& t) {
              t["model"]["merges"][3] = Json::array({"a", "no such"});
          }),
          "no such");
    names(refusal([](Json& t) { t["model"]["merges"][3] = "a"; }), "merges[3]");
    names(refusal([](Json& t) { t["model"]["vocab"]["x y"] = -1; }), "x y");
    names(refusal([](Json& t) { t["model"]["vocab"]["x y"] = 2000000000; }), "x y");
    names(refusal([](Json& t) { t["model"]["unk_token"] = "<u>"; }), "<u>");
    names(refusal([](Json& t) { t["decoder"] = {{"type", "WordPiece"}}; }), "WordPiece");
    names(refusal([](Json& t) {
              t["post_processor"] = {{"type", "BertProcessing"}};
          }),
          "BertProcessing");
    names(message_of([] { Tokenizer::parse("{\"model\": {", "t.json"); }), "not valid JSON");
    names(message_of([] { Tokenizer::parse("[]", "t.json"); }), "object");
    EXPECT_NE(message_of([] { Tokenizer::load("tests"); }).find("tokenizer.json"),
              std::string::npos);
}

namespace {
// A directory with a byte-level tokenizer of single characters and `added`, and these other files.
struct TokenizerDirectory {
    std::string path = testing::TempDir() + "tokenizer_test_configured";
    TokenizerDirectory(const Json& added, const std::map<std::string, Json>& files) {
        remove_tree(path);
        make_directories(path);
        Json vocabulary = Json::object();
        std::string letter;
        for (int b = 0; b < 256; ++b) {
            letter.clear();
            append_utf8(letter, byte_alphabet()[b]);
            vocabulary[letter] = b;
        }
        vocabulary["<in>"] = 256;
        Json byte_level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}};
        Json json = {
            {"added_tokens", added},
            {"pre_tokenizer", byte_level},
            {"decoder", byte_level},
            {"model", {{"type", "BPE"}, {"vocab", vocabulary}, {"merges", Json::array()}}}};
        write_file(path + "/tokenizer.json", json.dump());
        for (auto& [name, text] : files) write_file(path + "/" + name, text.dump());
    }
    ~TokenizerDirectory() { remove_tree(path); }
};

Json added_token(const char* content, bool special) {
    return {{"content", content}, {"special", special},   {"normalized", false},
            {"lstrip", false},    {"single_word", false}, {"rstrip", false}};
}
} // namespace

// The ids are those of transformers 5.24 on the same files (tests/reference/configured_tokens.py).
TEST(Tokenizer, TokensThatOnlyTheConfigurationNamesAreTokens) {
    Json end = added_token("<end>", true);
    end["id"] = 257;
    const Json added = Json::array({end});
    using Ids = std::vector<int32_t>;
    auto ids = [&](const std::map<std::string, Json>& files, const char* text) {
        TokenizerDirectory directory(added, files);
        return Tokenizer::load(directory.path)->encode(text, true);
    };
    const Json decoder = {{"258", added_token("<tool>", false)},
                          {"257", added_token("<end>", true)}};
    const std::string name = "tokenizer_config.json";
    EXPECT_EQ(ids({}, "a<tool>b").size(), 8u);
    EXPECT_EQ(ids({{name, {{"added_tokens_decoder", decoder}}}}, "a<tool>b<end>"),
              (Ids{'a', 258, 'b', 257}));
    // named by a role: behind the table, in the order of the roles
    EXPECT_EQ(ids({{name,
                    {{"added_tokens_decoder", decoder},
                     {"pad_token", "<pad>"},
                     {"eos_token", {{"content", "<eos>"}, {"normalized", false}}},
                     {"additional_special_tokens", Json::array({"<x>", "<end>"})}}}},
                  "<x><pad><eos><end>"),
              (Ids{261, 260, 259, 257}));
    // one of the vocabulary becomes a token that text is cut at
    EXPECT_EQ(ids({}, "<in>").size(), 4u);
    EXPECT_EQ(ids({{name, {{"eos_token", "<in>"}}}}, "<in>"), Ids{256});
    // older files, where there is no table
    EXPECT_EQ(ids({{"added_tokens.json", {{"<tool>", 258}}},
                   {"special_tokens_map.json", {{"pad_token", "<pad>"}}}},
                  "<pad><tool>"),
              (Ids{259, 258}));
    TokenizerDirectory directory(added, {{name, {{"added_tokens_decoder", decoder}}}});
    auto tokenizer = Tokenizer::load(directory.path);
    EXPECT_EQ(tokenizer->vocabulary(), 259);
    EXPECT_EQ(tokenizer->decode({258, 257}, true), "<tool>"); // the one that is not special
    EXPECT_NE(message_of([&] {
                  TokenizerDirectory bad(added, {{name, {{"added_tokens_decoder", {{"x", end}}}}}});
                  Tokenizer::load(bad.path);
              }).find("no id"),
              std::string::npos);
}
