// Tiny models of every family against transformers in double precision (tests/golden/models, made by
// tests/reference/make_golden_models.py): log-probabilities, entropies, loss, every parameter's gradient,
// three AdamW steps, greedy text, classification heads, export and import.

#include "base/file.h"
#include "base/json.h"
#include "model/heads.h"
#include "model/hf.h"
#include "rollout/generate.h"
#include "testing.h"
#include "train/sft_loss.h"

#include <cstring>
#include <filesystem>
#include <map>
#include <omp.h>

namespace {

using Values = std::vector<double>;

// The F64 arrays of a safetensors file, read by a few lines of our own so that the importer under test
// has no part in it.
std::map<std::string, Values> read_arrays(const std::string& path) {
    std::string file = read_file(path);
    uint64_t length = 0;
    std::memcpy(&length, file.data(), 8);
    const char* start = file.data() + 8 + length;
    std::map<std::string, Values> arrays;
    const Json header = parse_json(file.substr(8, length), path);
    for (const auto& [name, entry] : header.items()) {
        if (name == "__metadata__") continue;
        CHECK(entry["dtype"] == "F64", "%s: %s is not F64", path.c_str(), name.c_str());
        size_t first = entry["data_offsets"][0], last = entry["data_offsets"][1];
        Values values((last - first) / sizeof(double));
        std::memcpy(values.data(), start + first, last - first);
        arrays[name] = std::move(values);
    }
    return arrays;
}

struct Golden {
    std::string directory;
    Json json;
    std::map<std::string, Values> arrays;
    std::vector<std::vector<int32_t>> sequences;

    explicit Golden(const std::string& name) : directory("tests/golden/models/" + name) {
        json = read_json(directory + "/golden.json");
        arrays = read_arrays(directory + "/golden.safetensors");
        sequences = json["sequences"].get<std::vector<std::vector<int32_t>>>();
    }
    const Values& array(const std::string& name) const {
        auto found = arrays.find(name);
        CHECK(found != arrays.end(), "%s has no golden %s", directory.c_str(), name.c_str());
        return found->second;
    }
};

Values download(const Model& model, Tensor x) {
    Values values(x.size());
    if (x.dtype == DType::f64) {
        model.ops->download(values.data(), x);
    } else {
        std::vector<float> single(x.size());
        model.ops->download(single.data(), x);
        values.assign(single.begin(), single.end());
    }
    return values;
}

double norm(const Values& x) {
    double sum = 0;
    for (double v : x) sum += v * v;
    return std::sqrt(sum);
}

// Norm and four projections on fixed waves: `digest` of make_golden_models.py.
Values digest(const Values& x) {
    Values out{norm(x), 0, 0, 0, 0};
    for (int j = 1; j <= 4; ++j)
        for (size_t i = 0; i < x.size(); ++i) out[j] += std::sin(0.7 * j * (double)(i + 1)) * x[i];
    return out;
}

// |x - want| <= tolerance |want|, both in full, or want as a digest: a projection of the difference is
// then at most sqrt(size) times its norm.
void expect_same(const std::string& name, const Values& x, const Values& want, double tolerance,
                 bool digested) {
    if (!digested) {
        ASSERT_EQ(x.size(), want.size()) << name;
        Values difference(x);
        for (size_t i = 0; i < x.size(); ++i) difference[i] -= want[i];
        EXPECT_TRUE(norm(difference) <= tolerance * norm(want))
            << name << ": off by " << norm(difference) << " of " << norm(want);
        return;
    }
    Values found = digest(x);
    for (int j = 0; j < 5; ++j) {
        double room = tolerance * want[0] * (j ? std::sqrt((double)x.size()) : 1);
        EXPECT_TRUE(std::abs(found[j] - want[j]) <= room)
            << name << ": digest[" << j << "] = " << found[j] << ", wanted " << want[j];
    }
}

std::vector<TrainSequence> all_positions(const Golden& golden) {
    std::vector<TrainSequence> sequences;
    for (const auto& ids : golden.sequences) {
        TrainSequence& sequence = sequences.emplace_back();
        sequence.ids = ids;
        for (int t = 1; t < (int)ids.size(); ++t) sequence.target.push_back(t);
    }
    return sequences;
}

// Every token from `first` on.
std::vector<TrainSequence> trained_positions(const Golden& golden) {
    std::vector<TrainSequence> sequences;
    for (size_t s = 0; s < golden.sequences.size(); ++s) {
        TrainSequence sequence;
        sequence.ids = golden.sequences[s];
        for (int t = golden.json["first"][s]; t < (int)sequence.ids.size(); ++t)
            sequence.target.push_back(t);
        if (!sequence.target.empty()) sequences.push_back(sequence);
    }
    return sequences;
}

std::unique_ptr<Model> load(const Golden& golden, DType dtype, bool packed = false) {
    ComputeConfig compute;
    compute.dtype = dtype;
    return load_model(golden.directory, compute, packed);
}

struct Case {
    const char* name;
    DType dtype;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name << " " << dtype_name(c.dtype); }
std::string case_name(const testing::TestParamInfo<Case>& info) {
    return std::string(info.param.name) + "_" + dtype_name(info.param.dtype);
}

constexpr int budget = 200; // tokens per micro-batch: the sequences fill several

// One thread: these models are so small that waiting for a second one takes longer than the work.
struct OneThread {
    int before = omp_get_max_threads();
    OneThread() { omp_set_num_threads(1); }
    ~OneThread() { omp_set_num_threads(before); }
};

struct ModelParity : testing::TestWithParam<Case> {
    OneThread one_thread;
    Golden golden{GetParam().name};
    DType dtype = GetParam().dtype;
    // In f32 the limit that the project promises; in f64 what the sums' rounding leaves room for.
    double tolerance = dtype == DType::f64 ? 1e-9 : 1e-4;
};

TEST_P(ModelParity, LogProbabilities) {
    auto model = load(golden, dtype);
    auto sequences = all_positions(golden);
    Pass pass(*model, budget, (int)sequences.size(), false);
    Wanted options;
    options.entropy = true;
    auto outputs = evaluate_sequences(pass, sequences, budget, options);
    size_t i = 0;
    for (size_t s = 0; s < sequences.size(); ++s) {
        ASSERT_EQ(outputs[s].logp.size(), sequences[s].ids.size() - 1);
        for (size_t t = 0; t < outputs[s].logp.size(); ++t, ++i) {
            EXPECT_NEAR(outputs[s].logp[t], golden.array("logp")[i], tolerance) << s << " " << t;
            EXPECT_NEAR(outputs[s].entropy[t], golden.array("entropy")[i], tolerance);
        }
    }
    EXPECT_EQ(i, golden.array("logp").size());
}

TEST_P(ModelParity, LossAndGradients) {
    auto model = load(golden, dtype);
    auto sequences = trained_positions(golden);
    Trainer trainer(*model, budget, (int)sequences.size());
    StepStats stats = accumulate_gradients(trainer, sequences, sft_loss(sequences));
    EXPECT_NEAR(stats.loss, golden.json["losses"][0].get<double>(), tolerance);
    for (const Param& grad : trainer.grads.list) {
        const Values& want = golden.array("grad." + grad.name);
        expect_same(grad.name, download(*model, grad.tensor), want, tolerance,
                    (int64_t)want.size() != grad.tensor.size());
    }
    size_t gradients = 0;
    for (const auto& [name, values] : golden.arrays) gradients += name.starts_with("grad.");
    EXPECT_EQ(gradients, trainer.grads.list.size());
}

TEST_P(ModelParity, ThreeAdamWSteps) {
    auto model = load(golden, dtype);
    auto sequences = trained_positions(golden);
    Trainer trainer(*model, budget, (int)sequences.size());
    const Json& given = golden.json["optim"];
    OptimConfig optim;
    optim.lr = given["lr"], optim.beta1 = given["beta1"], optim.beta2 = given["beta2"];
    optim.eps = given["eps"], optim.weight_decay = given["weight_decay"];
    optim.grad_clip = given["grad_clip"];

    std::vector<Values> before;
    for (const Param& param : model->params.list) before.push_back(download(*model, param.tensor));
    for (int step = 0; step < 3; ++step) {
        StepStats stats = accumulate_gradients(trainer, sequences, sft_loss(sequences));
        EXPECT_NEAR(stats.loss, golden.json["losses"][step].get<double>(), tolerance);
        // Rounding moves the weights a little in each step, and the gradient norm more than the loss.
        double room = (1 + 9 * step) * tolerance;
        EXPECT_NEAR(stats.grad_norm, golden.json["grad_norms"][step].get<double>(), room);
        apply_update(trainer, optim, optim.lr, stats);
    }
    EXPECT_GT(golden.json["grad_norms"][0].get<double>(), optim.grad_clip); // clipping took part
    for (size_t i = 0; i < before.size(); ++i) {
        const Param& param = model->params.list[i];
        Values change = download(*model, param.tensor);
        for (size_t j = 0; j < change.size(); ++j) change[j] -= before[i][j];
        // AdamW divides by the gradient's size: where that is near eps, its rounding error shows.
        expect_same(param.name, change, golden.array("after." + param.name), 5 * tolerance, true);
    }
}

TEST_P(ModelParity, GreedyText) {
    for (bool packed : {false, true}) {
        auto model = load(golden, dtype, packed);
        EXPECT_EQ(Json(model->config.eos), golden.json["eos"]);
        SampleConfig sample;
        sample.temperature = 0;
        sample.max_new_tokens = golden.json["new_tokens"];
        auto prompts = golden.json["prompts"].get<std::vector<std::vector<int32_t>>>();
        auto completions = generate(*model, prompts, sample);
        ASSERT_EQ(completions.size(), prompts.size());
        for (size_t p = 0; p < prompts.size(); ++p) {
            EXPECT_EQ(Json(completions[p].ids), golden.json["completions"][p]) << "prompt " << p;
            bool stopped = (int)golden.json["completions"][p].size() < sample.max_new_tokens;
            EXPECT_EQ(completions[p].finished, stopped);
        }
    }
}

TEST_P(ModelParity, ExportAndImport) {
    auto model = load(golden, dtype);
    std::string directory = testing::TempDir() + "rlhf_export_" + case_name({GetParam(), 0});
    std::filesystem::remove_all(directory);
    make_directories(directory);
    write_model(*model, directory, "f32");
    auto again = load_model(directory, model->compute, false);
    ASSERT_EQ(again->params.list.size(), model->params.list.size());
    for (size_t i = 0; i < model->params.list.size(); ++i) {
        const Param &a = model->params.list[i], &b = again->params.list[i];
        EXPECT_EQ(a.name, b.name);
        EXPECT_EQ(download(*model, a.tensor), download(*again, b.tensor)) << a.name;
    }
    EXPECT_EQ(download(*model, model->rope_table), download(*again, again->rope_table));
    EXPECT_EQ(model->config.norm_eps, again->config.norm_eps);
    EXPECT_EQ(model->config.eos, again->config.eos);
    EXPECT_EQ(model->config.bos, again->config.bos);
    EXPECT_EQ(model->config.tied_embeddings, again->config.tied_embeddings);
    std::filesystem::remove_all(directory);
}

INSTANTIATE_TEST_SUITE_P(Families, ModelParity,
                         testing::Values(Case{"llama", DType::f64}, Case{"llama", DType::f32},
                                         Case{"llama3_scaled", DType::f64},
                                         Case{"llama3_scaled", DType::f32},
                                         Case{"qwen2", DType::f64}, Case{"qwen2", DType::f32},
                                         Case{"qwen3", DType::f64}, Case{"qwen3", DType::f32}),
                         case_name);

// Scores of every token, and the gradient of half the mean square of those that the head's kind reads:
// all of them, or each sequence's last.
struct ScoreParity : testing::TestWithParam<Case> {
    OneThread one_thread;
};

TEST_P(ScoreParity, ScoresAndGradients) {
    Golden golden(GetParam().name);
    auto model = load(golden, GetParam().dtype);
    const double tolerance = GetParam().dtype == DType::f64 ? 1e-9 : 1e-4;
    const bool every_token = model->config.head == Head::token_classification;
    EXPECT_NE(model->config.head, Head::lm);
    HostBatch batch;
    std::vector<int32_t> all, read;
    for (const auto& ids : golden.sequences) {
        batch.add(ids.data(), (int)ids.size());
        if (!every_token) read.push_back(batch.tokens() - 1);
    }
    for (int n = 0; n < batch.tokens(); ++n) all.push_back(n);
    if (every_token) read = all;

    Trainer trainer(*model, batch.tokens(), batch.sequences());
    forward(trainer.pass, batch);
    Values scores;
    row_score(trainer.pass, all, scores);
    ASSERT_EQ(scores.size(), golden.array("score").size());
    for (size_t n = 0; n < scores.size(); ++n)
        EXPECT_NEAR(scores[n], golden.array("score")[n], tolerance) << n;

    Values dvalue;
    double loss = 0;
    for (int32_t row : read) {
        loss += 0.5 * scores[row] * scores[row] / (double)read.size();
        dvalue.push_back(scores[row] / (double)read.size());
    }
    EXPECT_NEAR(loss, golden.json["loss"].get<double>(), tolerance);
    begin_backward(trainer.pass);
    row_score_backward(trainer.pass, read, dvalue, trainer.grads);
    backward(trainer.pass, trainer.grads);
    for (const Param& grad : trainer.grads.list)
        expect_same(grad.name, download(*model, grad.tensor), golden.array("grad." + grad.name),
                    tolerance, false);
}

INSTANTIATE_TEST_SUITE_P(Heads, ScoreParity,
                         testing::Values(Case{"token_classification", DType::f64},
                                         Case{"token_classification", DType::f32},
                                         Case{"sequence_classification", DType::f64},
                                         Case{"sequence_classification", DType::f32}),
                         case_name);

} // namespace
