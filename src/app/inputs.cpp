#include "app/inputs.h"

#include "base/file.h"
#include "model/hf.h"

#include <cmath>

void RowsSettings::visit(Fields& v) {
    v.field("path", path, "JSON Lines file of rows");
    v.choice("template", template_name, {"none", "chat"},
             "chat renders prompt and completion by the model's chat template; none: raw strings");
    v.field("add_eos", add_eos, "end a completion string with the end-of-sequence token");
}

void PromptSettings::visit(Fields& v) {
    v.choice("template", template_name, {"none", "chat"},
             "chat asks by the model's chat template; none: the prompt as it is");
}

Inputs open_inputs(const std::string& directory, const ModelConfig& model,
                   const std::string& template_name, bool add_eos, const ChatConfig& chat) {
    Inputs inputs;
    if (file_exists(join_path(directory, "tokenizer.json"))) {
        inputs.tokenizer = Tokenizer::load(directory);
        inputs.options.tokenizer = inputs.tokenizer.get();
        inputs.options.eos = end_of_sequence(directory, *inputs.tokenizer);
        inputs.options.stops = stop_ids(directory, *inputs.tokenizer);
    }
    inputs.options.chat_directory = directory;
    inputs.options.template_name = template_name;
    inputs.options.add_eos = add_eos;
    inputs.options.vocabulary = model.V;
    inputs.options.max_length = model.max_positions;
    chat.apply(inputs.options);
    return inputs;
}

Row problem_row(const Problem& problem, const RowOptions& options, RowNeed need) {
    Json row = problem.row;
    if (!problem.prompt_ids.empty() && row.is_null())
        row = {{"prompt_ids", problem.prompt_ids}, {"completion_ids", problem.demonstration_ids}};
    else if (row.contains("question") && !row.contains("completion") && !row.contains("response"))
        row["answer"] = problem.demonstration; // in the task's form of it
    bool worked = !problem.demonstration.empty() || !problem.demonstration_ids.empty();
    CHECK(need != RowNeed::completion || worked,
          "%s: the row has no worked answer to train on (\"completion\" or \"response\")",
          problem.where.c_str());
    return parse_row(row, problem.where, options, need);
}

TrainSequence train_sequence(const Row& row) {
    TrainSequence sequence;
    sequence.ids = row.ids;
    for (int t = row.first; t < (int)row.ids.size(); ++t)
        if (row.mask[t]) sequence.target.push_back(t);
    return sequence;
}

void TinySettings::visit(Fields& v) {
    v.field("layers", layers, 1, 1000, "L");
    v.field("width", width, 2, 1e5, "C: channels; a multiple of 2 x heads");
    v.field("heads", heads, 1, 1000, "H");
    v.field("feed_forward", feed_forward, 1, 1e6, "F");
    v.field("context", context, 8, 1e6, "longest sequence, tokens");
    v.field("rope_theta", rope_theta, 1, 1e9,
            "theta: head channel 2i turns by theta^(-2i/D) radians a token; small for short texts");
    v.field("look_back", look_back, 0, 100,
            "logit by which head h begins to prefer the token h+1 back; needs the biases of qwen2");
    v.choice(
        "family", family, {"llama", "qwen2", "qwen3"},
        "architecture; qwen2: biases on queries, keys and values, qwen3: their heads are normed");
    v.choice("writes_about", writes_about, {"", "arithmetic", "chain_lookup", "stale_library"},
             "a judge of this task's answers: behind the task's tokens it knows every printable "
             "character of ASCII and the line feed; empty: a policy of task.name");
    v.input("from", from,
            "with writes_about: a policy of that task that it begins as, sizes included; only the "
            "characters are new");
}

// Biases with which head h of every layer begins by looking h+1 tokens back, whatever the tokens are. Rope
// turns channel pair i of a head by p theta_i at position p, so that with key bias c (1, 0) and query bias
// c (cos, -sin)((h+1) theta_i) the logit of the token d back is c^2 / sqrt(D) sum_i cos((d-h-1) theta_i);
// its peak is `logit`.
static void look_back(const Params& params, const ModelConfig& config, double logit) {
    const int H = config.H, D = config.D, pairs = D / 2;
    const float c = (float)std::sqrt(logit * std::sqrt((double)D) / pairs);
    for (const LayerParams& layer : params.layer) {
        float* query = layer.qkv_bias.as<float>();
        float* key = query + (int64_t)H * D;
        for (int h = 0; h < H; ++h)
            for (int i = 0; i < pairs; ++i) {
                const double angle = (h + 1) * std::pow(config.rope_theta, -2.0 * i / D);
                query[h * D + i] = c * (float)std::cos(angle);
                query[h * D + pairs + i] = -c * (float)std::sin(angle);
                key[h * D + i] = c;
            }
    }
}

// The policy's weights; of a vocabulary that is larger the first rows.
static void copy_weights(const Params& to, const Params& from) {
    for (size_t k = 0; k < to.list.size(); ++k) {
        const Tensor &x = to.list[k].tensor, &y = from.list[k].tensor;
        CHECK(y.size() <= x.size(), "tiny.from: %s has %lld numbers, and the new model takes %lld",
              from.list[k].name.c_str(), (long long)y.size(), (long long)x.size());
        std::copy_n(y.as<float>(), y.size(), x.as<float>());
    }
}

// A model that writes about a policy's answers and knows what the policy knows.
static std::unique_ptr<Model> widened(const std::string& policy, const Vocabulary& vocabulary,
                                      uint64_t seed) {
    const std::unique_ptr<Model> from = load_model(policy, {}, false);
    ModelConfig config = from->config;
    CHECK(
        config.V == vocabulary.size() - vocabulary.more && config.head == Head::lm,
        "tiny.from: %s is no policy of the task that tiny.writes_about names: a language model of "
        "%d tokens",
        policy.c_str(), vocabulary.size() - vocabulary.more);
    config.V = vocabulary.size();
    auto model = make_model(config, {}, false);
    init_params(model->params, config, *model->ops, seed);
    copy_weights(model->params, from->params);
    return model;
}

static std::unique_ptr<Model> fresh_model(const TinySettings& settings, int V, int bos, int pad,
                                          int eos, uint64_t seed) {
    CHECK(settings.width % (2 * settings.heads) == 0,
          "tiny.width=%d is not a multiple of 2 x tiny.heads = %d", settings.width,
          2 * settings.heads);
    CHECK(settings.look_back == 0 || settings.family == "qwen2",
          "tiny.look_back=%g is made of biases: set tiny.family=qwen2", settings.look_back);
    ModelConfig config;
    config.L = settings.layers, config.C = settings.width, config.F = settings.feed_forward;
    config.H = config.K = settings.heads, config.D = config.C / config.H;
    config.V = V;
    config.rope_theta = settings.rope_theta;
    config.family = settings.family;
    config.qkv_bias = settings.family == "qwen2", config.head_norm = settings.family == "qwen3";
    config.max_positions = settings.context;
    config.bos = bos, config.pad = pad, config.eos = {eos};
    auto model = make_model(config, {}, false);
    init_params(model->params, config, *model->ops, seed);
    if (settings.look_back > 0) look_back(model->params, config, settings.look_back);
    return model;
}

static void write_with_tokenizer(const Model& model, const std::string& tokenizer,
                                 const std::string& tokenizer_config,
                                 const std::string& directory) {
    AtomicDirectory output(directory);
    write_model(model, output.temporary, "f32");
    write_file(join_path(output.temporary, "tokenizer.json"), tokenizer);
    write_file(join_path(output.temporary, "tokenizer_config.json"), tokenizer_config);
    output.commit();
}

void write_tiny_model(const TinySettings& settings, const Vocabulary& vocabulary, uint64_t seed,
                      const std::string& directory) {
    CHECK(settings.from.empty() || vocabulary.more > 0,
          "tiny.from begins a model of more tokens than the policy's: set tiny.writes_about");
    const auto model = settings.from.empty()
                           ? fresh_model(settings, vocabulary.size(), vocabulary.bos(),
                                         vocabulary.pad(), vocabulary.eos(), seed)
                           : widened(settings.from, vocabulary, seed);
    write_with_tokenizer(*model, vocabulary.tokenizer_json(), vocabulary.tokenizer_config_json(),
                         directory);
}

void write_tiny_model(const TinySettings& settings, const WordVocabulary& words, uint64_t seed,
                      const std::string& directory) {
    const auto model = fresh_model(settings, words.size, words.bos, words.pad, words.eos, seed);
    write_with_tokenizer(*model, words.tokenizer_json, words.tokenizer_config_json, directory);
}
