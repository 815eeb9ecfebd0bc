#include "dist/wave.h"

#include <gtest/gtest.h>

TEST(Wave, GivesEachTicketAndEachGroupOnce) {
    Wave wave(0, 1, 5, 8);
    for (int round = 0; round < 2; ++round) {
        wave.begin(4, [] {});
        EXPECT_EQ(wave.take().group, -1);
        std::vector<int> drawn;
        for (int ticket; (ticket = wave.draw()) >= 0;) drawn.push_back(ticket);
        EXPECT_EQ(drawn, (std::vector<int>{0, 1, 2, 3}));
        EXPECT_EQ(wave.tickets_left(), 0);
        wave.generated(2, "two"), wave.generated(0, "");
        EXPECT_FALSE(wave.all_generated());
        Wave::Taken taken = wave.take();
        EXPECT_EQ(taken.group, 2);
        EXPECT_EQ(taken.message, "two");
        wave.judged();
        EXPECT_TRUE(wave.offered());
        EXPECT_EQ(wave.take().group, 0);
        EXPECT_FALSE(wave.offered());
        wave.judged();
        wave.generated(3, "three"), wave.generated(1, "ones");
        EXPECT_TRUE(wave.all_generated());
        EXPECT_FALSE(wave.all_taken());
        EXPECT_EQ(wave.take().message, "three");
        EXPECT_EQ(wave.take().message, "ones");
        EXPECT_TRUE(wave.all_taken());
        EXPECT_FALSE(wave.all_judged());
        wave.judged(), wave.judged();
        EXPECT_TRUE(wave.all_judged());
    }
    EXPECT_ANY_THROW(wave.begin(6, [] {}));
    EXPECT_ANY_THROW(wave.generated(0, std::string(41, 'x')));
}
