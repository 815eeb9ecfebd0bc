// Runs every test, names those that were skipped, and ends with "N passed, N failed, N skipped" on a line of
// its own.

#include <gtest/gtest.h>

namespace {

struct SkippedTests : testing::EmptyTestEventListener {
    void OnTestEnd(const testing::TestInfo& test) override {
        const testing::TestResult& result = *test.result();
        if (!result.Skipped()) return;
        const char* why = result.total_part_count() ? result.GetTestPartResult(0).message() : "";
        std::printf("skipped: %s.%s: %s\n", test.test_suite_name(), test.name(), why);
    }
};

} // namespace

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    testing::UnitTest::GetInstance()->listeners().Append(new SkippedTests); // it takes ownership
    int status = RUN_ALL_TESTS();
    const testing::UnitTest& all = *testing::UnitTest::GetInstance();
    std::printf("%d passed, %d failed, %d skipped\n", all.successful_test_count(),
                all.failed_test_count(), all.skipped_test_count());
    return status;
}
