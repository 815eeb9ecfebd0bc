// The LM head's backward pass from logits that its forward pass left, and from logits computed again.

#include "model/heads.h"
#include "model/hf.h"
#include "train/step.h"

#include "testing.h"

#include <cstring>

namespace {

struct Heads {
    std::unique_ptr<Model> model = load_model("tests/golden/models/qwen2", {}, false);
    Trainer trainer{*model, 16, 1};
    const ListedTokens tokens = {{0, 2, 3, 5}, {4, 1, 7, 2}, 0.7};
    Logits logits;
    std::vector<double> logp, entropy;
    int head_products = 0; // forward products with the LM head that `backward` made

    void forward(int32_t last_id = 9) {
        HostBatch batch;
        const int32_t ids[] = {3, 1, 4, 1, 5, last_id};
        batch.add(ids, 6);
        ::forward(trainer.pass, batch);
        logits = token_logprob(trainer.pass, tokens, logp, &entropy);
    }
    std::string backward() {
        const Ops& ops = *model->ops;
        ops.fill_zero(trainer.flat_grads);
        begin_backward(trainer.pass);
        const std::vector<double> dlogp = {1, -2, 0.5, 3}, dentropy = {0.1, 0.2, -0.3, 0};
        static int* count;
        static Ops counted;
        static const Ops* plain;
        count = &head_products, head_products = 0, plain = &ops, counted = ops;
        counted.linear_forward = [](Tensor y, Tensor x, const Weight& w, Tensor bias) {
            ++*count;
            plain->linear_forward(y, x, w, bias);
        };
        model->ops = &counted;
        token_logprob_backward(trainer.pass, logits, dlogp, &dentropy, trainer.grads);
        model->ops = plain;
        ::backward(trainer.pass, trainer.grads);
        std::string bits(trainer.flat_grads.bytes(), '\0');
        ops.download(bits.data(), trainer.flat_grads);
        return bits;
    }
};

} // namespace

TEST(Heads, KeptLogitsGiveTheBitsOfNewOnes) {
    Heads heads;
    heads.forward();
    const std::string kept = heads.backward();
    EXPECT_EQ(heads.head_products, 0);
    const std::string again = heads.backward(); // the gradient has overwritten them
    EXPECT_EQ(heads.head_products, 1);
    EXPECT_TRUE(kept == again);
}

TEST(Heads, LogitsOfSomethingElseAreNotUsed) {
    Heads heads;
    heads.forward();
    const std::string want = heads.backward();
    heads.forward();
    std::vector<double> logit;
    ListedTokens other = heads.tokens;
    other.target[0] = 5;
    token_logit(heads.trainer.pass, other, logit); // temperature 1
    EXPECT_TRUE(heads.backward() == want);
    EXPECT_EQ(heads.head_products, 1);
    heads.forward();
    other.temperature = 1;
    token_logprob(heads.trainer.pass, other, logit, nullptr);
    EXPECT_TRUE(heads.backward() == want);
    EXPECT_EQ(heads.head_products, 1);
    heads.forward(8);
    EXPECT_TRUE(heads.backward() != want);
}
