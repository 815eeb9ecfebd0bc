#include "app/builtin.h"

#include "base/file.h"
#include "model/hf.h"
#include "task/arithmetic.h"

ModelConfig builtin_config(const BuiltinSettings& settings) {
    CHECK(settings.channels % (2 * settings.heads) == 0,
          "model.channels = %d must be a multiple of 2 * model.heads = %d: every head has the same "
          "even width",
          settings.channels, 2 * settings.heads);
    ModelConfig config;
    config.L = settings.layers, config.C = settings.channels, config.F = settings.feed_forward;
    config.H = config.K = settings.heads, config.D = settings.channels / settings.heads;
    config.V = arithmetic::vocabulary;
    config.rope_theta = settings.rope_theta;
    config.max_positions = settings.max_positions;
    config.bos = arithmetic::bos, config.pad = arithmetic::pad, config.eos = {arithmetic::eos};
    return config;
}

void write_builtin_model(const std::string& directory, const BuiltinSettings& settings,
                         uint64_t seed) {
    AtomicDirectory written(directory);
    auto file = [&](const char* name) { return join_path(written.temporary, name); };
    write_file(file("tokenizer.json"), arithmetic::tokenizer_json());
    write_file(file("tokenizer_config.json"), arithmetic::tokenizer_config_json());
    std::unique_ptr<Model> model = make_model(builtin_config(settings), ComputeConfig(), false);
    init_params(model->params, model->config, *model->ops, seed);
    model->source = written.temporary; // where the tokenizer is
    write_model(*model, written.temporary, "f32");
    written.commit();
}
