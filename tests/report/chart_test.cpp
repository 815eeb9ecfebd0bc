#include "report/chart.h"

#include "report/page.h"

#include <cmath>
#include <gtest/gtest.h>

TEST(Page, EscapesWhatCouldBeMarkup) {
    EXPECT_EQ(escape("<script>alert(\"x\")</script> & 'y'"),
              "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; &#39;y&#39;");
    EXPECT_EQ(escape(std::string("a\0b\x1b\x7f\n\t", 7)), "a\uFFFDb\uFFFD\uFFFD\n\t");
    EXPECT_EQ(escape("2\u00b7\u4e2d"), "2\u00b7\u4e2d");
}

TEST(Page, ForbidsScriptsAndLoadsNothing) {
    std::string page = html_page("<b>", "", "");
    EXPECT_NE(page.find("default-src 'none'"), std::string::npos);
    EXPECT_NE(page.find("<title>&lt;b&gt;</title>"), std::string::npos);
    for (const char* word : {"<script", "http:", "https:", "@import"})
        EXPECT_EQ(page.find(word), std::string::npos) << word;
    for (size_t at = page.find("url("); at != std::string::npos; at = page.find("url(", at + 1))
        EXPECT_EQ(page[at + 4], '#') << "only what stands on the page itself";
}

TEST(Page, ShortNumbers) {
    EXPECT_EQ(short_number(-0.0), "0");
    EXPECT_EQ(short_number(0.123456), "0.1235");
    EXPECT_EQ(short_number(1234567), "1234567");
    EXPECT_EQ(short_number(1.2e-17), "1.2e-17");
    EXPECT_EQ(short_number(NAN), "-");
}

TEST(Chart, ScaleIsALine) {
    Scale scale{10, 20, 200, 100};
    EXPECT_EQ(scale.at(10), 200);
    EXPECT_EQ(scale.at(20), 100);
    EXPECT_EQ(scale.at(12.5), 175);
}

TEST(Chart, TicksAreRound) {
    EXPECT_EQ(axis_ticks(0, 100, 5), (std::vector<double>{0, 20, 40, 60, 80, 100}));
    EXPECT_EQ(axis_ticks(-3, 7, 5), (std::vector<double>{-2, 0, 2, 4, 6}));
    std::vector<double> tenths = axis_ticks(0.1, 0.5, 4);
    ASSERT_EQ(tenths.size(), 5u);
    EXPECT_DOUBLE_EQ(tenths[2], 0.3);
    // Any range gives a few ticks, all inside.
    for (double low : {-1e6, -1.0, 0.0, 1e-9, 3e5})
        for (double width : {1e-6, 0.37, 1.0, 99.0, 5e7}) {
            std::vector<double> ticks = axis_ticks(low, low + width, 5);
            EXPECT_GE(ticks.size(), 2u) << low << " " << width;
            EXPECT_LE(ticks.size(), 7u) << low << " " << width;
            for (double t : ticks) {
                EXPECT_GE(t, low - 1e-8 * width);
                EXPECT_LE(t, low + width * (1 + 1e-8));
            }
        }
}

TEST(Chart, TickLabelsShowTheDifference) {
    EXPECT_EQ(tick_label(0.3, 0.1), "0.3");
    EXPECT_EQ(tick_label(0.25, 0.05), "0.25");
    EXPECT_EQ(tick_label(40, 20), "40");
    EXPECT_EQ(tick_label(1e-18, 0.1), "0");
    EXPECT_NE(tick_label(1.00e-4, 5e-6), tick_label(1.05e-4, 5e-6));
}

TEST(Chart, RangesAreNeverEmpty) {
    EXPECT_EQ(value_range({}), (std::pair{0.0, 1.0}));
    EXPECT_EQ(value_range({NAN, INFINITY}), (std::pair{0.0, 1.0}));
    EXPECT_EQ(value_range({3e-17, -2e-17}), (std::pair{0.0, 1.0})); // rounding about 0: a flat line
    EXPECT_EQ(value_range({1, NAN, -2}), (std::pair{-2.0, 1.0}));
    auto [low, high] = value_range({5, 5});
    EXPECT_LT(low, 5);
    EXPECT_GT(high, 5);
}

TEST(Chart, LinesBreakAtGapsAndKeepExtremes) {
    Scale x{0, 10, 0, 100}, y{0, 10, 100, 0};
    EXPECT_EQ(line_path({"", {0, 1, 2, 3}, {0, 5, NAN, 10}, {}, {}}, x, y),
              "M0.0 100.0L10.0 50.0M30.0 0.0");
    // Many points in one column: the smallest and the largest survive.
    Series dense;
    for (int i = 0; i < 10000; ++i)
        dense.x.push_back(i * 1e-3), dense.y.push_back(i == 7777 ? 10 : 5);
    std::string path = line_path(dense, x, y);
    EXPECT_LT(path.size(), 10000u);
    EXPECT_NE(path.find(" 0.0"), std::string::npos); // y = 10
}

TEST(Chart, HoverShowsNamesValuesAndIntervals) {
    std::string svg = line_chart(
        {"reward <1>", "points", {{"mean", {1, 2}, {0.5, 0.75}, {0.25, 0.5}, {1, 1}}}, ""});
    EXPECT_NE(svg.find("<title>step 2\nmean: 0.75 [0.5, 1]</title>"), std::string::npos) << svg;
    EXPECT_NE(svg.find("reward &lt;1&gt;"), std::string::npos);
    EXPECT_EQ(svg.find("nan"), std::string::npos);
    EXPECT_EQ(line_chart({"", "", {{"", {1}, {NAN}, {}, {}}}, ""}).find("nan"), std::string::npos);
}

TEST(Chart, BarsStackUp) {
    std::string svg = stacked_bars({"time", "s", {"decode", "train"}, {"1"}, {{1, 3}}});
    EXPECT_NE(svg.find("step 1\ndecode: 1\ntrain: 3\nsum: 4"), std::string::npos);
    EXPECT_EQ(stacked_bars({"", "", {"a"}, {"1"}, {{0}}}).find("nan"), std::string::npos);
}
