#include "app/rl_roles.h"

#include "base/bytes.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

static int most_prompts(const RlConfig& config) {
    const bool more = config.train.max_rounds > 1 && config.dist.oversample > 1;
    return config.train.prompts_per_step * (more ? 10 : 1);
}

static size_t bytes_of_group(const RlConfig& config) {
    return (size_t)config.sample.n *
           (sizeof(bool) + sizeof(int64_t) + sizeof(int32_t) * config.sample.max_new_tokens);
}

static RoleLayout first_layout(const RlConfig& config, int ranks) {
    if (config.dist.placement == "fluid") return {Placement::fluid, 0, 0};
    if (config.dist.placement != "split") return {};
    const int generate = config.dist.generate_ranks > 0 ? config.dist.generate_ranks : ranks / 2;
    CHECK(generate < ranks,
          "dist.generate_ranks=%d of %d ranks leaves none to judge; set it to 1 .. %d", generate,
          ranks, ranks - 1);
    return {Placement::split, generate, 0};
}

LearnerRoles::LearnerRoles(const RlConfig& config, const Collectives& ranks_, int texts,
                           const LengthHistogram& expected)
    : ranks(ranks_), decides(config.dist.placement == "auto"), slots(config.sample.batch),
      roles(ranks, most_prompts(config), bytes_of_group(config)) {
    chooser.layout = first_layout(config, ranks.ranks);
    demand.ranks = ranks.ranks, demand.answers = config.sample.n, demand.texts = texts;
    demand.target = config.train.prompts_per_step;
    demand.oversample = config.dist.oversample, demand.max_waves = config.train.max_rounds;
    if (!decides) return;
    // Nothing was measured yet: ordinary costs, and texts of which the limits are known. All ranks hold
    // both models.
    Measured before;
    before.costs.slots = slots;
    before.answer = any_length_up_to(config.sample.max_new_tokens), before.judge = expected;
    const Decision decision = chooser.begin(before, demand);
    check_same(ranks, decision);
    told = {
        {"began",
         {{"expected", before.json()}, {"demand", demand.json()}, {"decision", decision.json()}}}};
}

void LearnerRoles::begin() {
    own = {}, own_spent = {};
    layout = chooser.layout, predicted = chooser.predicted;
}

std::vector<Completion> LearnerRoles::draw(Model& policy,
                                           const std::vector<std::vector<int32_t>>& prompts,
                                           const SampleConfig& sample, uint32_t step,
                                           GenerateStats& stats, Timeline& timeline,
                                           const JudgeGroup& judge) {
    std::vector<int> order(prompts.size()); // ticket -> prompt, the longest first
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(),
                     [&](int a, int b) { return prompts[a].size() > prompts[b].size(); });
    std::vector<Completion> drawn;
    RoleWork work;
    work.most_at_once = std::max(1, slots / sample.n);
    work.generate = [&](const std::vector<int>& tickets, const RoleWork::Whole& whole) {
        std::vector<int> which;
        std::map<int, int> ticket_of;
        std::map<int, std::vector<const Completion*>> parts;
        for (int ticket : tickets) {
            which.push_back(order[ticket]);
            ticket_of[order[ticket]] = ticket;
        }
        auto ended = [&](const Completion& out) {
            std::vector<const Completion*>& group = parts[out.prompt];
            group.push_back(&out);
            if ((int)group.size() < sample.n) return;
            std::sort(group.begin(), group.end(), [](const Completion* a, const Completion* b) {
                return a->sample < b->sample;
            });
            ByteWriter message;
            for (const Completion* each : group)
                message.put(each->finished), message.put(each->ids);
            whole(ticket_of[out.prompt], message.bytes);
        };
        auto token = [&](const Completion&) {
            roles.progress();
            return true;
        };
        for (Completion& out :
             generate_some(policy, prompts, which, sample, step, stats, ended, token))
            drawn.push_back(std::move(out));
    };
    if (judge)
        work.judge = [&](const std::vector<Wave::Taken>& groups) {
            for (const Wave::Taken& taken : groups) {
                std::vector<AnswerTokens> answers;
                for (ByteReader reader{taken.message}; reader.more();) {
                    AnswerTokens& answer = answers.emplace_back();
                    reader.get(answer.finished), reader.get(answer.ids);
                }
                judge(order[taken.group], answers);
            }
        };
    add(own_spent, roles.play(layout, (int)prompts.size(), work, timeline));
    for (const Completion& out : drawn) own.answer.add(std::max(1, (int)out.ids.size()));
    own.generate.rounds += (double)stats.rounds, own.generate.tokens += (double)stats.new_tokens;
    own.generate.seconds += stats.decode_seconds;
    own.prompt_seconds += stats.prefill_seconds, own.prompt_tokens += (double)stats.prompt_tokens;
    return share_completions(ranks, drawn, (int64_t)prompts.size(), sample.n, stats);
}

void LearnerRoles::judged(const GenerateStats& work) {
    own.judge.rounds += (double)work.rounds, own.judge.tokens += (double)work.new_tokens;
    own.judge.seconds += work.decode_seconds;
    own.judge_prompt_seconds += work.prefill_seconds;
    own.judge_prompt_tokens += (double)work.prompt_tokens;
}

void LearnerRoles::end(int prompt_tokens, double valid_share, double valid_lately) {
    experiences.add(ranks, own);
    ByteWriter message;
    message.put(own_spent);
    spent = {};
    for (const std::string& bytes : ranks.gather(ranks, message.bytes)) {
        Spent one;
        ByteReader{bytes}.get(one);
        add(spent, one);
    }
    if (!decides) return;
    Measured measured = experiences.measured();
    measured.costs.slots = slots, measured.valid_share = valid_share,
    measured.valid_lately = valid_lately;
    demand.prompt_tokens = prompt_tokens;
    if (told.contains("decision")) told = Json::object();
    told["chooser"] = chooser.state(), told["measured"] = measured.json();
    told["demand"] = demand.json(), told["seconds"] = experiences.seconds();
    const Decision decision = chooser.decide(measured, demand, experiences.seconds());
    check_same(ranks, decision);
    told["decision"] = decision.json();
}
