// Files of rows, and what is none.

#include "base/json.h"

#include "command.h"

namespace {

// What for_each_row says of a file with this text, or the number of its rows.
std::string reading(const std::string& text) {
    Scratch at;
    write_file(at("rows.jsonl"), text);
    int rows = 0;
    try {
        for_each_row(at("rows.jsonl"), [&](const Json&, const std::string&) { ++rows; });
    } catch (const Error& error) {
        std::string message = error.what();
        EXPECT_TRUE(contains(message, "rows.jsonl")) << message;
        EXPECT_EQ(std::count(message.begin(), message.end(), '\n'), 0) << message;
        return message;
    }
    return std::to_string(rows);
}

} // namespace

TEST(RowFiles, StandOnePerLine) {
    EXPECT_EQ(reading("{\"a\": 1}\n\n{\"a\": [1, 2]}"), "2");
    EXPECT_EQ(reading("\xEF\xBB\xBF{\"a\": 1}\r\n{\"a\": 2}\r\n"), "2"); // Windows' mark and ends
    EXPECT_TRUE(contains(reading(""), "no rows"));
    EXPECT_TRUE(contains(reading("{\"a\": 1}\n{\"a\": }\n"), ":2 is not valid JSON"));
    EXPECT_TRUE(contains(reading("{\"a\": 1}\n7\n"), ":2"));
}

TEST(RowFiles, AListOrAnObjectOverSeveralLinesIsToldAsSuch) {
    for (const char* list : {"[\n  {\"text\": \"ab\"},\n  {\"text\": \"cd\"}\n]\n", "[{\"a\": 1}]",
                             "\xEF\xBB\xBF [{\"a\": 1},\n{\"a\": 2}]"}) {
        EXPECT_TRUE(contains(reading(list), "a JSON list")) << reading(list);
        EXPECT_TRUE(contains(reading(list), "one JSON object per line")) << reading(list);
    }
    for (const char* spread : {"{\n  \"a\": 1\n}\n", "{\"a\": [\n1]}\n", "{\"a\": 1,\n\"b\": 2}\n"})
        EXPECT_TRUE(contains(reading(spread), "over several lines")) << reading(spread);
}

TEST(RowFiles, AFileOfAnotherKindIsNamed) {
    const std::string zeros(300, '\0');
    EXPECT_TRUE(contains(reading("\x1F\x8B\x08" + zeros), "gzip"));
    EXPECT_TRUE(contains(reading("PAR1" + zeros), "Parquet"));
    EXPECT_TRUE(
        contains(reading("version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS"));
    EXPECT_TRUE(contains(reading(std::string("\xFF\xFE{\0\"\0a\0", 8)), "UTF-16"));
}
