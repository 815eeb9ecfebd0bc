#include "report/report.h"

#include <cmath>
#include <gtest/gtest.h>

TEST(Report, StepLists) {
    EXPECT_EQ(step_list({}), "");
    EXPECT_EQ(step_list({3, 7, 9, 10, 11}), "3, 7, 9 to 11");
    EXPECT_EQ(step_list({1, 3, 5, 7, 9, 11, 13, 15, 17, 19}),
              "1, 3, 5, 7, 9, 11, 13, 15 and 2 more");
}

TEST(Report, ColumnsHoldTheStepsThatHaveTheMetric) {
    std::vector<Json> lines = {{{"step", 1}, {"x", 0.5}},
                               {{"step", 2}},
                               {{"step", 3}, {"x", nullptr}},
                               {{"step", 4}, {"x", 2}, {"x_low", 1}, {"x_high", 3}}};
    Column x = metric_column(lines, "x");
    EXPECT_EQ(x.step, (std::vector<double>{1, 3, 4}));
    EXPECT_TRUE(std::isnan(x.value[1])); // was not finite
    EXPECT_EQ(x.value[2], 2);
    EXPECT_EQ(x.high[2], 3);
    EXPECT_TRUE(metric_column({lines[0]}, "x").low.empty());
    EXPECT_EQ(trailing_mean({1, 2, 3, NAN, 5}, 2), (std::vector<double>{1, 1.5, 2.5, 3, 5}));
}

TEST(Report, NamesBrokenLawsAndEscapesEverything) {
    RunRecord record;
    record.name = "<i>run</i>";
    record.metrics = {
        {{"step", 1}, {"loss", 0.5}, {"odd<b>", 1}, {"doctor", {"a law: found <b>2</b>"}}},
        {{"step", 2}, {"loss", nullptr}, {"doctor", Json::array()}}};
    record.laws = {{"a law", "holds", "all is <b>well</b>"}, {"another law", "holds", ""}};
    record.samples = {
        {2, "best", 1, "<script>p</script>", "\"><img src=x onerror=y>", "<b>", "<b>"}};
    record.settings = {{"a.b", "<b>2</b>", "1", "help<b>"}, {"c", "1", "1", ""}};
    std::string html = report_html(record);
    EXPECT_NE(html.find("broken in step 1"), std::string::npos);
    EXPECT_NE(html.find("never broken"), std::string::npos);
    EXPECT_EQ(html.find("No law was broken"), std::string::npos);
    for (const char* raw : {"<script>p", "<img", "<b>2", "<b>well", "<i>run", "odd<b>"})
        EXPECT_EQ(html.find(raw), std::string::npos) << raw;
    EXPECT_LT(html.find("a.b"), html.find("Everything else")); // departures come first
    EXPECT_EQ(html.find("nan"), std::string::npos);
}
