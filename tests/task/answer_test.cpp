#include "task/answer.h"

#include "testing.h"

static bool matches(const std::string& completion, const std::string& gold, bool marked = false) {
    auto answer = extract_answer(completion, marked);
    return answer && answer_matches(*answer, gold);
}

TEST(Answer, EqualValuesInEverySpelling) {
    const char* same[][2] = {{"18", "18"},
                             {"18.0", "18"},
                             {"18.", "18"},
                             {"+18", "18"},
                             {"018", "18"},
                             {"$18", "18"},
                             {"$ 18", "18"},
                             {"18.00", "$18"},
                             {"1,234", "1234"},
                             {"1,234,567.50", "1234567.5"},
                             {"-5", "-5.0"},
                             {"\xe2\x88\x92"
                              "5",
                              "-5"},
                             {"-$5", "-5"},
                             {"$-5", "-5"},
                             {"-0", "0"},
                             {"0.0", "0"},
                             {".5", "0.5"},
                             {"1/2", "0.5"},
                             {"2/4", "1/2"},
                             {"-1/2", "-0.5"},
                             {"10/5", "2"},
                             {"1 1/2", "1.5"},
                             {"3/7", "6/14"},
                             {"50%", "0.5"},
                             {"50 %", "1/2"},
                             {"50%", "50"},
                             {"50", "50%"},
                             {"50 percent", "50%"},
                             {"12.5\\%", "0.125"},
                             {"1.5e3", "1500"},
                             {"1.5E+3", "1500"},
                             {"5e-1", "1/2"},
                             {"1.5 x 10^3", "1500"},
                             {"2 \\times 10^{-2}", "0.02"},
                             {"\\frac{3}{4}", "0.75"},
                             {"\\dfrac{3}{4}", "3/4"},
                             {"\\tfrac34", "3/4"},
                             {"\\frac{12}{5}", "2.4"},
                             {"-\\frac{3}{4}", "-0.75"},
                             {"1\\frac{1}{2}", "3/2"},
                             {"1{,}000", "1000"},
                             {"1,\\!000", "1000"},
                             {"18\\text{ dollars}", "18"},
                             {"18 \\, \\mathrm{cm}", "18"},
                             {"90^\\circ", "90"},
                             {"90^{\\circ}", "90"},
                             {"90\xc2\xb0", "90"},
                             {"$18$", "18"},
                             {"\\$18", "18"},
                             {"12 m^2", "12"},
                             {"\xe2\x82\xac"
                              "7",
                              "7"},
                             {"123456789012345678901234567890", "123456789012345678901234567890.0"},
                             {"0.1", "1/10"},
                             {"0.333333333333333333333333333333",
                              "333333333333333333333333333333/1000000000000000000000000000000"},
                             {"\\left(5\\right)", "5"},
                             {"18 dollars", "18"},
                             {"5kg", "5"}};
    for (auto& pair : same) {
        auto a = parse_number(pair[0]), b = parse_number(pair[1]);
        ASSERT_TRUE(a && b) << pair[0] << " " << pair[1];
        EXPECT_TRUE(matches(std::string("#### ") + pair[0], pair[1]))
            << pair[0] << " = " << pair[1];
        EXPECT_TRUE(matches(std::string("\\boxed{") + pair[0] + "}", pair[1])) << pair[0];
    }
}

TEST(Answer, DifferentValuesStayDifferent) {
    const char* different[][2] = {
        {"18", "81"},
        {"-5", "5"},
        {"1,234", "1.234"},
        {"0.33", "1/3"},
        {"0.3333333333333333333333", "1/3"},
        {"50%", "5"},
        {"50%", "5000"},
        {"50%", "0.05"},
        {"1e3", "100"},
        {"10^2", "10"},
        {"10^2", "2"},
        {"3.14", "22/7"},
        {"123456789012345678901234567890", "123456789012345678901234567891"},
        {"0.1", "0.10000000000000000001"},
        {"1.5", "1 5"},
        {"\\sqrt{2}", "2"},
        {"3\\pi", "3"},
        {"(1, 2)", "2"},
        {"(1, 2)", "1"},
        {"", "0"},
        {"none", "0"},
        {"1/0", "1"}};
    for (auto& pair : different)
        EXPECT_FALSE(matches(std::string("\\boxed{") + pair[0] + "}", pair[1]))
            << pair[0] << " " << pair[1];
}

TEST(Answer, FindsTheLastMark) {
    EXPECT_TRUE(matches("so 3 + 4 = 7\n#### 7", "7"));
    EXPECT_TRUE(matches("#### 7 apples", "7"));
    EXPECT_TRUE(matches("#### 7 (that is 3 + 4)", "7"));
    EXPECT_TRUE(matches("#### 6\nwait\n#### 7\nThe other 12 stay.", "7"));
    EXPECT_FALSE(matches("#### 6\nwait\n#### 7", "6"));
    EXPECT_TRUE(matches("It is \\boxed{7}. There were 12.", "7"));
    EXPECT_TRUE(matches("\\boxed{x = 7}", "7"));
    EXPECT_TRUE(matches("\\boxed{\\frac{1}{\\text{ }2}} then \\boxed{\\frac{1}{2}}", "0.5"));
    EXPECT_TRUE(matches("#### 6 but \\boxed{7}", "7"));
    EXPECT_TRUE(matches("\\boxed{6} #### 7", "7"));
    EXPECT_TRUE(matches("\\boxed{7} and then \\boxed{8", "7")); // the last one is not whole
    EXPECT_TRUE(matches("\\boxed {7}", "7"));
    EXPECT_FALSE(matches("####", "7"));
    EXPECT_FALSE(matches("\\boxed{} 7", "7"));
    EXPECT_FALSE(extract_answer("the answer is 7", true));
    EXPECT_TRUE(matches("#### 7", "7", true));
}

TEST(Answer, FallsBackToTheLastNumber) {
    const char* cases[][2] = {{"She has 3 and 4, so 7.", "7"},
                              {"so 3 + 4 = 7 apples", "7"},
                              {"10-3", "3"},
                              {"10 - 3", "3"},
                              {"x = -3", "-3"},
                              {"x = - 3", "-3"},
                              {"It fell to -3 degrees", "-3"},
                              {"COVID-19", "19"},
                              {"a profit of $1,200.50!", "1200.5"},
                              {"a loss of -$20", "-20"},
                              {"the list 1,2,3", "3"},
                              {"on 1/2/2024", "2024"},
                              {"a 3/4 share", "0.75"},
                              {"7 for x2", "7"},
                              {"9 of H2O", "9"},
                              {"the ratio (5)", "5"},
                              {"- 5\n- 6", "6"},
                              {"5 m^2", "5"},
                              {"raised by 150%", "1.5"},
                              {"costs $5 - $3", "3"},
                              {"is $-\\frac{3}{4}$.", "-3/4"},
                              {"between 10\xe2\x80\x93"
                               "20",
                               "20"}};
    for (auto& pair : cases) EXPECT_TRUE(matches(pair[0], pair[1])) << pair[0] << " -> " << pair[1];
    EXPECT_FALSE(extract_answer("no number at all", false));
}

TEST(Answer, TextsAreComparedAsTexts) {
    EXPECT_TRUE(matches("#### Paris", "Paris"));
    EXPECT_TRUE(matches("#### New  York.", "New York"));
    EXPECT_TRUE(matches("\\boxed{\\text{Paris}}", "Paris"));
    EXPECT_TRUE(matches("\\boxed{(1, 2)}", "(1, 2)"));
    EXPECT_TRUE(matches("\\boxed{2\\sqrt{3}}", "2\\sqrt{3}"));
    EXPECT_FALSE(matches("#### Rome", "Paris"));
    EXPECT_FALSE(matches("#### Paris", "5"));
}

TEST(Answer, VotesCountEqualValuesTogether) {
    auto key = [](const std::string& text) {
        return answer_key(*extract_answer("#### " + text, true));
    };
    for (const char* half : {"1/2", "0.5", "50%", "2/4", ".50", "5e-1", "\\frac{1}{2}"})
        EXPECT_EQ(key(half), "1/2") << half;
    EXPECT_EQ(key("1,000"), "1000");
    EXPECT_EQ(key("-3.0"), "-3");
    EXPECT_EQ(key("0"), key("0.00"));
    EXPECT_NE(key("1/3"), key("0.333"));
    EXPECT_EQ(key("123456789012345678901234567890"), "123456789012345678901234567890");
}

TEST(Answer, StrangeTextsDoNoHarm) {
    for (const char* text :
         {"\\boxed", "\\boxed{", "\\frac", "\\frac{",  "\\frac{1}", "\\frac{1}{", "1e",
          "1e+",     "1,",       "1,2,",   ".",        "-",         "$",          "%",
          "/",       "1/",       "/2",     "####\n\n", "1 x 10^{",  "\\",         "1e999999999999",
          "5 5 5",   "{,}",      "--5",    "1//2"})
        for (bool marked : {false, true}) {
            auto answer = extract_answer(text, marked);
            if (answer) answer_key(*answer), answer_matches(*answer, text);
        }
    std::string digits(100000, '7');
    EXPECT_FALSE(extract_answer(digits, false)); // longer than any answer
    EXPECT_TRUE(matches(digits + " or 5", "5"));
}
