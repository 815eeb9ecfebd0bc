// rlhf explain RUN [step=N] [prompt_id=P]: what each token of a step was given, RUN/explain.html. Of a reward
// model's run: its scores of held-out pairs.

#include "app/commands.h"
#include "app/explain/pairs.h"
#include "app/explain/step.h"
#include "base/file.h"

#include <cstdio>

namespace {

struct ExplainConfig {
    int64_t step = 0, prompt_id = -1;
    int pairs = 20;
    std::string out, colour = "gradient";
    void visit(Fields& v) {
        v.field("step", step, 0, 9e15, "step of the stored rollouts; 0: the last one stored");
        v.field("prompt_id", prompt_id, -1, 9e15,
                "only this prompt's completions; -1: as many prompts as a page can hold");
        v.field("pairs", pairs, 1, 1e5, "of a reward model's run: held-out pairs on the page");
        v.field("colour", colour,
                "what the page colours tokens by when it is opened: gradient, advantage, credit, "
                "entropy, a credit source (qrm, ...), any quantity of the page");
        v.field("out", out, "file to write; empty: RUN/explain.html");
    }
};

const int64_t tokens_of_a_page = 12000; // more makes a browser slow

} // namespace

static int cmd_explain(const Args& args) {
    Args rest = args;
    rest.config_path.clear();
    ExplainConfig config;
    load_config(config, rest);
    StoredRun run = open_run(args.config_path);
    const std::string out = config.out.empty() ? run.file("explain.html") : config.out;
    const int64_t step = config.step || run.steps.empty() ? config.step : run.steps.back();
    write_file(out, explain_html(run.config.contains("reward")
                                     ? explain_pairs(run, config.pairs)
                                     : explain_step(run, step, config.prompt_id, config.colour,
                                                    tokens_of_a_page)));
    if (out != "-") std::printf("%s\n", out.c_str());
    return 0;
}

extern const Command explain_command;
const Command explain_command = {
    "explain", "what each token of a step was given, on one HTML page: explain RUN step=N",
    cmd_explain, [](Fields& fields) {
        static ExplainConfig config;
        config.visit(fields);
    }};
