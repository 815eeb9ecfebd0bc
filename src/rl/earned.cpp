#include "rl/earned.h"

#include "credit/combine.h"
#include "credit/source_config.h"

Credit earned(const std::vector<SourceConfig>& sources, const std::vector<Channel>& raw,
              const Layout& layout, const AlgoConfig& algo) {
    const AdvantageConfig& advantage = algo.advantage;
    return combine(channels_of(sources, raw, layout), sources, layout,
                   {advantage.format_penalty, advantage.after_last_segment},
                   advantage.combine == Combine::normalise_of_sum);
}

void put_credit(Rollouts& r, Credit credit) {
    r.reward = std::move(credit.reward);
    r.credit = std::move(credit.token);
    r.segment_credit = std::move(credit.segment);
    r.segments = std::move(credit.segments);
    r.judged = std::move(credit.valid);
    r.parts = std::move(credit.parts);
}

// Error: a key that only segments read departs from the preset's, and there are none.
static void check_segment_keys(const AlgoConfig& algo, const std::vector<SourceConfig>& sources) {
    const AdvantageConfig &a = algo.advantage, usual = preset_algorithm(algo.preset).advantage;
    bool any = false, stay = false, segments = false;
    for (const SourceConfig& source : sources) {
        if (!source.counts()) continue;
        any |= source.row().level == Level::segment;
        stay |= source.row().level == Level::segment && source.pool == Pool::none;
        segments |= source.to == To::segments;
    }
    CHECK(any || a.format_penalty == usual.format_penalty,
          "algo.advantage.format_penalty = %g has no effect: no credit source gives segments; trm "
          "and trm_labels do",
          a.format_penalty);
    CHECK(stay || a.after_last_segment == usual.after_last_segment,
          "algo.advantage.after_last_segment has no effect: no credit source gives segments that "
          "are not pooled; trm and trm_labels do");
    CHECK(segments || a.segment_pool == usual.segment_pool,
          "algo.advantage.segment_pool has no effect: no credit source goes to the segments");
}

void check_credit(const AlgoConfig& algo, const std::vector<SourceConfig>& sources) {
    const AdvantageConfig& advantage = algo.advantage;
    bool tokens = false, segments = false;
    for (const SourceConfig& source : sources) {
        tokens |= source.counts() && source.to == To::tokens;
        segments |= source.counts() && source.to == To::segments;
    }
    CHECK(
        tokens || advantage.estimator != Estimator::token,
        "algo.advantage.estimator = token needs a credit source that goes to the tokens: one with "
        "\"to\": \"tokens\" in the list credit");
    CHECK(
        !segments || advantage.estimator == Estimator::outcome,
        "a credit source goes to the segments, which algo.advantage.estimator = %s has no use for; "
        "use estimator = outcome (grpo, rloo, ..), or \"to\": \"tokens\"",
        name_of(advantage.estimator));
    const bool sum = advantage.combine == Combine::sum_of_normalised;
    check_segment_keys(algo, sources);
    CHECK(advantage.baseline != Baseline::own || (!segments && !(tokens && sum)),
          "algo.advantage.baseline = own is of rewards of completions; it has no use for segments "
          "and tokens");
    if (sum) {
        CHECK(advantage.estimator == Estimator::outcome ||
                  advantage.estimator == Estimator::group_tokens,
              "algo.advantage.combine = sum_of_normalised has nothing to normalise each source by: "
              "algo.advantage.estimator = %s; it must be outcome or group_tokens",
              name_of(advantage.estimator));
        CHECK(
            (algo.kl == Kl::none || algo.kl_in == KlIn::loss) && algo.overlong_length == 0,
            "algo.advantage.combine = sum_of_normalised: a KL or an overlong penalty in the reward "
            "belongs to no source; set algo.kl_in = loss and algo.overlong_length = 0");
        return;
    }
    CHECK(!tokens || !segments,
          "one credit source goes to the tokens and one to the segments; algo.advantage.combine = "
          "normalise_of_sum adds what goes to the same place: send the segments to the tokens "
          "(\"to\": \"tokens\"), or use sum_of_normalised");
    CHECK(
        !tokens || advantage.credit_weight != 0,
        "a credit source goes to the tokens, but algo.preset = %s has no use for token credit "
        "(algo.advantage.credit_weight = 0); use reinforce_qrm, ppo_qrm or capo, or set estimator "
        "and credit_weight",
        algo.preset.c_str());
}
