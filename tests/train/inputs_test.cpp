#include "train/inputs.h"

#include "base/file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

struct Inputs : testing::Test {
    std::string directory = testing::TempDir() + "inputs" + std::to_string(::getpid());
    void SetUp() override { remove_tree(directory), make_directories(directory); }
    void TearDown() override { remove_tree(directory); }
    std::string at(const std::string& name) const { return join_path(directory, name); }
};

struct Config {
    std::string rows = "rows.jsonl", other = "other", none;
    Json credit = Json::parse(R"([{"source": "rule"}, {"source": "qrm", "model": "A"},
        {"source": "drm", "confidence": {"judge": "B", "weight": 1}, "reference": ""}])");
    void visit(Fields& v) {
        v.input("rows", rows, ""), v.field("other", other, "");
        v.input("none", none, ""), v.input("credit", credit, "");
    }
};

} // namespace

TEST_F(Inputs, AreTheDeclaredKeysThatNameSomething) {
    Config config;
    Fields fields;
    config.visit(fields);
    std::string found;
    for (const RunInput& input : inputs_of(fields)) found += input.key + "=" + input.path + " ";
    EXPECT_EQ(found, "rows=rows.jsonl credit[1].model=A credit[2].confidence.judge=B ");
}

TEST_F(Inputs, AFilesHashSeesEveryByte) {
    std::string text = "{\"prompt\": \"1+1=\"}\n";
    write_file(at("rows"), text);
    const std::string before = input_hash(at("rows"));
    EXPECT_EQ(before, input_hash(at("rows")));
    for (size_t i = 0; i < text.size(); ++i) {
        std::string other = text;
        other[i] ^= 1;
        write_file(at("rows"), other);
        EXPECT_NE(input_hash(at("rows")), before) << i;
    }
    write_file(at("rows"), text + '\0');
    EXPECT_NE(input_hash(at("rows")), before);
}

TEST_F(Inputs, AModelsHashIsOfWhatLoadingItReads) {
    make_directories(at("model/critic"));
    write_file(at("model/config.json"), "{\"model_type\": \"llama\"}");
    write_file(at("model/model.safetensors"), "weights");
    write_file(at("model/tokenizer.json"), "{}");
    const std::string before = input_hash(at("model"));
    ASSERT_FALSE(before.empty());
    for (const char* other :
         {"README.md", "trainer_state.json", "trainer.safetensors", "critic/model.safetensors"})
        write_file(at("model/") + other, "not read");
    EXPECT_EQ(input_hash(at("model")), before);
    for (const char* name : {"model.safetensors", "config.json", "tokenizer.json"}) {
        const std::string was = read_file(at("model/") + name);
        write_file(at("model/") + name, was + " ");
        EXPECT_NE(input_hash(at("model")), before) << name;
        write_file(at("model/") + name, was);
    }
    EXPECT_EQ(input_hash(at("model")), before);
}

// A pipe gives its rows once: hashing it would take them away.
TEST_F(Inputs, WhatIsNoFileHasNoHash) {
    EXPECT_EQ(input_hash(at("nothing")), "");
    EXPECT_EQ(input_hash("/dev/null"), "");
    ASSERT_EQ(::mkfifo(at("pipe").c_str(), 0600), 0);
    EXPECT_EQ(input_hash(at("pipe")), "");
}
