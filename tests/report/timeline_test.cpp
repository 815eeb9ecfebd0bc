#include "report/timeline.h"

#include <gtest/gtest.h>

static const std::vector<TimelineSpan> spans = {{0, "generate", 10, 12, 1},
                                                {0, "tail", 12, 13, 1},
                                                {1, "judge", 10, 13, 1},
                                                {1, "sweeping <floors>", 13, 14, 1}};

TEST(Timeline, ARectanglePerSpanInTheLineOfItsRank) {
    EXPECT_EQ(timeline_chart("nothing", {}), "");
    const std::string svg = timeline_chart("<title>", spans);
    EXPECT_NE(svg.find("&lt;title&gt;"), std::string::npos);
    size_t rectangles = 0;
    for (size_t at = 0; (at = svg.find("<title>rank", at)) != std::string::npos; ++at) ++rectangles;
    EXPECT_EQ(rectangles, 4u);
    // 4 seconds over 60 .. 890: 207.5 a second; the tail begins two seconds in.
    EXPECT_NE(svg.find("x=\"475.00\" y=\"8.0\" width=\"207.50\""), std::string::npos) << svg;
    EXPECT_NE(svg.find("x=\"60.00\" y=\"30.0\" width=\"622.50\""), std::string::npos) << svg;
    EXPECT_EQ(svg.find("sweeping"), std::string::npos); // it is "other"
}

TEST(Timeline, SecondsOfARankByKind) {
    const std::string table = timeline_table(spans);
    EXPECT_NE(table.find("<td>judge</td><td class=\"n\">1.5</td><td class=\"n\">42.9 %"),
              std::string::npos)
        << table;
    EXPECT_NE(table.find("nothing left to generate</td><td class=\"n\">0.5<"), std::string::npos);
    EXPECT_EQ(table.find("change of model"), std::string::npos);
}
