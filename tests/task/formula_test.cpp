// What equals what: each row is an answer, the gold answer, and whether a careful reader would
// accept it.

#include "task/answer.h"

#include "testing.h"

#include <cstring>

namespace {

struct Case {
    const char *answer, *gold;
};

bool accepts(const std::string& answer, const std::string& gold) {
    return answer_matches(*extract_answer("So \\boxed{" + answer + "}.", true), gold);
}

void expect_all(std::initializer_list<Case> cases, bool wanted) {
    for (const Case& c : cases) {
        EXPECT_EQ(accepts(c.answer, c.gold), wanted) << c.answer << " for " << c.gold;
        EXPECT_EQ(accepts(c.gold, c.answer), wanted) << c.gold << " for " << c.answer;
        EXPECT_TRUE(accepts(c.answer, c.answer)) << c.answer;
        EXPECT_TRUE(accepts(c.gold, c.gold)) << c.gold;
        // a vote counts together what is the same
        const bool percent = std::strchr(c.answer, '%') || std::strchr(c.gold, '%');
        if (wanted && !percent) {
            EXPECT_EQ(value_key(read_value(c.answer)), value_key(read_value(c.gold)))
                << c.answer << " " << c.gold;
        }
    }
}

} // namespace

TEST(Formula, AFormulaIsNotTheNumberInIt) {
    expect_all(
        {
            {"2x", "2"},
            {"x", "1"},
            {"3n", "3"},
            {"2xy", "2"},
            {"5i", "5"},
            {"5 i", "5"},
            {"5\\mathrm{i}", "5"},
            {"3e", "3"},
            {"2\\pi", "2"},
            {"2π", "2"},
            {"2 pi", "2"},
            {"\\sqrt{2}", "2"},
            {"√2", "2"},
            {"3!", "3"},
            {"3!", "6"},
            {"|3|", "3"},
            {"|-3|", "-3"},
            {"\\log 8", "8"},
            {"\\sin 30", "30"},
            {"f(3)", "3"},
            {"3a+4", "3"},
            {"k+1", "1"},
            {"n-1", "-1"},
            {"x^2", "2"},
            {"2^x", "2"},
            {"1/x", "1"},
            {"x/2", "2"},
            {"x/2", "1/2"},
            {"\\frac{x}{2}", "1/2"},
            {"\\frac{1}{x}", "1"},
            {"5+x", "5"},
            {"2+3i", "2"},
            {"2+3i", "3"},
            {"10_2", "10"},
            {"101_2", "5"},
            {"5 \\mod 7", "5"},
            {"5 mod 7", "5"},
            {"\\binom{5}{2}", "5"},
            {"3:2", "3"},
            {"3:2", "3/2"},
            {"5 or 6", "5"},
            {"5\\text{ or }6", "6"},
            {"not 5", "5"},
            {"no 5", "5"},
            {"\\text{not }5", "5"},
            {"5, 6", "5"},
            {"5 and 6", "6"},
            {"5-6", "5"},
            {"5-6", "-6"},
            {"3/4/2020", "3/4"},
            {"12:30", "12"},
            {"1 5", "15"},
            {"--5", "5"},
            {"5?", "5"},
            {"5\\%x", "5"},
            {"5 \\cdot x", "5"},
            {"x5", "5"},
            {"H2", "2"},
            {"\\overline{5}", "5"},
            {"0.\\overline{3}", "0.3"},
            {"\\infty", "8"},
            {"-\\infty", "\\infty"},
            {"5\\sqrt{2}", "5"},
            {"5^{\\prime}", "5"},
            {"5'", "5"},
            {"~5x", "5"},
            {"5 squared", "5"},
            {"5 factorial", "5"},
            {"5 times 3", "5"},
            {"C(5,2)", "5"},
            {"2^{n}", "2"},
            {"\\lfloor 5 \\rfloor", "5"},
            {"5AB", "5"},
        },
        false);
}

TEST(Formula, RelationsAndNegationsCount) {
    expect_all(
        {
            {"x<5", "x>5"},     {"x<5", "x\\le 5"},   {"x\\ge 5", "x\\le 5"},
            {"x ≥ 5", "x ≤ 5"}, {"x<5", "5"},         {"x>5", "5"},
            {"x \\ne 5", "5"},  {"x ≠ 5", "x = 5"},   {"x \\approx 5", "5"},
            {"x \\to 5", "5"},  {"x \\equiv 5", "5"}, {"0<x<5", "0<x\\le 5"},
            {"<5", "5"},        {"\\pm 5", "5"},      {"±5", "-5"},
            {"5\\pm 1", "5"},   {"|x|=3", "3"},       {"x^2=4", "4"},
            {"2x=10", "10"},    {"x+1=5", "5"},       {"x+y=5", "5"},
            {"\\sin x=1", "1"}, {"1/x=5", "5"},       {"\\sqrt{x}=3", "3"},
            {"x=5", "y=5"},     {"x=5", "x=6"},       {"x=-5", "x=5"},
            {"-(5)", "5"},      {"-5", "5"},          {"-\\frac{1}{2}", "\\frac{1}{2}"},
            {"-(-5)", "-5"},    {"¬5", "5"},
        },
        false);
    expect_all(
        {
            {"x\\le 5", "x ≤ 5"},
            {"x\\leq5", "x<=5"},
            {"x\\geqslant 5", "x >= 5"},
            {"x\\neq 5", "x ≠ 5"},
            {"x \\ne 5", "x != 5"},
            {"x<5\\text{ or }x>7", "x<5 or x>7"},
            {"\\pm 5", "±5"},
            {"\\pm 5", "5, -5"},
            {"x=\\pm 5", "-5, 5"},
            {"0 < x < 5", "0<x<5"},
        },
        true);
}

TEST(Formula, OtherLettersAndPowersAreOtherFormulas) {
    expect_all(
        {
            {"2x", "2y"},
            {"x^2+3", "x^3+3"},
            {"y^2-4", "x^2-4"},
            {"n-1", "n+1"},
            {"x/2", "2x"},
            {"x/2", "2/x"},
            {"\\frac{a}{b}", "\\frac{b}{a}"},
            {"\\sin x", "\\cos x"},
            {"x_1", "x_2"},
            {"2\\sqrt{3}", "3\\sqrt{2}"},
            {"\\sqrt{2}", "\\sqrt{3}"},
            {"\\sqrt[3]{2}", "\\sqrt{2}"},
            {"2\\pi", "\\pi"},
            {"x^{12}", "x^12x"},
            {"x^{1}2", "x^{12}"},
            {"\\frac{1}{2x}", "\\frac{1}{2}x"},
            {"a", "A"},
            {"\\pi", "p"},
            {"f(x)", "f(y)"},
            {"x+3", "x-3"},
            {"e^2", "e^{-2}"},
            {"\\overline{AB}", "AB"},
            {"2x+3", "2x"},
            {"(x+1)(x-1)", "(x+1)(x+1)"},
        },
        false);
    expect_all(
        {
            {"\\frac{\\sqrt{3}}{2}", "\\sqrt{3}/2"},
            {"\\frac{1}{\\sqrt{2}}", "1/\\sqrt{2}"},
            {"\\frac{2x}{3}", "2x/3"},
            {"\\frac{1}{x^2}", "1/x^2"},
            {"+\\infty", "\\infty"},
            {"(-\\infty,\\infty)", "(-\\infty, +\\infty)"},
            {"x+3", "x + 3"},
            {"\\dfrac{\\pi}{2}", "\\frac{\\pi}{2}"},
            {"\\pi/2", "\\frac{\\pi}{2}"},
            {"2\\cdot\\pi", "2π"},
            {"2*pi", "2\\pi"},
            {"\\sqrt2", "\\sqrt{2}"},
            {"√2", "\\sqrt{2}"},
            {"2\\sqrt{3}", "2 \\sqrt 3"},
            {"sqrt(2)", "\\sqrt{2}"},
            {"x^{2}", "x^2"},
            {"x²", "x^2"},
            {"x_{1}", "x_1"},
            {"\\left(x+1\\right)", "(x+1)"},
            {"\\frac{-x}{2}", "-\\frac{x}{2}"},
            {"\\frac{x+1}{2}", "(x+1)/2"},
            {"\\frac12x", "\\frac{1}{2}x"},
            {"f(x) = 2x", "2x"},
            {"y = 2x+3", "2x + 3"},
            {"\\mathbf{x}", "x"},
            {"x\\,y", "xy"},
            {"\\displaystyle\\frac{x}{2}", "x/2"},
            {"2\\sqrt{3}\\text{ cm}", "2\\sqrt{3}"},
            {"3\\pi\\text{ square units}", "3\\pi"},
            {"e^{i\\pi}", "e^{i \\pi}"},
            {"$x+1$", "x+1"},
            {"\\(x+1\\)", "x+1"},
            {"x+1.", "x+1"},
            {"\\tfrac{a}{b}", "\\cfrac{a}{b}"},
            {"2x", "2 x"},
            {"5 \\times x", "5x"},
            {"x+0.50", "x+.5"},
        },
        true);
}

TEST(Formula, ArithmeticIsWorkedOutExactly) {
    expect_all(
        {
            {"10^3", "1000"},
            {"2^{10}", "1024"},
            {"2^-1", "0.5"},
            {"10^{-3}", "0.001"},
            {"(-2)^2", "4"},
            {"-2^2", "-4"},
            {"2**3", "8"},
            {"3²", "9"},
            {"2^3\\cdot 5", "40"},
            {"2\\times 3", "6"},
            {"6/4", "3/2"},
            {"6\\div 4", "1.5"},
            {"\\frac{-1}{2}", "-\\frac{1}{2}"},
            {"\\frac{1}{-2}", "-0.5"},
            {"-\\frac{-1}{2}", "0.5"},
            {"\\cfrac{1}{2}", "1/2"},
            {"\\frac{1}{2}", "\\frac{2}{4}"},
            {"\\frac{0.5}{2}", "0.25"},
            {"\\frac{1/2}{2}", "1/4"},
            {"\\frac12", "0.5"},
            {"\\frac{\\frac{1}{2}}{3}", "1/6"},
            {"(5)", "5"},
            {"-(5)", "-5"},
            {"-(-5)", "5"},
            {"((5))", "5"},
            {"1.5\\times10^{3}", "1500"},
            {"1.5 x 10^3", "1500"},
            {"3\\cdot 10^{-2}", "0.03"},
            {"1\\frac{1}{2}", "3/2"},
            {"1 1/2", "1.5"},
            {"-1\\frac{1}{2}", "-1.5"},
            {"\\frac{10^2}{4}", "25"},
            {"2^{100}", "1267650600228229401496703205376"},
            {"5^0", "1"},
            {"1{,}234", "1,234"},
            {"1,234,567", "1234567"},
            {"+5", "5"},
            {"5.0", "5"},
            {"\\text{5}", "5"},
        },
        true);
    expect_all(
        {
            {"10^3", "100"},
            {"10^3", "10"},
            {"10^3", "30"},
            {"2^{10}", "2^{9}"},
            {"-2^2", "4"},
            {"1/0", "0"},
            {"0^0", "1"},
            {"10^{10000}", "10"},
            {"\\frac{1}{2}", "2"},
            {"1\\frac{1}{2}", "1/2"},
            {"1,23", "123"},
            {"1,2345", "12345"},
            {"12,34", "1234"},
            {"1.234", "1,234"},
            {"2^{1/2}", "2"},
        },
        false);
}

TEST(Formula, UnitsCurrenciesAndNamesAreNotTheValue) {
    expect_all(
        {
            {"5 apples", "5"},
            {"5\\text{ cm}", "5"},
            {"5\\,\\mathrm{m}", "5"},
            {"5\\text{m}", "5"},
            {"5cm", "5"},
            {"5 km/h", "5"},
            {"5\\text{ m/s}^2", "5"},
            {"12 m^2", "12"},
            {"12\\text{ cm}^{2}", "12"},
            {"5 square meters", "5"},
            {"5 dollars per day", "5"},
            {"5 foot-pounds", "5"},
            {"90^\\circ", "90"},
            {"90^{\\circ}", "90"},
            {"90°", "90"},
            {"25°C", "25"},
            {"25^\\circ\\text{C}", "25"},
            {"90\\degree", "90"},
            {"90 degrees", "90"},
            {"\\$5", "5"},
            {"$5.00", "5"},
            {"€5", "5"},
            {"US$5", "5"},
            {"USD 5", "5"},
            {"Rs. 5", "5"},
            {"5 USD", "5"},
            {"50\\%", "0.5"},
            {"50 percent", "1/2"},
            {"50\\%", "50"},
            {"\\frac{1}{2}\\text{ hour}", "0.5"},
            {"10^3\\text{ kg}", "1000"},
            {"5\\text{ units of a cake}", "5"},
            {"x=5", "5"},
            {"5=x", "5"},
            {"x = 5\\text{ cm}", "5"},
            {"x_1=5", "5"},
            {"\\theta = 30^\\circ", "30"},
            {"f(2)=5", "5"},
            {"P(A) = \\frac{1}{2}", "0.5"},
            {"\\text{Area} = 12", "12"},
            {"AB=5", "5"},
            {"\\angle ABC = 60^\\circ", "60"},
            {"2+3=5", "5"},
            {"x=2+3=5", "5"},
            {"x=5", "x = 5.0"},
            {"x \\in [1,2)", "[1,2)"},
            {"(x,y)=(1,2)", "(1,2)"},
            {"f(x)=x^2", "x^2"},
            {"x'=5", "5"},
        },
        true);
    expect_all({{"7th", "7"},
                {"7^{\\text{th}}", "7"},
                {"5\\text{ hrs}", "5\\text{ h}"},
                {"5\\text{ cm}", "5 centimeters"},
                {"25^\\circ", "25^\\circ C"},
                {"\\frac{1}{2}\\%", "0.005"}},
               true);
    expect_all({{"5 km", "5 m"},
                {"5\\text{ cm}^2", "5\\text{ cm}^3"},
                {"25^\\circ C", "25^\\circ F"},
                {"5 USD", "5 EUR"},
                {"5 PM", "5 AM"},
                {"4:30\\text{ PM}", "4:30\\text{ AM}"},
                {"6\\text{ feet }2\\text{ inches}", "6"},
                {"6\\text{ feet }2\\text{ inches}", "6\\text{ feet }2\\text{ miles}"}},
               false);
    expect_all({{"5\\text{ cm}", "6"}, {"5 km/h", "50"}, {"50\\%", "5"}, {"x=5\\text{ cm}", "6"}},
               false);
}

TEST(Formula, TuplesIntervalsAndSets) {
    expect_all(
        {
            {"(1,2)", "(1, 2)"},
            {"(1,2)", "\\left(1,\\,2\\right)"},
            {"(0.5,1)", "(1/2, 1)"},
            {"(\\frac{1}{2}, 1)", "(0.5,1.0)"},
            {"[1,2)", "[1, 2)"},
            {"[1,2)", "\\left[1,2\\right)"},
            {"\\{1,2\\}", "\\{1, 2\\}"},
            {"\\{1,2\\}", "\\{2,1\\}"},
            {"\\left\\{1,2\\right\\}", "\\{2, 1.0\\}"},
            {"\\lbrace 1,2\\rbrace", "\\{1,2\\}"},
            {"1,2", "2, 1"},
            {"1, 2", "1\\text{ and }2"},
            {"1, 2, and 3", "1,2,3"},
            {"1 or 2", "1,2"},
            {"x=1\\text{ or }x=2", "1,2"},
            {"\\{1,2\\}", "1,2"},
            {"(-\\infty,3]", "(-∞, 3]"},
            {"(1,2)\\cup(3,4)", "(1, 2) ∪ (3, 4)"},
            {"(1,2),(3,4)", "(3,4), (1,2)"},
            {"\\langle 1,2\\rangle", "\\langle 1, 2\\rangle"},
            {"\\emptyset", "\\varnothing"},
            {"\\{\\}", "∅"},
            {"(x,y)", "(x, y)"},
            {"(100,200)", "(100, 200)"},
            {"(1{,}000, 2)", "(1000,2)"},
            {"(a;b)", "(a,b)"},
        },
        true);
    expect_all(
        {
            {"(1,2)", "(2,1)"},
            {"(1,2)", "[1,2]"},
            {"[1,2)", "(1,2]"},
            {"(1,2)", "(1,3)"},
            {"(1,2)", "(1,2,3)"},
            {"(1,2)", "1"},
            {"(1,2)", "12"},
            {"(1,2)", "\\{1,2\\}"},
            {"\\{1,2\\}", "\\{1,3\\}"},
            {"\\{1,2\\}", "\\{1,2,3\\}"},
            {"(100,200)", "100200"},
            {"(1,234)", "1234"},
            {"1,2", "1,3"},
            {"\\{1\\}", "\\emptyset"},
            {"(1,2)\\cup(3,4)", "(1,2)\\cup(3,5)"},
            {"(1,2)\\cup(3,4)", "(1,2)"},
            {"(1,2),(3,4)", "(1,3),(2,4)"},
            {"1,2,2", "1,2"},
            {"(-\\infty,3]", "(\\infty,3]"},
        },
        false);
}

TEST(Formula, ChoicesByLetterAndWords) {
    expect_all(
        {
            {"B", "(B)"},
            {"\\textbf{B}", "B"},
            {"\\textbf{(B)}", "B"},
            {"\\text{(B)}", "(B)"},
            {"B.", "B"},
            {"\\mathrm{B}", "B"},
            {"\\textbf{(B)}\\ 12", "B"},
            {"(B) 12", "B"},
            {"B) 12", "B"},
            {"B. 12", "B"},
            {"B: 12", "(B)"},
            {"\\text{Paris}", "Paris"},
            {"New  York.", "New York"},
            {"\\text{even}", "even"},
            {"\\text{Yes}", "Yes"},
            {"Monday", "monday"},
            {"\\text{New York}", "new york"},
        },
        true);
    expect_all(
        {
            {"B", "C"},
            {"(B)", "(C)"},
            {"(B) 12", "C"},
            {"(B) 12", "(B) 13"},
            {"(C) 12", "(B) 12"},
            {"B", "12"},
            {"Paris", "Rome"},
            {"\\text{even}", "odd"},
            {"Yes", "No"},
            {"A and B", "A"},
            {"AB", "A"},
        },
        false);
}

// Behind #### stands a formula or a sentence.
TEST(Formula, ASentencesNumber) {
    auto found = [](const std::string& line, const std::string& gold) {
        return answer_matches(*extract_answer("#### " + line, true), gold);
    };
    for (const char* line :
         {"7", "7 apples", "7 (that is 3 + 4)", "7 apples and 2 pears", "The answer is 7.",
          "Total: 7 apples", "She has $7, which is enough.", "**7**", "7.", "x = 7", "7 a day"})
        EXPECT_TRUE(found(line, "7")) << line;
    for (const char* line : {"7x", "x<7", "not 7", "7!", "7i", "7 + x", "(7, 2)", "x7", "7/x",
                             "|7|", "7^x", "no more than 7", "x - 7", "7 < 8", "7 x"})
        EXPECT_FALSE(found(line, "7")) << line;
}

TEST(Formula, StrangeTextsDoNoHarm) {
    std::string deep, brackets(3000, '('), many;
    for (int i = 0; i < 500; ++i) deep += "\\frac{1}{", many += "1,";
    for (const std::string& text :
         {deep, brackets, many, std::string(5000, '9'), std::string("\\frac"),
          std::string("\\frac{"), std::string("^"), std::string("_"), std::string("\\"),
          std::string("\\sqrt["), std::string("x^{"), std::string("\\text{"), std::string(")("),
          std::string("=,=;=") + std::string(100, '='), std::string("\xe2\x88"), std::string("\\{"),
          std::string("+-+-"), std::string("1^1^1^1^9999")}) {
        const Value value = read_value(text);
        value_key(value);
        EXPECT_TRUE(same_value(value, value)) << text.substr(0, 20);
    }
}
