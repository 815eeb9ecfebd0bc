#include "model/hf_config.h"

#include <algorithm>
#include <climits>

namespace {
struct Family {
    const char *model_type, *prefix; // prefix of the names in "architectures"
    int max_positions;               // transformers' default
};
const Family families[] = {
    {"llama", "Llama", 2048}, {"qwen2", "Qwen2", 32768}, {"qwen3", "Qwen3", 32768}};

struct HeadName {
    Head head;
    const char* suffix;
};
const HeadName heads[] = {{Head::lm, "ForCausalLM"},
                          {Head::token_classification, "ForTokenClassification"},
                          {Head::sequence_classification, "ForSequenceClassification"}};

const char* const supported =
    "supported are LlamaForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM and their "
    "...ForTokenClassification and ...ForSequenceClassification";

// Reads config.json; every message names the file.
struct Reader {
    const Json& json;
    const std::string& where;

    bool has(const char* key) const { return json.contains(key) && !json.at(key).is_null(); }
    int size(const char* key) const { return checked(key, json_int(json, key, where)); }
    int size_or(const char* key, int missing) const { return has(key) ? size(key) : missing; }
    int checked(const char* key, int64_t value) const {
        CHECK(value >= 1 && value <= 1 << 28,
              "%s: \"%s\" = %lld is out of range; it must be 1 .. 2^28", where.c_str(), key,
              (long long)value);
        return (int)value;
    }
    double positive_or(const char* key, double missing) const {
        double value = json_number_or(json, key, missing, where);
        CHECK(value > 0, "%s: \"%s\" = %g must be positive", where.c_str(), key, value);
        return value;
    }
    // Refuses a key that is there and neither null nor `neutral`; false means off.
    void refuse_unless(const char* key, const Json& neutral) const {
        if (!has(key)) return;
        const Json& value = json.at(key);
        CHECK(value == neutral || (value == false && neutral != true),
              "%s: \"%s\": %.60s is not supported", where.c_str(), key, dump_row(value).c_str());
    }
};

// Keys that change the arithmetic in models of other families or of derived code, by the value with which
// they change nothing.
const struct {
    Json neutral;
    std::vector<const char*> keys;
} foreign_keys[] = {
    {false,
     {"mlp_bias",
      "use_bias",
      "bias",
      "qk_norm",
      "use_qk_norm",
      "qk_layernorm",
      "use_qk_layernorm",
      "rope_interleave",
      "rope_interleaved",
      "alibi",
      "use_alibi",
      "use_bidirectional_attention",
      "attn_temperature_tuning",
      "attn_output_gate",
      "attn_use_sinks",
      "scale_embedding",
      "use_dynamic_ntk",
      "use_logn_attn",
      "parallel_attn",
      "parallel_residual",
      "use_parallel_residual",
      "add_cross_attention",
      "is_encoder_decoder"}},
    {true, {"is_causal"}},
    {1,
     {"partial_rotary_factor", "rotary_pct", "rotary_percent", "rope_ratio", "logit_scale",
      "logits_scaling", "output_multiplier_scale", "lm_head_multiplier", "embedding_multiplier",
      "embedding_multiplier_scale", "residual_multiplier", "scale_emb"}},
    {0,
     {"attn_logit_softcapping", "attn_logit_softcap", "final_logit_softcapping",
      "final_logit_softcap", "output_softcap", "clip_qkv", "num_experts", "num_local_experts",
      "n_routed_experts"}},
    {nullptr,
     {"rope_local_base_freq", "no_rope_layers", "no_rope_layer_interval", "attention_chunk_size",
      "query_pre_attn_scalar", "attention_multiplier", "attn_scale", "scale_depth",
      "dim_model_base", "cross_attention_layers"}}};
} // namespace

static const Family* find_family(const std::string& model_type) {
    for (const Family& family : families)
        if (model_type == family.model_type) return &family;
    return nullptr;
}

// Family and head from "architectures" and "model_type". The older AutoModel names without a head
// ("LlamaModel") are not models that say what to predict, and are refused like any other.
static const Family& read_architecture(const Reader& in, ModelConfig& m) {
    std::string type = json_string_or(in.json, "model_type", "", in.where), name;
    if (in.has("architectures")) {
        const Json& list = in.json.at("architectures");
        CHECK(list.is_array() && list.size() == 1 && list[0].is_string(),
              "%s: \"architectures\" must be a list of one name, found %.80s; %s", in.where.c_str(),
              dump_row(list).c_str(), supported);
        name = list[0].get<std::string>();
    }
    CHECK(!type.empty() || !name.empty(),
          "%s has neither \"model_type\" nor \"architectures\": it is not the configuration of a "
          "model",
          in.where.c_str());
    if (name.empty()) {
        const Family* family = find_family(type);
        CHECK(family,
              "%s: model_type \"%.80s\" is not supported; supported are llama, qwen2, qwen3",
              in.where.c_str(), type.c_str());
        return *family;
    }
    for (const Family& family : families)
        for (const HeadName& head : heads)
            if (name == std::string(family.prefix) + head.suffix) {
                CHECK(type.empty() || type == family.model_type,
                      "%s: architecture %s does not go with model_type \"%.80s\"", in.where.c_str(),
                      name.c_str(), type.c_str());
                m.head = head.head;
                return family;
            }
    fail("%s: architecture %.80s is not supported; %s", in.where.c_str(), name.c_str(), supported);
}

static void read_rope(const Reader& in, ModelConfig& m) {
    m.rope_theta = in.positive_or("rope_theta", 10000);
    // transformers lets rope_scaling, the older name, win
    const char* key = in.has("rope_scaling") ? "rope_scaling" : "rope_parameters";
    if (!in.has(key)) return;
    const Json& rope = in.json.at(key);
    CHECK(rope.is_object(), "%s: \"%s\" must be an object, found %.80s", in.where.c_str(), key,
          dump_row(rope).c_str());
    for (auto& [name, value] : rope.items())
        CHECK(!value.is_object(), "%s: \"%s\" by layer type (%.60s) is not supported",
              in.where.c_str(), key, name.c_str());
    std::string where = in.where + ": " + key;
    Reader inner{rope, where};
    m.rope_theta = inner.positive_or("rope_theta", m.rope_theta);
    inner.refuse_unless("partial_rotary_factor", 1);
    std::string type =
        json_string_or(rope, "rope_type", json_string_or(rope, "type", "default", where), where);
    CHECK(type != "default" || !rope.contains("factor") || rope["factor"] == 1,
          "%s: a factor of %.60s without a \"rope_type\" that uses it", where.c_str(),
          dump_row(rope["factor"]).c_str());
    if (type == "default") return;
    CHECK(type == "llama3" || type == "linear",
          "%s: rope type \"%.60s\" is not supported; supported are default, linear, llama3",
          where.c_str(), type.c_str());
    RopeScaling& scaling = m.rope_scaling;
    scaling.factor = json_number(rope, "factor", where);
    if (type == "linear") {
        scaling.original_max_position = 0;
        CHECK(scaling.factor >= 1, "%s: linear scaling needs a factor from 1 on, found %g",
              where.c_str(), scaling.factor);
        return;
    }
    scaling.low_freq_factor = json_number(rope, "low_freq_factor", where);
    scaling.high_freq_factor = json_number(rope, "high_freq_factor", where);
    scaling.original_max_position =
        inner.size_or("original_max_position_embeddings", m.max_positions);
    CHECK(scaling.factor >= 1 && scaling.low_freq_factor > 0 &&
              scaling.high_freq_factor > scaling.low_freq_factor,
          "%s: llama3 scaling needs factor >= 1 and 0 < low_freq_factor < high_freq_factor, found "
          "%g, %g, %g",
          where.c_str(), scaling.factor, scaling.low_freq_factor, scaling.high_freq_factor);
}

// A sliding window changes nothing as long as no sequence is longer than it. Qwen's switch, its default
// width and its first sliding layer are those of transformers; in a Llama configuration, which knows no
// windows, one that is named is meant.
static void check_window(const Reader& in, const ModelConfig& m) {
    const bool qwen = m.family != "llama";
    bool slides = json_bool_or(in.json, "use_sliding_window", !qwen, in.where);
    const bool by_default = !in.json.contains("sliding_window") && qwen && slides;
    const int64_t window =
        by_default ? 4096 : json_int_or(in.json, "sliding_window", INT64_MAX, in.where);
    if (in.has("layer_types")) {
        slides = false;
        for (const Json& type : in.json.at("layer_types")) {
            CHECK(type == "full_attention" || type == "sliding_attention",
                  "%s: \"layer_types\" names %.60s, which is not supported; full_attention is",
                  in.where.c_str(), dump_row(type).c_str());
            slides |= type == "sliding_attention";
        }
        CHECK(!slides || window < INT64_MAX,
              "%s: \"layer_types\" names sliding_attention, and there is no \"sliding_window\"",
              in.where.c_str());
    } else if (qwen) {
        slides &= json_int_or(in.json, "max_window_layers", 28, in.where) < m.L;
    }
    CHECK(!slides || window >= m.max_positions,
          "%s: sliding window attention is not supported, and \"sliding_window\" is %lld%s, below "
          "the context of %d; with \"max_position_embeddings\" lowered to the window it would not "
          "matter",
          in.where.c_str(), (long long)window, by_default ? " (the default)" : "", m.max_positions);
}

// bos and pad only travel along; an id that no vocabulary can hold means none.
static int read_token(const Reader& in, const char* key, int missing, int V) {
    if (!in.json.contains(key)) return missing < V ? missing : -1;
    int64_t id = json_int_or(in.json, key, -1, in.where);
    return id >= 0 && id < V ? (int)id : -1;
}

// A number or a list.
static std::vector<int> read_eos(const Json& json, const std::string& where, int V) {
    Json list = json.is_array() ? json : Json::array({json});
    std::vector<int> ids;
    for (const Json& id : list) {
        CHECK(id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < V,
              "%s: \"eos_token_id\" must be an id below the vocabulary's size %d or a list of "
              "such, found %.80s",
              where.c_str(), V, dump_row(json).c_str());
        ids.push_back(id.get<int>());
    }
    return ids;
}

static void read_head(const Reader& in, ModelConfig& m) {
    m.reward_head = json_string_or(in.json, "reward_head", "", in.where);
    CHECK(m.reward_head.empty() || m.reward_head == "logit" || m.reward_head == "log_softmax",
          "%s: \"reward_head\" is \"%.60s\"; it must be logit or log_softmax", in.where.c_str(),
          m.reward_head.c_str());
    m.reward_kind = json_string_or(in.json, "reward_kind", "", in.where);
    m.row_heads = (int)json_int_or(in.json, "row_heads", 0, in.where);
    CHECK(m.row_heads >= 0 && m.row_heads <= 1 << 20, "%s: \"row_heads\" is %d", in.where.c_str(),
          m.row_heads);
    if (m.head == Head::lm) return;
    CHECK(m.row_heads == 0, "%s: \"row_heads\" belong to a ...ForCausalLM model", in.where.c_str());
    CHECK(m.reward_head.empty(), "%s: \"reward_head\" belongs to a ...ForCausalLM model",
          in.where.c_str());
    int64_t labels = 2; // transformers' default
    if (in.has("id2label")) labels = (int64_t)in.json.at("id2label").size();
    labels = json_int_or(in.json, "num_labels", labels, in.where);
    CHECK(labels == 1,
          "%s: a classification head with %lld labels is not supported; a reward model has "
          "\"num_labels\": 1",
          in.where.c_str(), (long long)labels);
}

ModelConfig parse_model_config(const Json& config, const Json& generation,
                               const std::string& where) {
    CHECK(config.is_object(), "%s: the configuration of a model must be a JSON object",
          where.c_str());
    Reader in{config, where};
    ModelConfig m;
    const Family& family = read_architecture(in, m);
    m.family = family.model_type;
    bool qwen2 = m.family == "qwen2", qwen3 = m.family == "qwen3";
    CHECK(!in.has("quantization_config"),
          "%s: quantised weights (\"quantization_config\") are not supported; "
          "use the model before quantisation",
          where.c_str());
    m.V = in.size("vocab_size");
    m.C = in.size("hidden_size");
    m.F = in.size("intermediate_size");
    m.L = in.size("num_hidden_layers");
    m.H = in.size("num_attention_heads");
    // Qwen's default of 32 is for a key that is missing; null means H, as for Llama.
    bool names_kv = config.contains("num_key_value_heads") || m.family == "llama";
    m.K = in.size_or("num_key_value_heads", names_kv ? m.H : 32);
    CHECK(m.H % m.K == 0,
          "%s: num_attention_heads = %d is not a multiple of num_key_value_heads = %d",
          where.c_str(), m.H, m.K);
    if (!in.has("head_dim") && !qwen3)
        CHECK(m.C % m.H == 0,
              "%s: hidden_size = %d is not a multiple of num_attention_heads = %d and "
              "there is no \"head_dim\"",
              where.c_str(), m.C, m.H);
    m.D = in.size_or("head_dim", qwen3 ? 128 : m.C / m.H);
    CHECK(m.D % 2 == 0, "%s: a head width of %d is odd; rotary embeddings need an even one",
          where.c_str(), m.D);
    CHECK(((int64_t)m.H + 2 * (int64_t)m.K) * m.D <= INT_MAX && m.L <= 1 << 16,
          "%s: %d layers of %d + 2 * %d heads of width %d are too many", where.c_str(), m.L, m.H,
          m.K, m.D);
    m.max_positions = in.size_or("max_position_embeddings", family.max_positions);
    m.norm_eps = in.positive_or("rms_norm_eps", 1e-6);
    m.tied_embeddings = json_bool_or(config, "tie_word_embeddings", false, where);
    m.qkv_bias = qwen2;
    m.head_norm = qwen3;
    std::string activation = json_string_or(config, "hidden_act", "silu", where);
    CHECK(activation == "silu", "%s: hidden_act \"%.60s\" is not supported; only silu is",
          where.c_str(), activation.c_str());
    // Qwen2 has it by nature, without a bias after attention
    if (!qwen2) in.refuse_unless("attention_bias", false);
    for (const auto& [neutral, keys] : foreign_keys)
        for (const char* key : keys) in.refuse_unless(key, neutral);
    read_rope(in, m);
    check_window(in, m);
    read_head(in, m);

    m.bos = read_token(in, "bos_token_id", m.family == "llama" ? 1 : -1, m.V);
    m.pad = read_token(in, "pad_token_id", -1, m.V);
    if (generation.is_object() && generation.contains("eos_token_id") &&
        !generation.at("eos_token_id").is_null())
        m.eos = read_eos(generation.at("eos_token_id"), where + " (generation_config.json)", m.V);
    else if (in.has("eos_token_id"))
        m.eos = read_eos(config.at("eos_token_id"), where, m.V);
    else if (!config.contains("eos_token_id") && m.family == "llama" && m.V > 2)
        m.eos = {2}; // transformers' default
    m.dtype = json_string_or(config, in.has("dtype") ? "dtype" : "torch_dtype", "float32", where);
    if (m.dtype != "bfloat16" && m.dtype != "float16") m.dtype = "float32";
    return m;
}

static const char* torch_dtype(const std::string& save_dtype) {
    return save_dtype == "bf16" ? "bfloat16" : save_dtype == "f16" ? "float16" : "float32";
}

static Json eos_json(const ModelConfig& m) {
    if (m.eos.empty()) return nullptr;
    return m.eos.size() == 1 ? Json(m.eos[0]) : Json(m.eos);
}

static Json token_json(int id) { return id < 0 ? Json(nullptr) : Json(id); }

static bool pads_an_end(const ModelConfig& m) {
    return std::find(m.eos.begin(), m.eos.end(), m.pad) != m.eos.end();
}

Json model_config_json(const ModelConfig& m, const Json& source, const std::string& save_dtype) {
    Json json = source.is_object() ? source : Json::object();
    const Family* family = find_family(m.family);
    CHECK(family, "a model of family \"%s\" cannot be saved", m.family.c_str());
    for (const HeadName& head : heads)
        if (head.head == m.head)
            json["architectures"] = Json::array({std::string(family->prefix) + head.suffix});
    json["model_type"] = m.family;
    json["vocab_size"] = m.V;
    json["hidden_size"] = m.C;
    json["intermediate_size"] = m.F;
    json["num_hidden_layers"] = m.L;
    json["num_attention_heads"] = m.H;
    json["num_key_value_heads"] = m.K;
    json["head_dim"] = m.D;
    json["hidden_act"] = "silu";
    json["max_position_embeddings"] = m.max_positions;
    json["rms_norm_eps"] = m.norm_eps;
    json["tie_word_embeddings"] = m.tied_embeddings;
    if (m.family != "qwen2") json["attention_bias"] = false;
    if (m.family == "llama") json["mlp_bias"] = false;

    Json rope = {{"rope_type", "default"}};
    if (m.rope_scaling.original_max_position == 0)
        rope = {{"rope_type", "linear"}, {"factor", m.rope_scaling.factor}};
    else if (m.rope_scaling.factor != 1)
        rope = {{"rope_type", "llama3"},
                {"factor", m.rope_scaling.factor},
                {"low_freq_factor", m.rope_scaling.low_freq_factor},
                {"high_freq_factor", m.rope_scaling.high_freq_factor},
                {"original_max_position_embeddings", m.rope_scaling.original_max_position}};
    json["rope_theta"] = m.rope_theta;
    json["rope_scaling"] = rope["rope_type"] != "default" ? rope : Json(nullptr);
    rope["rope_theta"] = m.rope_theta;
    json["rope_parameters"] = rope;
    json["torch_dtype"] = json["dtype"] = torch_dtype(save_dtype);

    // A source's own ids stand: generation_config.json may rightly say something else.
    for (auto [key, id] : {std::pair{"bos_token_id", m.bos}, {"pad_token_id", m.pad}})
        if (!json.contains(key)) json[key] = token_json(id);
    if (!json.contains("eos_token_id")) json["eos_token_id"] = eos_json(m);
    // transformers reads a classifier's score at the last token that is not this one; where the end of a
    // sequence is scored, it must not be taken for padding.
    if (m.head != Head::lm && pads_an_end(m)) json["pad_token_id"] = nullptr;

    for (const char* key : {"num_labels", "id2label", "label2id", "token_classification_bias",
                            "reward_head", "reward_kind", "row_heads"})
        json.erase(key);
    if (!m.reward_head.empty()) json["reward_head"] = m.reward_head;
    if (!m.reward_kind.empty()) json["reward_kind"] = m.reward_kind;
    if (m.row_heads) json["row_heads"] = m.row_heads;
    if (m.head != Head::lm) {
        json["num_labels"] = 1;
        json["id2label"] = {{"0", "LABEL_0"}};
        json["label2id"] = {{"LABEL_0", 0}};
        if (m.head == Head::token_classification) json["token_classification_bias"] = m.score_bias;
    }
    return json;
}

Json generation_config_json(const ModelConfig& m) {
    return {{"bos_token_id", token_json(m.bos)},
            {"eos_token_id", eos_json(m)},
            {"pad_token_id", token_json(m.pad)}};
}
