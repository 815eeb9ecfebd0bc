// The safetensors format: shards, rounding, and every way in which a file can be broken.

#include "base/json.h"
#include "format/safetensors.h"
#include "message_of.h"
#include "testing.h"

#include <csignal>
#include <cstring>
#include <sys/resource.h>

namespace {
std::string fresh_directory(const std::string& name) {
    std::string path = testing::TempDir() + "safetensors_test_" + name;
    remove_tree(path);
    make_directories(path);
    return path;
}

// A file of this header and this many bytes of values.
std::string file_of(const std::string& header, size_t values) {
    std::string text(8, '\0');
    for (int i = 0; i < 8; ++i) text[i] = (char)(header.size() >> (8 * i));
    return text + header + std::string(values, '\0');
}

std::string parse_message(const std::string& file) {
    return message_of([&] { parse_safetensors((const uint8_t*)file.data(), file.size(), "F"); });
}

TensorSource constant(const std::string& name, int64_t rows, int64_t cols, float value) {
    return {name, {rows, cols}, DType::f32, [=](int64_t first, int64_t count, float* values) {
                for (int64_t i = 0; i < count; ++i) values[i] = value + (float)(first + i);
            }};
}

float element(const StoredTensor& tensor, int64_t at) {
    float value;
    read_stored(tensor, at, 1, &value);
    return value;
}
} // namespace

TEST(Safetensors, AValidHeaderGivesItsTensors) {
    std::string file = file_of(
        R"({"__metadata__":{"format":"pt"},"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},)"
        R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}} )",
        16);
    float one = 1.5f;
    std::memcpy(file.data() + file.size() - 16, &one, 4);
    std::vector<StoredTensor> tensors =
        parse_safetensors((const uint8_t*)file.data(), file.size(), "F");
    ASSERT_EQ(tensors.size(), 2u);
    EXPECT_EQ(tensors[0].name, "a");
    EXPECT_EQ(element(tensors[0], 0), 1.5f);
    EXPECT_EQ(tensors[1].shape, (std::vector<int64_t>{2, 3}));
}

TEST(Safetensors, BrokenFilesAreRefusedByName) {
    const std::pair<std::string, const char*> cases[] = {
        {"abc", "too few"},
        {std::string("\xff\xff\xff\xff\xff\xff\xff\xff", 8), "claims"},
        {file_of("{}", 0).substr(0, 9), "claims"},
        {file_of("{", 0), "not valid JSON"},
        {file_of("[]", 0), "not a JSON object"},
        {file_of(
             R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
             8),
         "twice"},
        {file_of(R"({"a":{"dtype":"F32","shape":[1]}})", 4), "data_offsets"},
        {file_of(R"({"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}})", 4),
         "tensor a lacks"},
        {file_of(R"({"a":{"dtype":"F32","shape":"x","data_offsets":[0,4]}})", 4), "tensor a lacks"},
        {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}})", 4),
         "tensor a lacks"},
        {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}})", 4),
         "truncated or corrupt"},
        {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 4),
         "truncated or corrupt"},
        {file_of(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}})", 4),
         "shape and dtype"},
        {file_of(R"({"a":{"dtype":"F32","shape":[4611686018427387905,4],"data_offsets":[0,16]}})",
                 16),
         "shape and dtype"},
        {file_of(R"({"a":{"dtype":"Q7","shape":[1],"data_offsets":[0,4]}})", 4),
         "unknown dtype Q7"},
        {file_of(
             R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}})",
             12),
         "overlap"},
        {file_of(
             R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})",
             12),
         "no tensor"},
        {file_of(R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})", 8), "no tensor"},
    };
    for (auto& [file, part] : cases) {
        std::string message = parse_message(file);
        EXPECT_NE(message.find(part), std::string::npos) << message << ", wanted " << part;
        EXPECT_EQ(message.find("F"), 0u) << message; // names the file
    }
}

TEST(Safetensors, OtherDtypesAreAnErrorOnlyWhenTheyAreRead) {
    std::string file = file_of(R"({"a":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}})", 8);
    std::vector<StoredTensor> tensors =
        parse_safetensors((const uint8_t*)file.data(), file.size(), "F");
    EXPECT_NE(message_of([&] { element(tensors[0], 0); }).find("I64"), std::string::npos);
}

TEST(Safetensors, ShardsAreCutAtTheLimitAndReadBackTheSame) {
    std::string directory = fresh_directory("shards");
    std::vector<TensorSource> tensors = {constant("a", 5, 7, 0), constant("b", 3, 3, 100),
                                         constant("c", 40, 3, 200), constant("d", 2, 2, 300)};
    write_safetensors(directory, tensors, 200); // a and b: 176 bytes; c alone is above; d
    EXPECT_EQ(list_directory(directory),
              (std::vector<std::string>{
                  "model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                  "model-00003-of-00003.safetensors", "model.safetensors.index.json"}));
    SafetensorsDirectory stored(directory);
    ASSERT_EQ(stored.tensors.size(), 4u);
    EXPECT_EQ(element(stored.tensors.at("c"), 119), 319);
    EXPECT_EQ(element(stored.tensors.at("d"), 0), 300);
    Json index = read_json(directory + "/model.safetensors.index.json");
    EXPECT_EQ(index["metadata"]["total_size"], 4 * (35 + 9 + 120 + 4));

    std::string index_path = directory + "/model.safetensors.index.json";
    index["weight_map"]["e"] = "model-00001-of-00003.safetensors";
    write_file(index_path, index.dump());
    EXPECT_NE(message_of([&] { SafetensorsDirectory again(directory); }).find("tensor e"),
              std::string::npos);
    index["weight_map"]["e"] = "../elsewhere.safetensors";
    write_file(index_path, index.dump());
    EXPECT_NE(message_of([&] { SafetensorsDirectory again(directory); }).find("same directory"),
              std::string::npos);
    index["weight_map"]["e"] = "model-00004-of-00003.safetensors";
    write_file(index_path, index.dump());
    EXPECT_NE(message_of([&] { SafetensorsDirectory again(directory); }).find("model-00004"),
              std::string::npos);
}

TEST(Safetensors, MixedDtypesStayAligned) {
    std::string directory = fresh_directory("mixed");
    std::vector<TensorSource> tensors = {constant("a", 1, 3, 0), constant("b", 1, 1, 100)};
    tensors[0].dtype = DType::bf16;
    write_safetensors(directory, tensors);
    SafetensorsDirectory stored(directory);
    EXPECT_EQ((stored.tensors.at("b").data - stored.files[0].data) % 4, 0);
    EXPECT_EQ(element(stored.tensors.at("a"), 2), 2);
    EXPECT_EQ(element(stored.tensors.at("b"), 0), 100);
}

TEST(Safetensors, ValuesThatAreNotFiniteAreRefusedAndNothingAppears) {
    std::string directory = fresh_directory("finite");
    for (auto [value, dtype] :
         {std::pair{NAN, DType::f32}, {INFINITY, DType::bf16}, {70000.0f, DType::f16}}) {
        std::vector<TensorSource> tensors = {constant("good", 1, 1, 0),
                                             constant("bad", 1, 2, value)};
        tensors[1].dtype = dtype;
        EXPECT_NE(message_of([&] { write_safetensors(directory, tensors); }).find("tensor bad"),
                  std::string::npos);
        EXPECT_TRUE(list_directory(directory).empty());
    }
    std::string file = file_of(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", 4);
    file[file.size() - 1] = 0x7c; // infinity
    std::vector<StoredTensor> tensors =
        parse_safetensors((const uint8_t*)file.data(), file.size(), "F");
    EXPECT_EQ(element(tensors[0], 0), 0);
    EXPECT_NE(message_of([&] { element(tensors[0], 1); }).find("tensor a"), std::string::npos);
}

// A limit on the size of files stands for a full disk: the write fails half-way.
TEST(Safetensors, AFullDiskIsAnErrorAndLeavesTheOldFile) {
    std::string directory = fresh_directory("full"), path = directory + "/model.safetensors";
    write_safetensors(directory, {constant("a", 2, 2, 0)});
    std::string before = read_file(path);
    rlimit old;
    getrlimit(RLIMIT_FSIZE, &old);
    rlimit small = {65536, old.rlim_max};
    std::signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    std::string message =
        message_of([&] { write_safetensors(directory, {constant("a", 200, 200, 0)}); });
    setrlimit(RLIMIT_FSIZE, &old);
    std::signal(SIGXFSZ, SIG_DFL);
    EXPECT_NE(message.find("cannot write " + path), std::string::npos) << message;
    EXPECT_EQ(read_file(path), before);
    EXPECT_EQ(list_directory(directory).size(), 1u);
}
