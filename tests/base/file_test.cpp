// Output files: whole or not at all, through links, into FIFOs and devices, with the mode they had.

#include "base/file.h"

#include "command.h"
#include "message_of.h"

#include <sys/stat.h>

namespace {

int mode_of(const std::string& path) {
    struct stat info;
    return ::stat(path.c_str(), &info) == 0 ? (int)(info.st_mode & 07777) : -1;
}

bool is_link(const std::string& path) {
    struct stat info;
    return ::lstat(path.c_str(), &info) == 0 && S_ISLNK(info.st_mode);
}

} // namespace

TEST(AtomicFile, WritesThroughLinksAndLeavesThem) {
    Scratch at;
    make_directories(at("far"));
    write_file(at("far/target"), "old");
    ASSERT_EQ(::symlink("far/target", at("near").c_str()), 0); // relative to the link's directory
    ASSERT_EQ(::symlink(at("near").c_str(), at("chain").c_str()), 0);
    ASSERT_EQ(::symlink("far/new", at("dangling").c_str()), 0);
    write_file(at("chain"), "new");
    EXPECT_TRUE(is_link(at("chain")) && is_link(at("near")));
    EXPECT_EQ(read_file(at("far/target")), "new");
    write_file(at("dangling"), "made");
    EXPECT_TRUE(is_link(at("dangling")));
    EXPECT_EQ(read_file(at("far/new")), "made");
    EXPECT_EQ(list_directory(at("far")), (std::vector<std::string>{"new", "target"}));
    {
        AtomicFile unfinished(at("near"));
        unfinished.write("half");
    }
    EXPECT_EQ(read_file(at("far/target")), "new");
    EXPECT_EQ(list_directory(at("far")).size(), 2u);
}

TEST(AtomicFile, LinksThatLeadNowhereAreRefused) {
    Scratch at;
    ASSERT_EQ(::symlink("b", at("a").c_str()), 0);
    ASSERT_EQ(::symlink("a", at("b").c_str()), 0);
    ASSERT_EQ(::symlink("missing/file", at("c").c_str()), 0);
    EXPECT_TRUE(contains(message_of([&] { write_file(at("a"), ""); }), "circle"));
    EXPECT_TRUE(contains(message_of([&] { write_file(at("c"), ""); }), "missing/file"));
    EXPECT_TRUE(is_link(at("a")) && is_link(at("c")));
}

TEST(AtomicFile, KeepsTheModeOfWhatItReplaces) {
    Scratch at;
    write_file(at("file"), "old");
    for (mode_t mode : {0640, 0600, 0755, 0666}) {
        ASSERT_EQ(::chmod(at("file").c_str(), mode), 0);
        write_file(at("file"), "new");
        EXPECT_EQ(mode_of(at("file")), (int)mode);
    }
    const mode_t mask = ::umask(027);
    write_file(at("fresh"), "new"); // a new one follows the umask, as everywhere
    ::umask(mask);
    EXPECT_EQ(mode_of(at("fresh")), 0640);
}

TEST(AtomicFile, FifosAndDevicesAreWrittenNotReplaced) {
    Scratch at;
    ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
    int reader = ::open(at("fifo").c_str(), O_RDONLY | O_NONBLOCK);
    write_file(at("fifo"), "rows\n");
    char bytes[16];
    EXPECT_EQ(::read(reader, bytes, sizeof bytes), 5);
    ::close(reader);
    struct stat info;
    ASSERT_EQ(::lstat(at("fifo").c_str(), &info), 0);
    EXPECT_TRUE(S_ISFIFO(info.st_mode));

    ASSERT_EQ(::symlink("/dev/null", at("null").c_str()), 0);
    write_file(at("null"), "rows\n");
    EXPECT_TRUE(is_link(at("null")));
    ASSERT_EQ(::stat("/dev/null", &info), 0);
    EXPECT_TRUE(S_ISCHR(info.st_mode));

    int ends[2]; // as bash's >(command)
    ASSERT_EQ(::pipe(ends), 0);
    write_file("/dev/fd/" + std::to_string(ends[1]), "through\n");
    EXPECT_EQ(::read(ends[0], bytes, sizeof bytes), 8);
    ::close(ends[0]), ::close(ends[1]);
}

TEST(AtomicFile, DevStdoutIsStandardOutputEvenWhereThatIsAFile) {
    Scratch at;
    write_file(at("rows"), "{\"ids\": [1, 2], \"logp\": [], \"first\": 1}\n");
    // appended to, as a shell's >> has it: a file of its name would have lost what stood there
    const char* named = std::getenv("RLHF");
    const std::string binary = named ? named : "build/rlhf";
    write_file(at("out"), "before\n");
    const std::string command =
        binary +
        " sft configs/sft_arithmetic.json train.goal_loss=0 tiny.layers=1 tiny.width=16 "
        "train.rows_per_step=2 train.steps=1 run.dir=" +
        at("m") + " > /dev/null 2>&1 && " + binary + " logprob model.path=" + at("m") +
        " data.path=" + at("rows") + " out=/dev/stdout 2> /dev/null >> " + at("out");
    ASSERT_EQ(std::system(command.c_str()), 0);
    const std::string text = read_file(at("out"));
    EXPECT_TRUE(text.starts_with("before\n{") && contains(text, "\"ids\":[1,2]")) << text;
}

TEST(AtomicDirectory, OfALinksNameIsWrittenWhereTheLinkLeads) {
    Scratch at;
    make_directories(at("far"));
    ASSERT_EQ(::chmod(at("far").c_str(), 0750), 0);
    ASSERT_EQ(::symlink("far", at("near").c_str()), 0);
    {
        AtomicDirectory directory(at("near"));
        write_file(join_path(directory.temporary, "file"), "text");
        directory.commit();
    }
    EXPECT_TRUE(is_link(at("near")));
    EXPECT_EQ(read_file(at("far/file")), "text");
    EXPECT_EQ(mode_of(at("far")), 0750);
    EXPECT_EQ(list_directory(at("")), (std::vector<std::string>{"far", "near"}));
}
