// rlhf tokenize: text to ids and back, with the mask of what the assistant says.

#include "app/commands.h"
#include "base/file.h"
#include "model/hf.h"
#include "text/rows.h"
#include "train/settings.h"

#include <algorithm>

namespace {
struct DataConfig {
    std::string path, template_name = "none";
    bool add_eos = true;
    void visit(Fields& v) {
        v.field("path", path, "rows to encode or decode, JSON Lines");
        v.choice("template", template_name, {"none", "chat"},
                 "how prompt and completion are rendered");
        v.field("add_eos", add_eos, "a completion string gets the end-of-sequence token");
    }
};
struct TokenizeConfig {
    ModelSettings model;
    DataConfig data;
    ChatConfig chat;
    std::string out = "-";
    void visit(Fields& v) {
        v.object("model", model, "the model, of which only the tokenizer is read");
        v.object("data", data, "rows");
        v.object("chat", chat, "conversations");
        v.field("out", out, "file to write; - is standard output");
    }
};
} // namespace

static int tokenize(TokenizeConfig& config, const Args&) {
    CHECK(!config.model.path.empty() && !config.data.path.empty(),
          "tokenize needs model.path=DIR and data.path=FILE");
    std::string directory = config.model.path;
    if (!file_exists(join_path(directory, "tokenizer.json"))) // a run directory
        directory = model_directory(directory);
    auto tokenizer = Tokenizer::load(directory);
    RowOptions options;
    options.tokenizer = tokenizer.get();
    options.chat_directory = directory;
    options.template_name = config.data.template_name;
    options.add_eos = config.data.add_eos;
    options.eos = end_of_sequence(directory, *tokenizer);
    options.stops = stop_ids(directory, *tokenizer);
    options.vocabulary = tokenizer->vocabulary();
    options.allow_empty = options.allow_no_mask = true;
    config.chat.apply(options);

    AtomicFile out(config.out);
    for_each_row(config.data.path, [&](const Json& json, const std::string& where) {
        Row row = parse_row(json, where, options, RowNeed::any);
        // A text as a whole is nobody's speech: only completions and assistants' turns are marked.
        bool whole = row.used_keys[0] == "text" || row.used_keys[0] == "ids";
        if (whole) std::fill(row.mask.begin(), row.mask.end(), 0);
        Json output = other_keys(row);
        output["ids"] = row.ids;
        output["text"] = tokenizer->decode(row.ids, false);
        output["mask"] = row.no_mask.empty() ? Json(row.mask) : Json();
        out.write(dump_row(output) + "\n");
    });
    out.commit();
    return 0;
}

extern const Command tokenize_command;
const Command tokenize_command =
    command<TokenizeConfig, tokenize>("tokenize", "rows to token ids and back");
