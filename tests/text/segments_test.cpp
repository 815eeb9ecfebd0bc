#include "text/segments.h"

#include "base/rng.h"
#include "text/tokenizer.h"
#include "text/unicode.h"

#include <gtest/gtest.h>

using Texts = std::vector<std::string>;

static Texts cut(const std::string& text, Segmentation kind, bool semicolons = false) {
    Texts parts;
    for (const Segment& segment : segments(text, kind, semicolons))
        parts.push_back(text.substr(segment.begin, segment.end - segment.begin));
    return parts;
}
static Texts sentences(const std::string& text) { return cut(text, Segmentation::sentence); }
static Texts steps(const std::string& text) { return cut(text, Segmentation::blank_line); }

TEST(Segments, SentencesOfTheVector) {
    EXPECT_EQ(sentences("A is 3.5 m. B?! 《书》出版于1949年。“好。”完"),
              (Texts{"A is 3.5 m. ", "B?! ", "《书》出版于1949年。", "“好。”", "完"}));
    EXPECT_EQ(sentences("a.b c"), Texts{"a.b c"});
    EXPECT_EQ(sentences("No stop"), Texts{"No stop"});
    EXPECT_EQ(sentences(""), Texts{});
}

TEST(Segments, ClosingMarksBelongToTheSentenceAndWhiteSpaceIsLookedForBehindThem) {
    EXPECT_EQ(sentences("He said \"go.\" Then (yes!) [no?] end"),
              (Texts{"He said \"go.\" ", "Then (yes!) ", "[no?] ", "end"}));
    EXPECT_EQ(sentences("f(a.)b"), Texts{"f(a.)b"});
    EXPECT_EQ(sentences("「好！」』走"), (Texts{"「好！」』", "走"}));
    EXPECT_EQ(sentences("Wait... what?!"), (Texts{"Wait... ", "what?!"}));
    EXPECT_EQ(sentences("好.。x"), (Texts{"好.。", "x"})); // one wide stop is enough
    EXPECT_EQ(sentences("one.\u3000two"), (Texts{"one.\u3000", "two"}));
}

TEST(Segments, ALineFeedEndsASentenceWithTheWhiteSpaceBehindIt) {
    EXPECT_EQ(sentences("a\nb\r\n\r\n  c \n"), (Texts{"a\n", "b\r\n\r\n  ", "c \n"}));
    EXPECT_EQ(sentences("\n\n a. b"), (Texts{"\n\n a. ", "b"})); // no sentence of white space
    EXPECT_EQ(sentences(" \n "), Texts{" \n "});
}

TEST(Segments, SemicolonsEndSentencesOnRequest) {
    EXPECT_EQ(sentences("a; b；c"), Texts{"a; b；c"});
    EXPECT_EQ(cut("a; b；c;d", Segmentation::sentence, true), (Texts{"a; ", "b；", "c;d"}));
}

TEST(Segments, StepsEndBehindBlankLines) {
    EXPECT_EQ(steps("a\nb\n\nc"), (Texts{"a\nb\n\n", "c"}));
    EXPECT_EQ(steps("a\r\n\r\nb"), (Texts{"a\r\n\r\n", "b"}));
    EXPECT_EQ(steps("a\n \t\nb\n\n\n\n  c"), (Texts{"a\n \t\n", "b\n\n\n\n", "  c"}));
    EXPECT_EQ(steps("\n\na\n\nb\n\n"), (Texts{"\n\na\n\n", "b\n\n"}));
    EXPECT_EQ(steps("  \n\na"), Texts{"  \n\na"});
    EXPECT_EQ(steps("a\n\n  "), Texts{"a\n\n  "});
    EXPECT_EQ(steps("```\nx\n\ny\n```"), (Texts{"```\nx\n\n", "y\n```"}));
    EXPECT_EQ(steps(""), Texts{});
    EXPECT_EQ(steps("\n\n"), Texts{"\n\n"});
}

TEST(Segments, FieldsBeginAtTheirTags) {
    auto fields = segments("<think>a <b</think>\n<answer>4</answer>", Segmentation::tag);
    EXPECT_EQ(fields, (std::vector<Segment>{{0, 20, "think"}, {20, 38, "answer"}}));
    fields = segments("<think>why</think> so 4", Segmentation::tag);
    EXPECT_EQ(fields, (std::vector<Segment>{{0, 19, "think"}, {19, 23, ""}}));
    fields = segments(" <intent> Reveal <keys> a | b <action> Answer-fact-text", Segmentation::tag);
    EXPECT_EQ(fields,
              (std::vector<Segment>{{0, 17, "intent"}, {17, 30, "keys"}, {30, 55, "action"}}));
    fields = segments("x < y and <3> no </end> tag", Segmentation::tag);
    EXPECT_EQ(fields, (std::vector<Segment>{{0, 27, ""}}));
}

TEST(Segments, GiveTheTextAgainByteForByte) {
    static const char* const pieces[] = {"a",    ".", "!",        " ",    "\n",     "\r\n", "。",
                                         "？",   "”", ")",        "\"",   "\u3000", "\t",   "<t>",
                                         "</t>", ";", "\xE2\x82", "\xFF", "书",     "3"};
    Rng rng(7);
    for (int round = 0; round < 3000; ++round) {
        std::string text;
        for (int i = 0; i < round % 13; ++i) text += pieces[rng.below(20)];
        for (Segmentation kind :
             {Segmentation::sentence, Segmentation::blank_line, Segmentation::tag}) {
            std::string again;
            for (const std::string& part : cut(text, kind, round % 2)) {
                EXPECT_FALSE(part.empty());
                again += part;
            }
            EXPECT_EQ(again, text);
        }
    }
}

TEST(Segments, InvalidBytesEndNothing) {
    EXPECT_EQ(sentences("a\xE3\x80 b"), Texts{"a\xE3\x80 b"}); // the beginning of 。
    EXPECT_EQ(sentences("a.\xFF b"), Texts{"a.\xFF b"});
}

TEST(Segments, ATokenBelongsToTheSegmentOfItsFirstByte) {
    const size_t none = std::string::npos;
    std::vector<Segment> two = {{0, 4}, {4, 9}};
    // The third token begins in the first segment and reaches into the second.
    std::vector<size_t> begins = {0, 2, 3, 6, none};
    EXPECT_EQ(token_segments(begins, two), (std::vector<int>{0, 0, 0, 1, 1}));
    EXPECT_EQ(token_ends(token_segments(begins, two), 2), (std::vector<int>{3, 5}));
    EXPECT_EQ(token_segments(begins, {}), std::vector<int>(5, -1));
    std::vector<Segment> gaps = {{1, 3}, {5, 9}};
    EXPECT_EQ(token_segments(begins, gaps), (std::vector<int>{-1, 0, -1, 1, 1}));
    // No token begins in the second of three segments.
    std::vector<Segment> three = {{0, 4}, {4, 5}, {5, 9}};
    EXPECT_EQ(token_ends(token_segments(begins, three), 3), (std::vector<int>{3, 3, 5}));
}

TEST(Segments, TokensOfARealTokenizerAreSharedOutWithoutEncodingAgain) {
    auto tokenizer = Tokenizer::load("tests/golden/tokenizers/qwen2");
    std::string text = "So 3 + 4 = 7.\n\nThe 书 is 12.\n\nDone.";
    auto ids = tokenizer->encode(text, false);
    ids.push_back(tokenizer->id_of("<|im_end|>"));
    std::vector<size_t> begins;
    ASSERT_EQ(tokenizer->decode(ids, true, &begins), text);
    auto parts = segments(text, Segmentation::blank_line);
    ASSERT_EQ(parts.size(), 3u);
    auto owner = token_segments(begins, parts);
    for (size_t t = 0; t + 1 < ids.size(); ++t) {
        const Segment& segment = parts[owner[t]];
        EXPECT_TRUE(segment.begin <= begins[t] && begins[t] < segment.end);
    }
    EXPECT_EQ(owner.back(), 2);
}
