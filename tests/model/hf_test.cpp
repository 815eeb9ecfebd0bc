// Model directories: what is written reads back, in every form, and what is broken is refused by name.

#include "base/file.h"
#include "base/half.h"
#include "base/json.h"
#include "format/safetensors.h"
#include "message_of.h"
#include "model/hf.h"
#include "model/hf_config.h"
#include "model/pass.h"
#include "testing.h"

#include <cstring>

namespace {
std::string fresh_directory(const std::string& name) {
    std::string path = testing::TempDir() + "hf_test_" + name;
    remove_tree(path);
    make_directories(path);
    return path;
}

// Only what reading and writing needs of a backend.
const Ops& memory_ops(DType dtype) {
    static Ops table[2];
    Ops& ops = table[dtype == DType::f64];
    ops = Ops();
    ops.dtype = dtype;
    ops.upload = [](Tensor device, const void* host) {
        std::memcpy(device.data, host, device.bytes());
    };
    ops.download = [](void* host, Tensor device) {
        std::memcpy(host, device.data, device.bytes());
    };
    ops.packed_bytes = [](int64_t, int64_t, DType) -> size_t { return 0; };
    return ops;
}

ModelConfig tiny_config(const std::string& family) {
    ModelConfig m;
    m.family = family;
    m.L = 2, m.C = 12, m.H = 6, m.K = 3, m.D = family == "qwen3" ? 6 : 2, m.F = 20, m.V = 33;
    m.qkv_bias = family == "qwen2";
    m.head_norm = family == "qwen3";
    m.tied_embeddings = family == "qwen2";
    m.norm_eps = 1e-6;
    m.eos = {2, 5};
    m.bos = 1;
    return m;
}

std::unique_ptr<Model> tiny_model(const ModelConfig& config, uint64_t seed,
                                  DType dtype = DType::f32) {
    auto model = std::make_unique<Model>();
    model->config = config;
    model->ops = &memory_ops(dtype);
    layout_params(model->params, config, model->weights, dtype);
    model->weights.allocate();
    layout_params(model->params, config, model->weights, dtype);
    if (seed) init_params(model->params, config, *model->ops, seed);
    return model;
}

std::vector<float> values_of(const Model& model, const Param& param) {
    std::vector<float> values(param.tensor.size());
    download_values(*model.ops, values.data(), param.tensor, 0, param.tensor.size());
    return values;
}

void expect_equal_weights(const Model& a, const Model& b) {
    ASSERT_EQ(a.params.list.size(), b.params.list.size());
    for (size_t p = 0; p < a.params.list.size(); ++p) {
        EXPECT_EQ(a.params.list[p].name, b.params.list[p].name);
        EXPECT_EQ(values_of(a, a.params.list[p]), values_of(b, b.params.list[p]))
            << a.params.list[p].name;
    }
}

const char* const llama_config = R"({"architectures": ["LlamaForCausalLM"], "model_type": "llama",
    "vocab_size": 99, "hidden_size": 12, "intermediate_size": 20, "num_hidden_layers": 2,
    "num_attention_heads": 6, "rms_norm_eps": 1e-05})";

// The Llama configuration above with some keys replaced or added.
ModelConfig parse_with(const std::string& patch, const std::string& generation = "null") {
    Json json = parse_json(llama_config, "test");
    Json changes = parse_json(patch, "patch");
    for (auto& [key, value] : changes.items()) json[key] = value;
    return parse_model_config(json, parse_json(generation, "generation"), "config.json");
}
} // namespace

TEST(Params, TheListHoldsEveryParameterOnceUnderHuggingFaceNames) {
    ModelConfig config = tiny_config("qwen3");
    auto model = tiny_model(config, 7);
    EXPECT_EQ(model->params.list[1].name, "model.layers.0.self_attn.q_proj.weight");
    EXPECT_EQ(model->params.list.back().name, "lm_head.weight");
    EXPECT_EQ(model->params.list.size(), 1u + 2 * 11 + 2);
    // fused tensors: k begins where q ends
    const Param *q = &model->params.list[1], *k = &model->params.list[2];
    EXPECT_EQ((char*)q->tensor.data + q->tensor.bytes(), (char*)k->tensor.data);
    EXPECT_EQ(model->params.layer[0].qkv.w.data, q->tensor.data);
    EXPECT_EQ(model->params.layer[0].qkv.w.shape[0], config.qkv_width());
    int64_t count = 0;
    for (const Param& param : model->params.list) count += param.tensor.size();
    EXPECT_EQ(count, parameter_count(config));
    // by hand: embedding and head, final norm, per layer q, k, v, o, gate, up, down, four norms
    EXPECT_EQ(count, 2 * 33 * 12 + 12 +
                         2 * (36 * 12 + 2 * 18 * 12 + 12 * 36 + 3 * 12 * 20 + 2 * 12 + 2 * 6));
}

TEST(Params, ATiedHeadIsTheEmbeddingAndNotInTheList) {
    auto model = tiny_model(tiny_config("qwen2"), 7);
    EXPECT_EQ(model->params.lm_head.w.data, model->params.embedding.w.data);
    for (const Param& param : model->params.list) EXPECT_NE(param.name, "lm_head.weight");
}

TEST(Params, InitialisationHasItsDeviationsAndDependsOnTheSeedAlone) {
    auto a = tiny_model(tiny_config("qwen2"), 7), b = tiny_model(tiny_config("qwen2"), 7);
    auto c = tiny_model(tiny_config("qwen2"), 8);
    expect_equal_weights(*a, *b);
    EXPECT_NE(values_of(*a, a->params.list[0]), values_of(*c, c->params.list[0]));
    std::vector<float> values = values_of(*a, a->params.list[0]);
    double sum = 0, squares = 0;
    for (float x : values) sum += x, squares += (double)x * x;
    EXPECT_NEAR(sum / (double)values.size(), 0, 0.06); // 4 deviations of a mean of 396
    EXPECT_NEAR(std::sqrt(squares / (double)values.size()), 1 / std::sqrt(12), 0.04); // C = 12
    for (const Param& param : a->params.list)
        EXPECT_EQ(values_of(*a, param)[1] == 1, param.init == Init::one) << param.name;
}

TEST(HfConfig, OlderAndNewerFormsSayTheSame) {
    std::string scaling = R"("rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 64)";
    ModelConfig older =
        parse_with(R"({"rope_theta": 500000.0, "torch_dtype": "bfloat16", "rope_scaling": {)" +
                   scaling + "}}");
    ModelConfig newer = parse_with(
        R"({"dtype": "bfloat16", "rope_parameters": {"rope_theta": 500000.0, )" + scaling + "}}");
    for (const ModelConfig& m : {older, newer}) {
        EXPECT_EQ(m.rope_theta, 500000);
        EXPECT_EQ(m.rope_scaling.factor, 8);
        EXPECT_EQ(m.rope_scaling.original_max_position, 64);
        EXPECT_EQ(m.dtype, "bfloat16");
        EXPECT_EQ(m.norm_eps, 1e-5);
    }
}

TEST(HfConfig, MissingFieldsGetTheDefaultsOfTransformers) {
    ModelConfig m = parse_with("{}");
    EXPECT_EQ(m.K, 6);
    EXPECT_EQ(m.D, 2);
    EXPECT_EQ(m.max_positions, 2048);
    EXPECT_EQ(m.rope_theta, 10000);
    EXPECT_FALSE(m.tied_embeddings);
    EXPECT_EQ(m.eos, std::vector<int>{2});
    EXPECT_EQ(m.dtype, "float32");
    ModelConfig qwen3 = parse_with(R"({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
        "num_key_value_heads": 2})");
    EXPECT_EQ(qwen3.D, 128);
    EXPECT_EQ(qwen3.max_positions, 32768);
    EXPECT_TRUE(qwen3.head_norm && !qwen3.qkv_bias && qwen3.eos.empty());
    ModelConfig qwen2 = parse_with(R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
        "num_key_value_heads": 2, "use_sliding_window": false, "sliding_window": 64})");
    EXPECT_TRUE(qwen2.qkv_bias && !qwen2.head_norm);
}

TEST(HfConfig, EosIsANumberOrAListAndGenerationConfigComesFirst) {
    EXPECT_EQ(parse_with(R"({"eos_token_id": 7})").eos, std::vector<int>{7});
    EXPECT_EQ(parse_with(R"({"eos_token_id": [7, 8]})").eos, (std::vector<int>{7, 8}));
    EXPECT_EQ(parse_with(R"({"eos_token_id": 7})", R"({"eos_token_id": [9, 3]})").eos,
              (std::vector<int>{9, 3}));
    EXPECT_EQ(parse_with(R"({"eos_token_id": 7})", R"({"temperature": 0.6})").eos,
              std::vector<int>{7});
    EXPECT_MESSAGE(parse_with(R"({"eos_token_id": 99})"), "below the vocabulary's size 99");
}

TEST(HfConfig, WhatIsNotBuiltIsRefusedByName) {
    EXPECT_MESSAGE(parse_with(R"({"architectures": ["MistralForCausalLM"]})"),
                   "MistralForCausalLM");
    EXPECT_MESSAGE(parse_with(R"({"architectures": ["MistralForCausalLM"]})"), "LlamaForCausalLM");
    EXPECT_MESSAGE(parse_with(R"({"architectures": null, "model_type": "gemma"})"), "gemma");
    EXPECT_MESSAGE(parse_with(R"({"model_type": "qwen2"})"), "does not go with");
    EXPECT_MESSAGE(parse_with(R"({"hidden_act": "gelu"})"), "gelu");
    EXPECT_MESSAGE(parse_with(R"({"rope_scaling": {"type": "yarn", "factor": 4}})"), "yarn");
    EXPECT_MESSAGE(parse_with(R"({"rope_parameters": {"rope_type": "dynamic", "factor": 4}})"),
                   "dynamic");
    EXPECT_MESSAGE(parse_with(R"({"rope_scaling": {"factor": 4}})"), "rope_type");
    EXPECT_MESSAGE(parse_with(R"({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}})"),
                   "layer type");
    EXPECT_MESSAGE(parse_with(R"({"rope_scaling": {"rope_type": "llama3", "factor": 4}})"),
                   "low_freq_factor");
    EXPECT_MESSAGE(parse_with(R"({"attention_bias": true})"), "attention_bias");
    EXPECT_MESSAGE(parse_with(R"({"mlp_bias": true})"), "mlp_bias");
    EXPECT_MESSAGE(parse_with(R"({"num_key_value_heads": 4})"), "not a multiple");
    EXPECT_MESSAGE(parse_with(R"({"hidden_size": 13})"), "not a multiple");
    EXPECT_MESSAGE(parse_with(R"({"head_dim": 3})"), "odd");
    EXPECT_MESSAGE(parse_with(R"({"hidden_size": "12"})"), "hidden_size");
    EXPECT_MESSAGE(parse_with(R"({"hidden_size": null})"), "missing");
    EXPECT_MESSAGE(parse_with(R"({"hidden_size": 0})"), "out of range");
    EXPECT_MESSAGE(parse_with(R"({"quantization_config": {"bits": 4}})"), "quantization_config");
    EXPECT_MESSAGE(parse_with(R"({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
        "num_key_value_heads": 2, "max_window_layers": 0, "use_sliding_window": true, "sliding_window": 64})"),
                   "sliding window");
    EXPECT_MESSAGE(parse_with(R"({"architectures": ["LlamaForTokenClassification"]})"), "2 labels");
}

// What would change the arithmetic in other families' models or in derived code is not passed over.
TEST(HfConfig, KeysOfAnotherArithmeticAreRefusedUnlessTheyChangeNothing) {
    for (const char* on : {R"("mlp_bias": true)",
                           R"("partial_rotary_factor": 0.5)",
                           R"("rotary_pct": 0.25)",
                           R"("attn_logit_softcapping": 50.0)",
                           R"("final_logit_softcapping": 30.0)",
                           R"("logit_scale": 0.0625)",
                           R"("logits_scaling": 8)",
                           R"("embedding_multiplier": 12.0)",
                           R"("residual_multiplier": 0.22)",
                           R"("attention_multiplier": 0.015625)",
                           R"("scale_emb": 12)",
                           R"("scale_depth": 1.4)",
                           R"("query_pre_attn_scalar": 224)",
                           R"("use_qk_norm": true)",
                           R"("no_rope_layers": [1, 1, 0])",
                           R"("attention_chunk_size": 8192)",
                           R"("is_causal": false)",
                           R"("clip_qkv": 8)",
                           R"("num_local_experts": 8)",
                           R"("use_dynamic_ntk": true)"}) {
        const std::string text = on, key = text.substr(0, text.find(':'));
        EXPECT_MESSAGE(parse_with("{" + text + "}"), key);
    }
    EXPECT_EQ(
        parse_with(R"({"mlp_bias": false, "attention_bias": null, "partial_rotary_factor": 1.0,
        "rotary_pct": 1, "attn_logit_softcapping": null, "logits_scaling": 1.0, "is_causal": true,
        "num_local_experts": 0, "attention_dropout": 0.0, "pretraining_tp": 1})")
            .V,
        99);
}

TEST(HfConfig, AWindowBelowTheContextIsRefusedInEveryFamily) {
    const std::string qwen2 = R"("architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2",
        "num_key_value_heads": 2, "max_position_embeddings": 8192)",
                      qwen3 = R"("architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3",
        "num_key_value_heads": 2, "max_position_embeddings": 8192)",
                      llama = R"("max_position_embeddings": 8192)";
    for (const std::string& family : {qwen2, qwen3}) {
        auto with = [&](const char* keys) { return parse_with("{" + family + ", " + keys + "}"); };
        // the default window of transformers, 4096, and its default first sliding layer, 28
        EXPECT_MESSAGE(with(R"("use_sliding_window": true, "max_window_layers": 0)"), "4096");
        EXPECT_MESSAGE(with(R"("use_sliding_window": true, "max_window_layers": 1)"), "default");
        EXPECT_MESSAGE(with(R"("use_sliding_window": true, "sliding_window": 100,
                              "layer_types": ["full_attention", "sliding_attention"])"),
                       "100");
        EXPECT_MESSAGE(with(R"("layer_types": ["full_attention", "sliding_attention"])"),
                       "sliding_attention");
        EXPECT_EQ(with(R"("use_sliding_window": true)").V, 99); // two layers, below the 28th
        EXPECT_EQ(with(R"("use_sliding_window": true, "max_window_layers": 2)").V, 99);
        EXPECT_EQ(with(R"("use_sliding_window": false, "sliding_window": 100)").V, 99);
        EXPECT_EQ(with(R"("sliding_window": 100, "max_window_layers": 0)").V, 99); // off by default
        EXPECT_EQ(with(R"("use_sliding_window": true, "sliding_window": null,
                          "max_window_layers": 0)")
                      .V,
                  99);
        EXPECT_EQ(with(R"("use_sliding_window": true, "sliding_window": 8192,
                          "max_window_layers": 0)")
                      .V,
                  99);
        EXPECT_EQ(with(R"("use_sliding_window": true, "sliding_window": 100,
                          "layer_types": ["full_attention", "full_attention"])")
                      .V,
                  99);
    }
    auto with = [&](const char* keys) { return parse_with("{" + llama + ", " + keys + "}"); };
    EXPECT_MESSAGE(with(R"("sliding_window": 4096)"), "4096");
    EXPECT_MESSAGE(with(R"("layer_types": ["linear_attention", "full_attention"])"),
                   "linear_attention");
    EXPECT_EQ(with(R"("sliding_window": null)").V, 99);
    EXPECT_EQ(with(R"("sliding_window": 4096, "use_sliding_window": false)").V, 99);
}

TEST(HfConfig, LinearScalingStretchesAllPositions) {
    for (const char* keys : {R"({"rope_scaling": {"type": "linear", "factor": 2.0}})",
                             R"({"rope_parameters": {"rope_type": "linear", "factor": 2.0,
                                 "rope_theta": 10000.0}})"}) {
        ModelConfig m = parse_with(keys);
        EXPECT_EQ(m.rope_scaling.original_max_position, 0);
        Json written = model_config_json(m, nullptr, "f32");
        EXPECT_EQ(written["rope_scaling"]["rope_type"], "linear");
        ModelConfig back = parse_model_config(written, nullptr, "test");
        EXPECT_EQ(back.rope_scaling.original_max_position, 0);
        EXPECT_EQ(back.rope_scaling.factor, 2);

        ComputeConfig f64;
        f64.dtype = DType::f64;
        auto scaled = make_model(m, f64, false);
        m.rope_scaling = {};
        auto plain = make_model(m, f64, false);
        for (int p : {0, 1, 7, 500}) // an angle 2p (f / 2) is p f
            for (int i = 0; i < m.D; ++i)
                EXPECT_EQ(scaled->rope_table.rows(2 * p, 1).as<double>()[i],
                          plain->rope_table.rows(p, 1).as<double>()[i]);
    }
    EXPECT_MESSAGE(parse_with(R"({"rope_scaling": {"type": "linear"}})"), "factor");
}

// transformers takes the score at the last token that is not the padding id, and the end of an answer is
// a token that is scored.
TEST(HfConfig, APaddingIdThatEndsATextIsNotWrittenForClassifiers) {
    ModelConfig m = tiny_config("llama");
    const Json source = {{"pad_token_id", 5}};
    m.pad = 5;
    EXPECT_EQ(model_config_json(m, source, "f32")["pad_token_id"], 5); // a language model's own
    for (Head head : {Head::token_classification, Head::sequence_classification}) {
        m.head = head;
        EXPECT_TRUE(model_config_json(m, source, "f32")["pad_token_id"].is_null());
        m.pad = 7;
        EXPECT_EQ(model_config_json(m, {{"pad_token_id", 7}}, "f32")["pad_token_id"], 7);
        m.pad = 5;
    }
}

TEST(HfConfig, WhatIsWrittenReadsBackTheSameAndKeepsForeignFields) {
    for (const char* family : {"llama", "qwen2", "qwen3"}) {
        ModelConfig m = tiny_config(family);
        m.head = m.family == "qwen3" ? Head::sequence_classification : Head::lm;
        if (m.family == "llama") m.rope_scaling = {8, 1, 4, 64}, m.reward_head = "logit";
        Json source = {
            {"my_field", 3}, {"rope_scaling", {{"type", "x"}}}, {"reward_head", "log_softmax"}};
        Json json = model_config_json(m, source, "bf16");
        EXPECT_EQ(json["my_field"], 3);
        ModelConfig back = parse_model_config(json, nullptr, "test");
        EXPECT_EQ(back.family, m.family);
        EXPECT_EQ(back.head, m.head);
        EXPECT_EQ(back.reward_head, m.reward_head);
        EXPECT_EQ(back.dtype, "bfloat16");
        EXPECT_EQ(back.eos, m.eos);
        EXPECT_EQ(back.D, m.D);
        EXPECT_EQ(back.tied_embeddings, m.tied_embeddings);
        EXPECT_EQ(back.rope_scaling.factor, m.rope_scaling.factor);
        EXPECT_EQ(back.rope_scaling.original_max_position, m.rope_scaling.factor == 1 ? 8192 : 64);
        EXPECT_EQ(back.norm_eps, m.norm_eps);
    }
}

TEST(Half, Bf16AndF16RoundToNearestEven) {
    EXPECT_EQ(float_to_bf16(1.0f), 0x3F80);
    EXPECT_EQ(float_to_bf16(1.00390625f), 0x3F80); // halfway between 1 and the next: to even
    EXPECT_EQ(float_to_bf16(1.01171875f), 0x3F82); // halfway: up to even
    EXPECT_EQ(float_to_bf16(std::nextafter(1.00390625f, 2.0f)), 0x3F81);
    EXPECT_EQ(float_to_f16(65504), 0x7BFF);
    EXPECT_EQ(float_to_f16(65520), 0x7C00);
    EXPECT_EQ(float_to_f16(0x1p-24f), 1);
    EXPECT_EQ(float_to_f16(0x1p-25f), 0);   // halfway to the smallest subnormal: to even
    EXPECT_EQ(float_to_f16(0x1.8p-24f), 2); // halfway between 1 and 2: to even
    EXPECT_EQ(float_to_f16(1 + 0x1p-11f), 0x3C00);
    EXPECT_EQ(float_to_f16(1 + 0x3p-11f), 0x3C02);
    for (uint32_t half = 0; half < 65536; ++half) { // every value survives the way there and back
        uint16_t word = (uint16_t)half;
        float f16 = f16_to_float(word), bf16 = bf16_to_float(word);
        ASSERT_TRUE(std::isnan(f16) ? (half & 0x7C00) == 0x7C00 : float_to_f16(f16) == half)
            << half;
        ASSERT_TRUE(std::isnan(bf16) ? (half & 0x7F80) == 0x7F80 : float_to_bf16(bf16) == half)
            << half;
    }
}

TEST(ModelDirectory, WeightsSurviveWritingAndReadingInF32BitForBit) {
    for (const char* family : {"llama", "qwen2", "qwen3"}) {
        std::string directory = fresh_directory(family);
        auto model = tiny_model(tiny_config(family), 11);
        write_model(*model, directory, "f32");
        ModelConfig config = read_model_config(directory);
        auto back = tiny_model(config, 0), wide = tiny_model(config, 0, DType::f64);
        read_weights(*back, directory);
        read_weights(*wide, directory);
        expect_equal_weights(*model, *back);
        expect_equal_weights(*model, *wide);
        EXPECT_EQ(back->source, directory);
    }
}

TEST(ModelDirectory, Bf16AndF16RoundOnceAndThenStay) {
    for (const char* dtype : {"bf16", "f16"}) {
        std::string first = fresh_directory("round1"), second = fresh_directory("round2");
        auto model = tiny_model(tiny_config("llama"), 11);
        write_model(*model, first, dtype);
        auto back = tiny_model(read_model_config(first), 0);
        read_weights(*back, first);
        std::vector<float> before = values_of(*model, model->params.list[1]),
                           after = values_of(*back, back->params.list[1]);
        double limit = std::string(dtype) == "bf16" ? 0x1p-8 : 0x1p-11;
        EXPECT_NE(before, after);
        for (size_t i = 0; i < before.size(); ++i)
            EXPECT_LE(std::abs(before[i] - after[i]), limit * std::abs(before[i]) + 0x1p-25);
        write_model(*back, second, dtype);
        EXPECT_EQ(read_file(first + "/model.safetensors"),
                  read_file(second + "/model.safetensors"));
    }
}

TEST(ModelDirectory, NewHeadsAreInitialisedOnlyWhenAsked) {
    std::string directory = fresh_directory("head");
    auto policy = tiny_model(tiny_config("llama"), 11);
    write_model(*policy, directory, "f32");
    ModelConfig config = read_model_config(directory);
    config.head = Head::token_classification;
    auto reward = tiny_model(config, 0);
    EXPECT_MESSAGE(read_weights(*reward, directory), "score.weight is missing");
    uint64_t seed = 5;
    read_weights(*reward, directory, &seed);
    EXPECT_EQ(values_of(*reward, reward->params.list[0]),
              values_of(*policy, policy->params.list[0]));
    EXPECT_NE(values_of(*reward, reward->params.list.back())[0], 0);

    std::string saved = fresh_directory("reward");
    write_model(*reward, saved, "f32");
    ModelConfig saved_config = read_model_config(saved);
    EXPECT_EQ(saved_config.head, Head::token_classification);
    EXPECT_FALSE(saved_config.score_bias);
    auto back = tiny_model(saved_config, 0);
    read_weights(*back, saved);
    expect_equal_weights(*reward, *back);
}

TEST(ModelDirectory, ARunDirectoryMeansItsNewestCompleteCheckpoint) {
    std::string run = fresh_directory("run");
    write_file(run + "/config.json", R"({"train": {"steps": 3}})");
    EXPECT_MESSAGE(model_directory(run), "neither a model");
    for (const char* name : {"000009", "000010", "000011.tmp", "000012"})
        make_directories(run + "/checkpoints/" + name);
    for (const char* name : {"000009", "000010", "000011.tmp", "000012"})
        write_file(run + "/checkpoints/" + name + "/config.json", llama_config);
    for (const char* name : {"000009", "000010", "000011.tmp"}) // 000012 lacks its marker
        write_file(run + "/checkpoints/" + name + "/trainer_state.json", "{}");
    EXPECT_EQ(model_directory(run), run + "/checkpoints/000010");
    EXPECT_EQ(model_directory(run + "/checkpoints/000009"), run + "/checkpoints/000009");
    EXPECT_MESSAGE(model_directory(run + "/nowhere"), "does not exist");
    EXPECT_MESSAGE(model_directory(run + "/config.json"), "is a file");
}

// As transformers from 5 on: a head that stands beside the embedding is one of its own where it differs.
TEST(ModelDirectory, ATiedFlagBesideAnotherHeadMeansTheHead) {
    std::string directory = fresh_directory("tied"), written = fresh_directory("tied_written");
    auto model = tiny_model(tiny_config("llama"), 11);
    write_model(*model, directory, "f32");
    Json json = read_json(directory + "/config.json");
    json["tie_word_embeddings"] = true;
    write_file(directory + "/config.json", json.dump());
    ModelConfig config = read_model_config(directory);
    EXPECT_FALSE(config.tied_embeddings);
    auto back = tiny_model(config, 0);
    read_weights(*back, directory);
    expect_equal_weights(*model, *back);
    write_model(*back, written, "f32");
    EXPECT_EQ(read_json(written + "/config.json")["tie_word_embeddings"], false);

    // the same numbers, in another type even, are the tied embedding
    SafetensorsDirectory stored(directory);
    std::vector<TensorSource> tensors;
    for (const char* source : {"model.embed_tokens.weight", "lm_head.weight"}) {
        const StoredTensor& embedding = stored.tensors.at("model.embed_tokens.weight");
        tensors.push_back({source, embedding.shape, source[0] == 'l' ? DType::f32 : DType::bf16,
                           [&](int64_t first, int64_t count, float* values) {
                               read_stored(embedding, first, count, values);
                               for (int64_t i = 0; i < count; ++i)
                                   values[i] = bf16_to_float(float_to_bf16(values[i]));
                           }});
    }
    write_safetensors(directory, tensors);
    EXPECT_TRUE(read_model_config(directory).tied_embeddings);
}

TEST(ModelDirectory, GenerationStopsAtTheEndsOfModelAndTokenizer) {
    std::string directory = fresh_directory("ends");
    Json config = parse_json(llama_config, "test");
    auto ends = [&] {
        write_file(directory + "/config.json", config.dump());
        return read_model_config(directory).eos;
    };
    using Ids = std::vector<int>;
    EXPECT_EQ(ends(), Ids{2}); // transformers' default
    write_file(directory + "/generation_config.json", R"({"eos_token_id": [7, 8]})");
    EXPECT_EQ(ends(), (Ids{7, 8}));
    config["eos_token_id"] = 9;
    EXPECT_EQ(ends(), (Ids{7, 8})); // generation_config.json goes first
    write_file(directory + "/tokenizer_config.json", R"({"eos_token": "<end>"})");
    EXPECT_EQ(ends(), (Ids{7, 8})); // no tokenizer knows it
    write_file(directory + "/tokenizer.json", R"({"x": "\"added_tokens\"", "added_tokens":
        [{"id": 3, "content": "[<end>"}, {"id": 4, "content": "<end>"}],
        "model": {"vocab": {"</s>": 5, "a/b": 6, "<out>": 99}}})");
    EXPECT_EQ(ends(), (Ids{7, 8, 4}));
    for (auto [token, id] : {std::pair{"</s>", 5}, {"a/b", 6}}) { // of the vocabulary
        write_file(directory + "/tokenizer_config.json",
                   Json{{"eos_token", {{"content", token}}}}.dump());
        EXPECT_EQ(ends(), (Ids{7, 8, id}));
    }
    write_file(directory + "/tokenizer_config.json", R"({"eos_token": "<out>"})");
    EXPECT_EQ(ends(), (Ids{7, 8})); // the model has 99 tokens
}

TEST(ModelDirectory, OfADownloadCacheIsTheOneBelowSnapshots) {
    std::string cache = fresh_directory("cache"), model = cache + "/models--a--b";
    for (const char* name : {"/snapshots/0123", "/snapshots/4567", "/refs", "/blobs"})
        make_directories(model + name);
    EXPECT_MESSAGE(model_directory(model), "snapshots/0123 or " + model + "/snapshots/4567");
    write_file(model + "/refs/main", "4567\n");
    for (const std::string& path : {cache, model})
        EXPECT_MESSAGE(model_directory(path), model + "/snapshots/4567");
    write_file(model + "/snapshots/4567/config.json", llama_config);
    EXPECT_EQ(model_directory(model + "/snapshots/4567"), model + "/snapshots/4567");
    write_file(model + "/snapshots/4567/model.safetensors", "");
    EXPECT_MESSAGE(model_directory(model + "/snapshots"), "snapshots/4567");
    EXPECT_MESSAGE(model_directory("someone/some-model-1B"), "download the model first");
}

TEST(ModelDirectory, FilesOfAnotherKindAreNamed) {
    std::string directory = fresh_directory("foreign");
    write_file(directory + "/config.json", llama_config);
    const std::string weights = directory + "/model.safetensors",
                      pointer =
                          "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n";
    auto read = [&] { SafetensorsDirectory stored(directory); };
    write_file(weights, pointer);
    EXPECT_MESSAGE(read(), "Git LFS");
    std::string bytes = "PK\x03\x04";
    bytes.resize(64);
    write_file(weights, bytes);
    EXPECT_MESSAGE(read(), "zip archive");
    write_file(weights, "<!DOCTYPE html><html>");
    EXPECT_MESSAGE(read(), "web page");
    write_file(directory + "/config.json", pointer);
    EXPECT_MESSAGE(read_model_config(directory), "config.json is a Git LFS pointer");
    EXPECT_MESSAGE(convert_model(weights, directory + "/to", ""), "web page");
    bytes.assign("\x40\0\0\0\0\0\0\0{\"a\"", 12);
    bytes.resize(76, ' ');
    write_file(weights, bytes);
    EXPECT_MESSAGE(convert_model(weights, directory + "/to", ""), "the model's directory");
}

TEST(ModelDirectory, WeightsThatDoNotBelongToTheConfigurationAreRefusedByName) {
    std::string directory = fresh_directory("mismatch");
    auto model = tiny_model(tiny_config("llama"), 11);
    write_model(*model, directory, "f32");
    auto read_with = [&](const std::function<void(ModelConfig&)>& change) {
        ModelConfig config = tiny_config("llama");
        change(config);
        read_weights(*tiny_model(config, 0), directory);
    };
    EXPECT_MESSAGE(read_with([](ModelConfig& m) { m.L = 3; }),
                   "layers.2.self_attn.q_proj.weight is missing");
    EXPECT_MESSAGE(read_with([](ModelConfig& m) { m.L = 1; }),
                   "layers.1.input_layernorm.weight is no part");
    EXPECT_MESSAGE(read_with([](ModelConfig& m) { m.F = 21; }),
                   "gate_proj.weight has shape (20, 12)");
    EXPECT_EQ(message_of([&] { read_with([](ModelConfig& m) { m.tied_embeddings = true; }); }),
              "no error");

    std::string path = directory + "/model.safetensors", file = read_file(path);
    write_file(path, file.substr(0, file.size() - 100));
    EXPECT_MESSAGE(read_with([](ModelConfig&) {}), "model.safetensors");
    remove_tree(path);
    EXPECT_MESSAGE(read_with([](ModelConfig&) {}), "holds neither model.safetensors");
}

TEST(ModelDirectory, WhatIsPlannedForAPassIsWhatItTakes) {
    auto model = make_model(tiny_config("qwen3"), {}, false);
    for (bool with_backward : {false, true})
        EXPECT_EQ(pass_bytes(*model, 33, 5, with_backward),
                  Pass(*model, 33, 5, with_backward).arena.capacity);
}
