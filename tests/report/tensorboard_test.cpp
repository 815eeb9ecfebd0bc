// Event files byte by byte. tests/reference/check_tensorboard.py reads whole runs with TensorBoard itself.

#include "report/tensorboard.h"

#include "base/file.h"

#include <gtest/gtest.h>
#include <unistd.h>

static std::string hex(const std::string& bytes) {
    std::string out;
    for (char c : bytes) out += format("%02x", (uint8_t)c);
    return out;
}

TEST(TensorBoard, Crc32cVectors) { // RFC 3720, appendix B.4
    EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8a9136aau);
    EXPECT_EQ(crc32c(std::string(32, '\xff')), 0x62a8ab43u);
    std::string up, down;
    for (int i = 0; i < 32; ++i) up += (char)i, down += (char)(31 - i);
    EXPECT_EQ(crc32c(up), 0x46dd794eu);
    EXPECT_EQ(crc32c(down), 0x113fdb5cu);
    EXPECT_EQ(crc32c("123456789"), 0xe3069283u);
}

// Written with the PyPI package tensorboard: see check_tensorboard.py, which prints these bytes.
TEST(TensorBoard, GoldenBytes) {
    EXPECT_EQ(hex(tf_record(version_event(1.5))),
              "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c");
    EXPECT_EQ(
        hex(tf_record(scalar_event(1.5, 300, {{"loss", 0.5}, {"seconds/decode", -2}}))),

        "3200000000000000241956ec09000000000000f83f10ac022a240a0b0a046c6f7373150000003f0a150a0e"
        "7365636f6e64732f6465636f646515000000c0b603cd16");
}

TEST(TensorBoard, EveryNumberBecomesAScalar) {
    Json line = {{"step", 7},
                 {"loss", 0.25},
                 {"rows", 3},
                 {"doctor", {1, 2}},
                 {"note", "a word"},
                 {"gone", nullptr},
                 {"seconds", {{"decode", 1.5}, {"train", 2}}}};
    std::string names;
    for (const Scalar& s : scalars_of(line)) names += format("%s=%g ", s.tag.c_str(), s.value);
    EXPECT_EQ(names, "loss=0.25 rows=3 seconds/decode=1.5 seconds/train=2 ");
}

// The steps in the only event file of a directory, as the records stand.
static std::vector<int> steps_in(const std::string& directory) {
    std::vector<std::string> names = list_directory(directory);
    EXPECT_EQ(names.size(), 1u);
    std::string bytes = read_file(join_path(directory, names[0]));
    std::vector<int> steps;
    for (size_t at = 0; at < bytes.size();) {
        size_t length = (uint8_t)bytes[at] | (uint8_t)bytes[at + 1] << 8;
        if (bytes[at + 12 + 9] == 16) steps.push_back(bytes[at + 12 + 10]);
        at += length + 16;
    }
    return steps;
}

TEST(TensorBoard, AResumeLeavesEveryStepOnce) {
    std::string directory = testing::TempDir() + format("rlhf_events_%d", (int)getpid());
    remove_tree(directory), make_directories(directory);
    auto steps = [&](int64_t after, int first, int last) {
        EventLog log;
        log.open(directory, after);
        for (int s = first; s <= last; ++s) log.write({{"step", s}, {"loss", 1.0 / s}});
    };
    steps(0, 1, 5);
    EXPECT_EQ(steps_in(directory), (std::vector<int>{1, 2, 3, 4, 5}));
    steps(3, 4, 6); // the checkpoint was of step 3
    EXPECT_EQ(steps_in(directory), (std::vector<int>{1, 2, 3, 4, 5, 6}));

    std::string path = join_path(directory, list_directory(directory)[0]);
    std::string bytes = read_file(path);
    write_file(path, bytes.substr(0, bytes.size() - 3)); // a crash in the middle of step 6
    steps(6, 7, 7);
    EXPECT_EQ(steps_in(directory), (std::vector<int>{1, 2, 3, 4, 5, 7}));
    remove_tree(directory);
}
