#include "report/explain.h"

#include <cmath>
#include <gtest/gtest.h>

TEST(Explain, LevelsOfColour) {
    EXPECT_EQ(colour_level(0, 0, 1), 0);
    EXPECT_EQ(colour_level(1, 0, 1), 10);
    EXPECT_EQ(colour_level(-0.5, 0, 1), -5);
    EXPECT_EQ(colour_level(1e-9, 0, 1), 1); // next to nothing is not nothing
    EXPECT_EQ(colour_level(-1e-9, 0, 1), -1);
    EXPECT_EQ(colour_level(1.2, 1, 0.2), 10);
    EXPECT_EQ(colour_level(0.9, 1, 0.2), -5);
    EXPECT_EQ(colour_level(1, 1, 0), 0);
    EXPECT_EQ(colour_level(NAN, 0, 1), 0);
    EXPECT_EQ(mixed_colour(0xffffff, 0x0072B2, 0), "#ffffff");
    EXPECT_EQ(mixed_colour(0xffffff, 0x0072B2, 1), "#0072b2");
    EXPECT_EQ(mixed_colour(0x000000, 0xffffff, 0.5), "#808080");
}

TEST(Explain, WhiteSpaceIsSeen) {
    EXPECT_EQ(visible_text(" a\n"), "\u00b7a\u23ce");
    EXPECT_EQ(visible_text(""), "\u2205");
}

TEST(Explain, TokensCarryColourHatchAndHover) {
    ExplainPage page;
    page.name = "step 1";
    page.quantities = {{"advantage", "", "A", 0, true}, {"entropy", "nats", "H", 0, false}};
    page.chosen = 1;
    ExplainToken up{"<b>", true, {2, 0.5}, "A \"2\"\n<i>"}, down{"y", false, {-1, NAN}, ""};
    page.groups = {
        {7, "<u>prompt</u>", {{0, 1, 0.5, true, "", "<right>", {up, down}, {"judge: <words>"}}}}};
    std::string html = explain_html(page);
    EXPECT_NE(html.find("<span class=\"t\" style=\"--a:var(--p10);--b:var(--p10);\" title=\"A "
                        "&quot;2&quot;\n&lt;i&gt;\">&lt;b&gt;</span>"),
              std::string::npos);
    EXPECT_NE(html.find("<span class=\"t x\" style=\"--a:var(--n5);\""), std::string::npos);
    EXPECT_NE(html.find("id=\"q1\" checked"), std::string::npos);
    for (const char* raw : {"<u>", "<right>", "<i>\"", "<script", "<words>"})
        EXPECT_EQ(html.find(raw), std::string::npos) << raw;
}
