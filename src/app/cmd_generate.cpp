// rlhf generate: text for one prompt, or rows of completions for rows of prompts.

#include "app/commands.h"
#include "app/problems.h"
#include "base/file.h"
#include "base/log.h"
#include "model/hf.h"
#include "rollout/generate.h"

namespace {

struct GenerateConfig {
    ModelSettings model;
    std::string prompt;
    RowsSettings data;
    ChatConfig chat;
    SampleConfig sample;
    ComputeSettings compute;
    std::string out = "-";
    void visit(Fields& v) {
        v.object("model", model, "the model");
        v.field("prompt", prompt, "one prompt; its completion's text goes to standard output");
        v.object("data", data, "rows with prompts, instead of prompt");
        v.object("chat", chat, "conversations");
        v.object("sample", sample, "how tokens are drawn");
        v.object("compute", compute, "the machine");
        v.field("out", out, "file to write rows to; - is standard output");
    }
};

Json output_row(const Row& row, const Completion& completion, const Inputs& inputs) {
    Json line = other_keys(row);
    line["prompt_ids"] = row.ids;
    line["completion_ids"] = completion.ids;
    Json& logp = line["logp"] = Json::array();
    for (float value : completion.logp) logp.push_back(number_f32(value));
    line["text"] = inputs.text(completion.ids);
    line["finish"] = completion.finished ? "stop" : "length";
    return line;
}

} // namespace

static int generate_text(GenerateConfig& config, const Args& args) {
    const bool one = names_key(args, "prompt");
    CHECK(one != !config.data.path.empty(),
          "generate needs prompt=TEXT, or data.path=FILE with rows of prompts; %s given",
          one ? "both are" : "neither is");
    const ComputeConfig compute = apply_compute(config.compute);
    const std::string directory = model_directory(config.model.path);
    std::unique_ptr<Model> model = load_model(directory, compute, true);
    CHECK(model->config.head == Head::lm, "%s is a reward model and cannot write text",
          directory.c_str());
    Inputs inputs = open_inputs(directory, model->config, config.data.template_name,
                                config.data.add_eos, config.chat);
    std::vector<Row> rows;
    if (one)
        rows = {parse_row({{"prompt", config.prompt}}, "prompt", inputs.options, RowNeed::prompt)};
    else
        rows = read_rows(config.data.path, inputs.options, RowNeed::prompt);
    std::vector<std::vector<int32_t>> prompts;
    for (const Row& row : rows) {
        check_room(row.ids.size(), row.where, model->config.max_positions);
        prompts.push_back(row.ids);
    }

    if (one) {
        AtomicFile out("-"); // its writes are checked
        for (const Completion& completion : generate(*model, prompts, config.sample))
            out.write(inputs.text(completion.ids) + "\n");
        out.commit();
        return 0;
    }
    AtomicFile out(config.out);
    const int64_t total = (int64_t)prompts.size() * config.sample.n;
    Progress progress("generate", "completions", total);
    int64_t done = 0;
    GenerateStats stats;
    auto completions = generate(*model, prompts, config.sample, 0, &stats,
                                [&](const Completion&) { progress.update(++done); });
    for (const Completion& completion : completions)
        out.write(dump_row(output_row(rows[completion.prompt], completion, inputs)) + "\n");
    out.commit();
    progress.message(
        format("%lld prompt tokens, %.0f/s; %lld new tokens, %.0f/s",
               (long long)stats.prompt_tokens, (double)stats.prompt_tokens / stats.prefill_seconds,
               (long long)stats.new_tokens, (double)stats.new_tokens / stats.decode_seconds));
    return 0;
}

extern const Command generate_command;
const Command generate_command =
    command<GenerateConfig, generate_text>("generate", "sample completions of prompts");
