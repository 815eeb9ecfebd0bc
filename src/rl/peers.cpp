// What other trainers mean when they say "GRPO", as presets: the same stored rollouts give the
// numbers that the peer's code would give. Read in their source (mid-2026). All use R - group mean.
//
//   preset           divisor           eps    loss average         clip  KL
//   trl              unbiased std      1e-4   tokens of the batch  0.2   off          ("dapo")
//   trl_dr_grpo      unbiased std      1e-4   I * L_max            0.2   off          keeps the std
//   verl             unbiased std      1e-6   tokens of the batch  0.2   off
//   openrlhf         unbiased std      1e-9   tokens of the batch  0.2   k1 0.01, in each token's reward,
//                                                                      after the division
//   openrlhf_dr_grpo none              -      tokens of the batch  0.2   as openrlhf; token mean kept
//   grpo_zero        population std    1e-4   tokens of the batch  none  none         no ratio
//   tiny_grpo        unbiased std      1e-8   per sequence         0.2   k3 0.01, loss
//   simple_grpo      unbiased std      1e-4   per sequence         0.2   k3 0.04, loss
//   nano_aha_moment  population std    1e-4   tokens of the batch  none  k3 0.001, loss no ratio
//   nanochat         none              -      tokens of the prompt none  none         no ratio
//
// Departures from the peers: their accidents are not reproduced. A prompt with one completion or
// equal rewards has A = 0 (verl takes A = R for a group of one); EOS has a gradient (not in
// tiny-grpo, whose padding is EOS); nano-aha-moment divides by the tokens of its rank, here by the
// step's. simple_GRPO drops prompts with equal rewards: add select.drop_zero=true. surogate's
// asynchronous loss, masked by the ratio to the sampler, has no preset.
#include "rl/policy_terms.h"

static void group_std(AlgoConfig& algo, Std std, double eps) {
    algo.advantage.std = std;
    algo.advantage.std_eps = eps;
}

static void k3(AlgoConfig& algo, double coef) {
    algo.kl = Kl::k3;
    algo.kl_coef = coef;
}

static void trl(AlgoConfig& algo) { group_std(algo, Std::unbiased, 1e-4); }

static void trl_dr_grpo(AlgoConfig& algo) {
    trl(algo);
    algo.aggregation = Aggregation::seq_mean_token_sum_norm;
}

static void verl(AlgoConfig& algo) { group_std(algo, Std::unbiased, 1e-6); }

static void openrlhf_dr_grpo(AlgoConfig& algo) {
    algo.advantage.estimator = Estimator::reward_to_go;
    algo.kl = Kl::k1;
    algo.kl_in = KlIn::reward;
    algo.kl_coef = 0.01;
}

static void openrlhf(AlgoConfig& algo) {
    openrlhf_dr_grpo(algo);
    group_std(algo, Std::unbiased, 1e-9);
}

static void grpo_zero(AlgoConfig& algo) { group_std(algo, Std::population, 1e-4); }

static void tiny_grpo(AlgoConfig& algo) {
    group_std(algo, Std::unbiased, 1e-8);
    algo.aggregation = Aggregation::seq_mean_token_mean;
    k3(algo, 0.01);
}

static void simple_grpo(AlgoConfig& algo) {
    group_std(algo, Std::unbiased, 1e-4);
    algo.aggregation = Aggregation::seq_mean_token_mean;
    k3(algo, 0.04);
}

static void nano_aha_moment(AlgoConfig& algo) {
    group_std(algo, Std::population, 1e-4);
    k3(algo, 0.001);
}

static void nanochat(AlgoConfig& algo) { algo.aggregation = Aggregation::group_mean_token_mean; }

std::vector<Algorithm> peers() {
    return {
        {.name = "trl",
         .summary = "GRPO as TRL's default",
         .preset = trl,
         .policy = clipped_tokens},
        {.name = "trl_dr_grpo",
         .summary = "what TRL calls dr_grpo",
         .preset = trl_dr_grpo,
         .policy = clipped_tokens},
        {.name = "verl",
         .summary = "GRPO as verl's default",
         .preset = verl,
         .policy = clipped_tokens},
        {.name = "openrlhf",
         .summary = "GRPO as OpenRLHF's default",
         .preset = openrlhf,
         .policy = clipped_tokens},
        {.name = "openrlhf_dr_grpo",
         .summary = "what OpenRLHF calls dr_grpo",
         .preset = openrlhf_dr_grpo,
         .policy = clipped_tokens},
        {.name = "grpo_zero",
         .summary = "GRPO of GRPO-Zero",
         .preset = grpo_zero,
         .policy = scores},
        {.name = "tiny_grpo",
         .summary = "GRPO of tiny-grpo",
         .preset = tiny_grpo,
         .policy = clipped_tokens},
        {.name = "simple_grpo",
         .summary = "GRPO of simple_GRPO",
         .preset = simple_grpo,
         .policy = clipped_tokens},
        {.name = "nano_aha_moment",
         .summary = "GRPO of nano-aha-moment",
         .preset = nano_aha_moment,
         .policy = scores},
        {.name = "nanochat", .summary = "GRPO of nanochat", .preset = nanochat, .policy = scores},
    };
}
