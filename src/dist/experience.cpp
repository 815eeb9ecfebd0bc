#include "dist/experience.h"

#include "base/bytes.h"

#include <algorithm>

void Experiences::add(const Collectives& ranks, const Experience& own) {
    std::vector<Experience> all = {own};
    if (ranks.share_work()) {
        all.clear();
        ByteWriter message;
        message.put(own);
        for (const std::string& bytes : ranks.gather(ranks, message.bytes)) {
            ByteReader reader{bytes};
            reader.get(all.emplace_back());
        }
    }
    last.push_back(std::move(all));
    if ((int)last.size() > iterations) last.pop_front();
}

Measured Experiences::measured() const {
    Measured measured;
    std::vector<DecodeSample> generate, judge;
    Experience sum;
    for (const std::vector<Experience>& iteration : last)
        for (const Experience& own : iteration) {
            if (own.generate.rounds > 0) generate.push_back(own.generate);
            if (own.judge.rounds > 0) judge.push_back(own.judge);
            sum.prompt_seconds += own.prompt_seconds, sum.prompt_tokens += own.prompt_tokens;
            sum.judge_prompt_seconds += own.judge_prompt_seconds;
            sum.judge_prompt_tokens += own.judge_prompt_tokens;
            sum.swap_seconds += own.swap_seconds, sum.swaps += own.swaps;
            sum.train_seconds += own.train_seconds, sum.train_tokens += own.train_tokens;
            measured.answer.add(own.answer);
            measured.judge.add(own.judge_text);
        }
    auto each = [](double seconds, double count) { return count > 0 ? seconds / count : 0; };
    Costs& costs = measured.costs;
    costs.generate = fit_decode(generate), costs.judge = fit_decode(judge);
    costs.generate.prompt_token = each(sum.prompt_seconds, sum.prompt_tokens);
    costs.judge.prompt_token = each(sum.judge_prompt_seconds, sum.judge_prompt_tokens);
    costs.swap = each(sum.swap_seconds, sum.swaps);
    costs.train_token = each(sum.train_seconds, sum.train_tokens);
    return measured;
}

double Experiences::seconds() const {
    double most = 0;
    for (const Experience& own : last.back()) most = std::max(most, own.seconds);
    return most;
}

void check_same(const Collectives& ranks, const Decision& decision) {
    if (!ranks.share_work()) return;
    const std::string own =
        format("%016llx: %s", (unsigned long long)decision.hash(), decision.layout.name().c_str());
    const std::vector<std::string> all = ranks.gather(ranks, own);
    for (size_t r = 0; r < all.size(); ++r)
        CHECK(all[r] == all[0], "rank %zu decides for %s, rank 0 for %s", r, all[r].c_str(),
              all[0].c_str());
}
