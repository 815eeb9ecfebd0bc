// rlhf logprob: what the model thinks of every token of every row.

#include "app/commands.h"
#include "app/inputs.h"
#include "base/file.h"
#include "base/log.h"
#include "model/hf.h"

namespace {

struct TemperatureSettings {
    double temperature = 1;
    void visit(Fields& v) {
        v.field("temperature", temperature, 0, 1e6,
                "T: log-probabilities of softmax(logits / T); 0, greedy, is read as 1");
    }
};

struct LogprobConfig {
    ModelSettings model;
    RowsSettings data;
    ChatConfig chat;
    TemperatureSettings sample;
    ComputeSettings compute;
    std::string out = "-";
    void visit(Fields& v) {
        v.object("model", model, "the model");
        v.object("data", data, "rows");
        v.object("chat", chat, "conversations");
        v.object("sample", sample, "the distribution");
        v.object("compute", compute, "the machine");
        v.field("out", out, "file to write; - is standard output");
    }
};

Json number_list(const std::vector<double>& values, DType dtype) {
    Json list = Json::array();
    for (double value : values)
        list.push_back(dtype == DType::f64 ? Json(value) : number_f32((float)value));
    return list;
}

} // namespace

static int logprob(LogprobConfig& config, const Args&) {
    CHECK(!config.data.path.empty(), "data.path is missing: the file of rows to read");
    const ComputeConfig compute = apply_compute(config.compute);
    const std::string directory = model_directory(config.model.path);
    std::unique_ptr<Model> model = load_model(directory, compute, false);
    CHECK(model->config.head == Head::lm,
          "%s is a reward model and has no log-probabilities; use rlhf score", directory.c_str());
    Inputs inputs = open_inputs(directory, model->config, config.data.template_name,
                                config.data.add_eos, config.chat);
    std::vector<Row> rows = read_rows(config.data.path, inputs.options, RowNeed::any);

    AtomicFile out(config.out);
    Pass pass(*model, forward_tokens, forward_tokens, false);
    Wanted wanted;
    wanted.temperature = config.sample.temperature > 0 ? config.sample.temperature : 1;
    wanted.entropy = true;
    Progress progress("logprob", "rows", (int64_t)rows.size());
    for (size_t first = 0, last; first < rows.size(); first = last) {
        std::vector<TrainSequence> sequences;
        size_t tokens = 0;
        for (last = first; last < rows.size() && tokens < forward_tokens; ++last) {
            TrainSequence sequence{rows[last].ids, {}};
            for (int t = rows[last].first; t < (int)sequence.ids.size(); ++t)
                sequence.target.push_back(t);
            tokens += sequence.ids.size();
            sequences.push_back(std::move(sequence));
        }
        std::vector<SequenceOutputs> outputs =
            evaluate_sequences(pass, sequences, forward_tokens, wanted);
        for (size_t i = first; i < last; ++i) {
            Json line = other_keys(rows[i]);
            line["ids"] = rows[i].ids;
            line["first"] = rows[i].first;
            line["logp"] = number_list(outputs[i - first].logp, compute.dtype);
            line["entropy"] = number_list(outputs[i - first].entropy, compute.dtype);
            out.write(dump_row(line) + "\n");
        }
        progress.update((int64_t)last);
    }
    out.commit();
    return 0;
}

extern const Command logprob_command;
const Command logprob_command = command<LogprobConfig, logprob>(
    "logprob", "log-probability and entropy of every token of rows");
