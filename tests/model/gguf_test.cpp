// GGUF: blocks against gguf-py's dequantisation, whole models against the Hugging Face ones they were made
// of (tests/reference/make_golden_gguf.py), and files that are broken.

#include "base/half.h"
#include "message_of.h"
#include "model/gguf_model.h"
#include "model/hf.h"
#include "testing.h"
#include "text/tokenizer.h"

#include <cstring>

namespace {
const std::string golden = "tests/golden/gguf/";

GgufContents parse(const std::string& file) {
    return parse_gguf((const uint8_t*)file.data(), file.size(), "F");
}

std::vector<float> stored_values(const StoredTensor& tensor) {
    std::vector<float> values(tensor.size);
    read_stored(tensor, 0, tensor.size, values.data());
    return values;
}

// Builds small files word by word.
struct Writer {
    std::string bytes = "GGUF";
    template <class T> Writer& word(T value) {
        bytes.append((const char*)&value, sizeof(T));
        return *this;
    }
    Writer& text(const std::string& value) {
        word<uint64_t>(value.size());
        bytes += value;
        return *this;
    }
    // an F32 tensor of `size` values
    Writer& tensor(const std::string& name, int64_t size, uint64_t offset) {
        return text(name).word<uint32_t>(1).word<int64_t>(size).word<uint32_t>(0).word(offset);
    }
    std::string file(size_t values) const {
        return bytes + std::string((bytes.size() + 31) / 32 * 32 - bytes.size() + values, '\0');
    }
};
Writer header(uint64_t tensors, uint64_t metadata, uint32_t version = 3) {
    return Writer().word(version).word(tensors).word(metadata);
}
} // namespace

TEST(Gguf, BlocksOfEveryTypeGiveTheBitsOfGgufPy) {
    MappedFile file(golden + "blocks.gguf"), wanted(golden + "blocks.safetensors");
    GgufContents gguf = parse_gguf(file.data, file.size, file.path);
    std::vector<StoredTensor> all = parse_safetensors(wanted.data, wanted.size, wanted.path);
    ASSERT_EQ(all.size(), 7u);
    for (const StoredTensor& want : all) {
        const GgufTensor& tensor = gguf.tensors.at(want.name);
        EXPECT_EQ(want.name, gguf_type_name(tensor.type));
        ASSERT_EQ(want.shape, (std::vector<int64_t>{tensor.rows, tensor.cols}));
        std::vector<float> values(want.size);
        for (int64_t row = 0; row < tensor.rows; ++row)
            gguf_read_row(tensor, row, values.data() + row * tensor.cols);
        EXPECT_EQ(values, stored_values(want)) << want.name;
    }
}

TEST(Gguf, AConvertedModelIsTheOneTheFileWasMadeOf) {
    for (const char* name : {"llama", "llama3_scaled", "qwen2", "qwen3"}) {
        std::string original = std::string("tests/golden/models/") + name,
                    to = testing::TempDir() + "gguf_test_" + name;
        remove_tree(to);
        convert_model(golden + name + ".gguf", to, "");

        ModelConfig a = read_model_config(original), b = read_model_config(to);
        EXPECT_EQ(a.family, b.family);
        EXPECT_EQ((std::vector<int>{a.L, a.C, a.H, a.K, a.D, a.F, a.V, a.max_positions}),
                  (std::vector<int>{b.L, b.C, b.H, b.K, b.D, b.F, b.V, b.max_positions}));
        EXPECT_EQ(a.norm_eps, b.norm_eps);
        EXPECT_EQ(a.rope_theta, b.rope_theta);
        EXPECT_EQ(a.tied_embeddings, b.tied_embeddings);
        EXPECT_EQ(b.eos, std::vector<int>{2});
        EXPECT_EQ(a.bos, b.bos);
        RopeScaling s = a.rope_scaling, t = b.rope_scaling;
        EXPECT_EQ(s.factor, t.factor);
        EXPECT_EQ(s.original_max_position / s.low_freq_factor,
                  t.original_max_position / t.low_freq_factor);
        EXPECT_EQ(s.original_max_position / s.high_freq_factor,
                  t.original_max_position / t.high_freq_factor);

        SafetensorsDirectory want(original), found(to);
        std::string kept = b.dtype;
        EXPECT_EQ(kept, name == std::string("llama3_scaled") ? "float32"
                        : name == std::string("qwen3")       ? "bfloat16"
                                                             : "float16");
        int compared = 0;
        for (auto& [key, tensor] : found.tensors) {
            std::vector<float> values = stored_values(want.tensors.at(key));
            for (float& x : values)
                x = kept == "float16"    ? f16_to_float(float_to_f16(x))
                    : kept == "bfloat16" ? bf16_to_float(float_to_bf16(x))
                                         : x;
            EXPECT_EQ(values, stored_values(tensor)) << name << " " << key;
            ++compared;
        }
        EXPECT_GE(compared, 2 + 9 * a.L);
    }
}

TEST(Gguf, TheTokenizerGivesTheIdsOfTheOneThatWentIn) {
    Json golden_tokens = read_json(golden + "tokens.json");
    for (auto& [name, rows] : golden_tokens.items()) {
        MappedFile file(golden + name + ".gguf");
        TokenizerFiles files =
            gguf_tokenizer(parse_gguf(file.data, file.size, name).metadata, name);
        auto tokenizer = Tokenizer::parse(files.tokenizer, name);
        for (const Json& row : rows)
            EXPECT_EQ(tokenizer->encode(row["text"].get<std::string>(), true),
                      json_ids(row, "ids", name))
                << name << ": " << row["text"];
        EXPECT_EQ(tokenizer->id_of("<|im_end|>"), 2);
        EXPECT_EQ(tokenizer->decode({2, tokenizer->id_of("<tool>")}, true),
                  "<tool>"); // only control tokens are special
        Json config = parse_json(files.config, name);
        EXPECT_EQ(config["eos_token"], "<|im_end|>");
        EXPECT_EQ(config["chat_template"], "{{ '<|im_start|>' }}");
    }
}

TEST(Gguf, SeveralChatTemplatesKeepTheirNames) {
    MappedFile file(golden + "qwen2.gguf");
    Json metadata = parse_gguf(file.data, file.size, "F").metadata;
    metadata["tokenizer.chat_template.tool_use"] = "with tools";
    metadata["tokenizer.chat_templates"] = {"tool_use"};
    Json config = parse_json(gguf_tokenizer(metadata, "F").config, "F");
    EXPECT_EQ(config["chat_template"],
              parse_json(R"([{"name": "default", "template": "{{ '<|im_start|>' }}"},
                             {"name": "tool_use", "template": "with tools"}])",
                         "want"));
}

TEST(Gguf, ATokenizerOfAnotherKindIsRefusedByName) {
    MappedFile file(golden + "qwen2.gguf");
    const Json metadata = parse_gguf(file.data, file.size, "F").metadata;
    auto with = [&](const char* key, const Json& value) {
        Json changed = metadata;
        changed[key] = value;
        gguf_tokenizer(changed, "F");
    };
    EXPECT_MESSAGE(with("tokenizer.ggml.model", "llama"), "\"llama\"");
    EXPECT_MESSAGE(with("tokenizer.ggml.pre", "falcon"), "\"falcon\"");
    EXPECT_MESSAGE(with("tokenizer.ggml.merges", Json::array({"a"})), "merge \"a\"");
    EXPECT_MESSAGE(with("tokenizer.ggml.merges", Json::array({""})), "merge \"\"");
    EXPECT_MESSAGE(with("tokenizer.ggml.merges", Json::array({"a zzz"})), "merge \"a zzz\"");
    EXPECT_MESSAGE(with("tokenizer.ggml.merges", 3), "merges is missing");
    EXPECT_MESSAGE(with("tokenizer.ggml.tokens", Json::array({"a", "a"})), "twice");
    EXPECT_MESSAGE(with("tokenizer.ggml.tokens", Json::array({1})), "list of strings");
    EXPECT_MESSAGE(with("tokenizer.ggml.add_eos_token", true), "add_eos_token");
}

TEST(Gguf, WhatIsNotBuiltIsRefusedByName) {
    MappedFile file(golden + "llama3_scaled.gguf");
    const GgufContents gguf = parse_gguf(file.data, file.size, "F");
    auto config_with = [&](const char* key, const Json& value) {
        GgufContents changed = gguf;
        changed.metadata[key] = value;
        gguf_model_config(changed, "F");
    };
    EXPECT_MESSAGE(config_with("general.architecture", "gemma"), "\"gemma\"");
    EXPECT_MESSAGE(config_with("llama.expert_count", 8), "mixtures");
    EXPECT_MESSAGE(config_with("llama.rope.scaling.type", "yarn"), "\"yarn\"");
    EXPECT_MESSAGE(config_with("llama.attention.head_count_kv", Json::array({3, 3})),
                   "head_count_kv");
    for (const char* key :
         {"llama.rope.scaling.attn_factor", "llama.rope.scaling.yarn_log_multiplier",
          "llama.attention.scale", "llama.logit_scale", "llama.residual_scale",
          "llama.attn_logit_softcapping", "llama.attention.clamp_kqv"})
        EXPECT_MESSAGE(config_with(key, 2.5), key);
    EXPECT_MESSAGE(config_with("llama.attention.sliding_window", 16), "sliding_window is 16");
    EXPECT_MESSAGE(config_with("llama.attention.causal", false), "attention.causal");
    EXPECT_MESSAGE(config_with("llama.rope.scaling.factor", 2), "at once");
    EXPECT_EQ(gguf_model_config(gguf, "F").V, [&] {
        GgufContents more = gguf;
        more.metadata["llama.attention.sliding_window"] = 1 << 20;
        more.metadata["llama.logit_scale"] = 0; // off
        more.metadata["llama.rope.scaling.original_context_length"] = 16;
        return gguf_model_config(more, "F").V;
    }());
    EXPECT_MESSAGE(config_with("llama.attention.head_count", 2), "cannot be right");
    EXPECT_MESSAGE(config_with("llama.block_count", nullptr), "block_count");
    EXPECT_MESSAGE(config_with("llama.rope.dimension_count", 8), "another width");
    EXPECT_MESSAGE(config_with("llama.rope.freq_base", 20000),
                   "rope_freqs"); // no parameters explain the factors

    ModelConfig config = gguf_model_config(gguf, "F");
    auto weights_with = [&](const std::function<void(GgufContents&)>& change) {
        GgufContents changed = gguf;
        change(changed);
        gguf_weights(changed, config, DType::f32, "F");
    };
    const std::string up = "blk.1.ffn_up.weight";
    EXPECT_MESSAGE(weights_with([&](GgufContents& g) { g.tensors.erase(up); }), up + " is missing");
    EXPECT_MESSAGE(weights_with([&](GgufContents& g) { g.tensors[up].rows = 32; }),
                   up + " has shape");
    EXPECT_MESSAGE(weights_with([&](GgufContents& g) {
                       g.tensors[up].data = nullptr, g.tensors[up].type = 12;
                   }),
                   "Q4_K");
    EXPECT_MESSAGE(weights_with([&](GgufContents& g) { g.tensors["blk.0.extra"] = g.tensors[up]; }),
                   "blk.0.extra");
}

// As llama.cpp reads it: a factor, by either name, is linear scaling unless a type says otherwise.
TEST(Gguf, LinearScalingIsKeptByEitherKey) {
    MappedFile file(golden + "llama.gguf");
    const GgufContents gguf = parse_gguf(file.data, file.size, "F");
    auto scaling = [&](const Json& keys) {
        GgufContents changed = gguf;
        for (auto& [key, value] : keys.items()) changed.metadata["llama.rope." + key] = value;
        return gguf_model_config(changed, "F").rope_scaling;
    };
    for (const Json& keys : std::vector<Json>{
             {{"scale_linear", 4.0}},
             {{"scaling.factor", 4.0}},
             {{"scaling.type", "linear"}, {"scaling.factor", 4.0}},
             {{"scaling.factor", 4.0}, {"scale_linear", 8.0}}}) { // the newer name wins
        EXPECT_EQ(scaling(keys).original_max_position, 0) << keys;
        EXPECT_EQ(scaling(keys).factor, 4) << keys;
    }
    for (const Json& keys : std::vector<Json>{{{"scaling.type", "none"}, {"scaling.factor", 4.0}},
                                              {{"scale_linear", 1.0}},
                                              {{"scaling.factor", 0.0}},
                                              {{"scaling.type", "linear"}}})
        EXPECT_EQ(scaling(keys).factor, 1) << keys;
    for (const char* type : {"yarn", "longrope", "dynamic"})
        EXPECT_MESSAGE(scaling({{"scaling.type", type}, {"scaling.factor", 4.0}}),
                       "llama.rope.scaling.type \"" + std::string(type));
    EXPECT_MESSAGE(scaling({{"scale_linear", 0.5}}), "llama.rope.scale_linear = 0.5");
}

namespace {
// A file of some of a model's tensors, all F32, as part `no` of `count`.
std::string split_part(const GgufContents& gguf, const std::vector<std::string>& names, int no,
                       int count) {
    std::vector<std::pair<std::string, int>> keys = {{"split.no", no}, {"split.count", count}};
    Writer file = header(names.size(), keys.size() + (no == 0 ? 1 : 0));
    for (auto& [key, value] : keys) file.text(key).word<uint32_t>(4).word<uint32_t>(value);
    if (no == 0) file.text("general.name").word<uint32_t>(8).text("whole");
    std::string values;
    for (const std::string& name : names) {
        const GgufTensor& tensor = gguf.tensors.at(name);
        file.text(name).word<uint32_t>(2).word<int64_t>(tensor.cols).word<int64_t>(tensor.rows);
        file.word<uint32_t>(0).word<uint64_t>(values.size());
        std::vector<float> row(tensor.cols);
        for (int64_t r = 0; r < tensor.rows; ++r) {
            gguf_read_row(tensor, r, row.data());
            values.append((const char*)row.data(), row.size() * 4);
        }
        values.resize((values.size() + 31) / 32 * 32);
    }
    return file.file(0) + values;
}
} // namespace

TEST(Gguf, PartsOfASplitModelAreReadTogether) {
    MappedFile file(golden + "llama.gguf");
    const GgufContents gguf = parse_gguf(file.data, file.size, "F");
    const std::string name = testing::TempDir() + "gguf_test_split",
                      first = name + "-00001-of-00002.gguf", second = name + "-00002-of-00002.gguf";
    const std::string up = "blk.0.ffn_up.weight", down = "blk.0.ffn_down.weight";
    remove_tree(second);
    write_file(first, split_part(gguf, {up}, 0, 2));
    EXPECT_MESSAGE(GgufFile{first}, second + " is missing");
    write_file(second, split_part(gguf, {down}, 1, 2));
    for (const std::string& path : {first, second}) { // any part names the model
        GgufFile whole(path);
        EXPECT_EQ(whole.contents.tensors.size(), 2u);
        EXPECT_EQ(whole.contents.metadata["general.name"], "whole");
        for (const std::string& tensor : {up, down}) {
            const GgufTensor &want = gguf.tensors.at(tensor),
                             &got = whole.contents.tensors.at(tensor);
            std::vector<float> a(want.cols), b(want.cols);
            gguf_read_row(want, want.rows - 1, a.data()),
                gguf_read_row(got, got.rows - 1, b.data());
            EXPECT_EQ(a, b);
        }
    }
    write_file(name + ".gguf", read_file(first));
    EXPECT_MESSAGE(GgufFile{name + ".gguf"}, "split.count");
    write_file(second, split_part(gguf, {up}, 1, 2));
    EXPECT_MESSAGE(GgufFile{first}, "another part");
    write_file(second, split_part(gguf, {down}, 1, 3));
    EXPECT_MESSAGE(GgufFile{first}, "no part 2 of 2");
}

// Some converters type the template's marks, or the end of sequence, as normal tokens.
TEST(Gguf, MarksThatAreTypedNormalAreMarksAllTheSame) {
    MappedFile file(golden + "qwen2.gguf");
    Json metadata = parse_gguf(file.data, file.size, "F").metadata;
    const Json& tokens = metadata["tokenizer.ggml.tokens"];
    auto id_of = [&](const char* token) {
        return (int)(std::find(tokens.begin(), tokens.end(), token) - tokens.begin());
    };
    const int mark = id_of("<tool>"), end = id_of("<|im_end|>");
    for (int id : {mark, end}) metadata["tokenizer.ggml.token_type"][id] = 1;
    auto ids = [&](const char* text) {
        return Tokenizer::parse(gguf_tokenizer(metadata, "F").tokenizer, "F")->encode(text, true);
    };
    using Ids = std::vector<int32_t>;
    metadata["tokenizer.chat_template"] = "{{ 'no mark' }}";
    EXPECT_EQ(ids("<|im_end|>"), Ids{end}); // named by eos_token_id
    EXPECT_GT(ids("<tool>").size(), 1u);    // a text like any other
    metadata["tokenizer.chat_template"] = "{{ '<tool>' }}";
    EXPECT_EQ(ids("<tool>"), Ids{mark}); // written by the template
    metadata["tokenizer.chat_template"] = "{{ 'no mark' }}";
    metadata["tokenizer.ggml.eot_token_id"] = mark;
    EXPECT_EQ(ids("<tool>"), Ids{mark});
}

TEST(Gguf, BrokenFilesAreRefusedByName) {
    EXPECT_MESSAGE(parse("GGML and some more bytes to be long enough"), "does not begin with GGUF");
    EXPECT_MESSAGE(parse(header(0, 0, 1).file(0)), "version 1");
    EXPECT_MESSAGE(parse(header(0, 0, 0x03000000).file(0)), "big-endian");
    EXPECT_MESSAGE(parse(header(0, 1ull << 60).file(0)), "metadata entries");
    EXPECT_MESSAGE(parse(header(1ull << 60, 0).file(0)), "tensor");
    EXPECT_MESSAGE(parse(header(0, 1).word<uint64_t>(1ull << 63).file(0)), "a metadata key");
    EXPECT_MESSAGE(parse(header(0, 1).text("k").word<uint32_t>(77).file(0)), "unknown type 77");
    EXPECT_MESSAGE(parse(header(0, 1)
                             .text("k")
                             .word<uint32_t>(9)
                             .word<uint32_t>(4)
                             .word<uint64_t>(1ull << 62)
                             .file(0)),
                   "k at byte");
    EXPECT_MESSAGE(parse(header(0, 2)
                             .text("k")
                             .word<uint32_t>(7)
                             .word<uint8_t>(1)
                             .text("k")
                             .word<uint32_t>(7)
                             .word<uint8_t>(1)
                             .file(0)),
                   "twice");
    EXPECT_MESSAGE(
        parse(header(0, 1).text("general.alignment").word<uint32_t>(4).word<uint32_t>(24).file(0)),
        "power of two");
    EXPECT_MESSAGE(parse(header(1, 0).text("t").word<uint32_t>(5).file(64)), "5 dimensions");
    EXPECT_MESSAGE(parse(header(1, 0).tensor("t", -8, 0).file(32)), "shape of tensor t");
    EXPECT_MESSAGE(parse(header(1, 0).tensor("t", 1ll << 62, 0).file(32)), "shape of tensor t");
    EXPECT_MESSAGE(parse(header(1, 0).tensor("t", 8, 1ull << 63).file(32)),
                   "beyond the file's end");
    EXPECT_MESSAGE(parse(header(1, 0).tensor("t", 9, 0).file(32)), "beyond the file's end");
    EXPECT_MESSAGE(parse(header(1, 0).tensor("t", 4, 16).file(32)), "not aligned");
    EXPECT_MESSAGE(parse(header(2, 0).tensor("t", 8, 0).tensor("t", 8, 32).file(64)), "twice");
    EXPECT_MESSAGE(parse(header(2, 0).tensor("t", 16, 0).tensor("u", 8, 32).file(64)), "overlap");
    EXPECT_EQ(parse(header(2, 0).tensor("t", 8, 0).tensor("u", 8, 32).file(64)).tensors.size(), 2u);
}

TEST(Gguf, EveryTruncationIsAnErrorAndNoFlippedByteDoesHarm) {
    std::string file = read_file(golden + "blocks.gguf");
    size_t end = parse(file).tensors.size() ? file.size()
                                            : 0; // the last tensor's padding may be lost unseen
    for (size_t length = 0; length + 32 < end; ++length)
        EXPECT_NE(message_of([&] { parse(file.substr(0, length)); }), "no error") << length;
    for (size_t at = 0; at < 600; ++at)
        for (char value : {'\xff', '\x00', '\x7f'}) {
            std::string changed = file;
            changed[at] = value;
            message_of([&] {
                GgufContents gguf = parse(changed);
                for (auto& [name, tensor] : gguf.tensors) {
                    std::vector<float> row(tensor.cols);
                    if (gguf_readable(tensor)) gguf_read_row(tensor, tensor.rows - 1, row.data());
                }
            });
        }
}

TEST(Convert, WritesOnlyNewDirectoriesAndLeavesNothingBehindOnFailure) {
    std::string to = testing::TempDir() + "gguf_test_convert",
                broken = testing::TempDir() + "gguf_test_broken.gguf";
    remove_tree(to);
    std::string file = read_file(golden + "qwen2.gguf");
    write_file(broken, file.substr(0, file.size() - 200));
    EXPECT_MESSAGE(convert_model(broken, to, ""), broken);
    EXPECT_FALSE(file_exists(to) || file_exists(to + ".tmp"));
    EXPECT_MESSAGE(convert_model(to + "nowhere", to, ""), "does not exist");
    convert_model(golden + "qwen2.gguf", to, "f32");
    EXPECT_MESSAGE(convert_model(golden + "qwen2.gguf", to, "f32"), "exists already");
    EXPECT_EQ(read_model_config(to).dtype, "float32");
}

TEST(Convert, ADirectoryKeepsItsDtypeUnlessToldAndItsTokenizer) {
    std::string first = testing::TempDir() + "gguf_test_first",
                second = testing::TempDir() + "gguf_test_second",
                third = testing::TempDir() + "gguf_test_third";
    for (const std::string& path : {first, second, third}) remove_tree(path);
    convert_model(golden + "qwen3.gguf", first, "");
    convert_model(first, second, "");
    convert_model(first, third, "f32");
    for (const char* name : {"model.safetensors", "config.json", "tokenizer.json",
                             "tokenizer_config.json", "generation_config.json"})
        EXPECT_EQ(read_file(first + "/" + name), read_file(second + "/" + name)) << name;
    SafetensorsDirectory narrow(first), wide(third);
    for (auto& [name, tensor] : wide.tensors) {
        EXPECT_EQ(tensor.dtype, "F32");
        EXPECT_EQ(stored_values(tensor), stored_values(narrow.tensors.at(name)));
    }
    EXPECT_EQ(read_model_config(third).dtype, "float32");
}
