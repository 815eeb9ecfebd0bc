#include "app/builtin.h"
#include "base/file.h"
#include "model/hf.h"
#include "text/tokenizer.h"

#include "testing.h"

TEST(Builtin, IsAnOrdinaryModelDirectory) {
    std::string directory = testing::TempDir() + "builtin_model";
    remove_tree(directory);
    write_builtin_model(directory, BuiltinSettings(), 1);
    auto model = load_model(directory, ComputeConfig(), false);
    EXPECT_EQ(model->config.family, "llama");
    EXPECT_EQ(model->config.C, 64);
    EXPECT_EQ(model->config.rope_theta, 1000);
    EXPECT_FALSE(model->config.tied_embeddings);
    EXPECT_EQ(model->config.eos, std::vector<int>{13});
    EXPECT_EQ(parameter_count(model->config), 143808); // the pilot's
    EXPECT_EQ(Tokenizer::load(directory)->vocabulary(), model->config.V);
    remove_tree(directory);
}

TEST(Builtin, WeightsDependOnTheSeedAlone) {
    std::string paths[3];
    for (int i = 0; i < 3; ++i) {
        paths[i] = testing::TempDir() + "builtin_" + std::to_string(i);
        remove_tree(paths[i]);
        write_builtin_model(paths[i], BuiltinSettings(), i / 2);
    }
    auto weights = [&](int i) { return read_file(join_path(paths[i], "model.safetensors")); };
    EXPECT_EQ(weights(0), weights(1));
    EXPECT_NE(weights(0), weights(2));
    for (const std::string& path : paths) remove_tree(path);
}

TEST(Builtin, HeadsMustDivideTheChannels) {
    BuiltinSettings settings;
    settings.heads = 5;
    EXPECT_THROW(builtin_config(settings), Error);
}
