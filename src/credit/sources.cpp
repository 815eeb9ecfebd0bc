#include "credit/sources.h"

#include "credit/capo.h"
#include "credit/drm.h"
#include "credit/oracle.h"

#include <map>

// ---- raw scores ---------------------------------------------------------------------------------

static Channel token_channel(const std::string& name) { return {name, Level::token, {}, {}, {}}; }

static Channel checked(const std::string& name, const Completions& batch) {
    return {name, Level::completion, batch.checked, {}, {}};
}

static std::vector<Channel> ask_rule(const SourceConfig& source, const Completions& batch,
                                     const Said&) {
    return {checked(source.name, batch)};
}

static std::vector<Channel> ask_oracle(const SourceConfig& source, const Completions& batch,
                                       const Said&) {
    Channel channel = token_channel(source.name);
    for (size_t i = 0; i < batch.texts.size(); ++i) {
        const size_t length = batch.texts[i].ids.size() - (size_t)batch.texts[i].first;
        std::vector<double> x = step_labels(batch.steps((int)i), length);
        channel.values.insert(channel.values.end(), x.begin(), x.end());
    }
    return {channel};
}

static std::vector<Channel> ask_tokens(const SourceConfig& source, const Completions&,
                                       const Said& said) {
    Channel channel = token_channel(source.name);
    for (const std::vector<double>& x : said.scores)
        channel.values.insert(channel.values.end(), x.begin(), x.end());
    return {channel};
}

static std::vector<Channel> ask_steps(const SourceConfig& source, const Completions& batch,
                                      const Said& said) {
    Channel channel = token_channel(source.name);
    for (size_t i = 0; i < said.scores.size(); ++i) {
        std::vector<double> x = spread_steps(said.scores[i], batch.steps((int)i));
        channel.values.insert(channel.values.end(), x.begin(), x.end());
    }
    return {channel};
}

using StepsOf = std::function<std::vector<StepSpan>(int i)>;

static std::vector<Judgement> exact_judgements(const SourceConfig& source, const Completions& batch,
                                               const StepsOf& steps) {
    std::vector<Judgement> judged;
    for (const std::vector<StepSpan>& of_text : judge_steps(batch, steps, source.judge)) {
        judged.emplace_back();
        for (const StepSpan& step : of_text) {
            judged.back().end.push_back(step.end);
            judged.back().wrong.push_back(!step.right);
        }
    }
    return judged;
}

// What the judge said, or the exact program in its place.
static std::vector<Judgement> judgements(const SourceConfig& source, const Completions& batch,
                                         const StepsOf& steps, const Said& said) {
    std::vector<Judgement> judged =
        said.judged.empty() ? exact_judgements(source, batch, steps) : said.judged;
    for (size_t i = 0; i < batch.asked.size(); ++i) judged[i].asked = batch.asked[i] != 0;
    return judged;
}

// The judge's penalty per token, beside what the task's rule says.
static std::vector<Channel> ask_capo(const SourceConfig& source, const Completions& batch,
                                     const Said& said) {
    Channel penalty = token_channel(source.name);
    const std::vector<Judgement> all = judgements(source, batch, batch.steps, said);
    for (size_t i = 0; i < all.size(); ++i) {
        const Judgement& judged = all[i];
        std::vector<double> x(batch.length(i));
        for (size_t s = 0, t = 0; s < judged.end.size(); ++s)
            for (; t < (size_t)judged.end[s]; ++t) x[t] = judged.wrong[s];
        penalty.values.insert(penalty.values.end(), x.begin(), x.end());
        // Without a vote no step is wrong: the rule alone pays, unless told otherwise.
        penalty.valid.push_back(judged.asked && (judged.valid || source.without_vote == "outcome"));
    }
    return {penalty, checked("rule", batch)};
}

static std::vector<Channel> ask_trm(const SourceConfig& source, const Completions& batch,
                                    const Said& said) {
    Channel channel{source.name, Level::segment, {}, {}, {}};
    for (const Judgement& judged : judgements(source, batch, batch.sentences, said)) {
        for (size_t s = 0; s < judged.end.size(); ++s) {
            channel.values.push_back(1 - judged.wrong[s]);
            channel.segments.end.push_back(judged.end[s]);
        }
        channel.segments.first.push_back((int64_t)channel.values.size());
        channel.valid.push_back(judged.asked && judged.valid);
    }
    return {channel};
}

static std::vector<Channel> ask_fields(const SourceConfig& source, const Completions& batch,
                                       const Said&) {
    Channel channel{source.name, Level::segment, {}, {}, {}};
    for (size_t i = 0; i < batch.texts.size(); ++i) {
        for (const FieldScore& field : batch.fields((int)i)) {
            channel.values.push_back(field.score);
            channel.segments.end.push_back(field.end);
        }
        channel.segments.first.push_back((int64_t)channel.values.size());
    }
    return {channel};
}

// An output that cannot be read is one segment worth `unparsable`, or a failure where that says
// skip.
static std::vector<Channel> ask_trm_labels(const SourceConfig& source, const Completions& batch,
                                           const Said&) {
    Channel channel{source.name, Level::segment, {}, {}, {}};
    for (size_t i = 0; i < batch.texts.size(); ++i) {
        const auto verdicts = batch.verdicts((int)i);
        const bool failed = !verdicts && source.unparsable.is_string();
        channel.valid.push_back(!failed);
        if (verdicts) {
            for (const LabelledVerdict& each : *verdicts) {
                channel.values.push_back(trm_label_reward(each, source.alpha, source.bonus));
                channel.segments.end.push_back(each.end);
            }
        } else if (!failed) {
            const Json& worth = source.unparsable;
            channel.values.push_back(worth.is_null() ? -0.5 : worth.get<double>());
            channel.segments.end.push_back((int)batch.length(i));
        }
        channel.segments.first.push_back((int64_t)channel.values.size());
    }
    return {channel};
}

// A model's score of a completion comes as p already, as it has to be compared with the anchor's.
static std::vector<Channel> ask_preference(const SourceConfig& source, const Completions& batch,
                                           const Said& said) {
    Channel channel{source.name, Level::completion, batch.useful, {}, {}};
    if (said.scores.empty()) return {channel};
    channel.values.clear();
    for (const std::vector<double>& p : said.scores) channel.values.push_back(p.at(0));
    return {channel};
}

// ---- formulas -----------------------------------------------------------------------------------

static std::vector<RawScore> rule_reads(const SourceConfig& source) {
    RawScore raw{source.name};
    raw.checker = true;
    return {raw};
}

static std::vector<RawScore> capo_reads(const SourceConfig& source) {
    RawScore rule{"rule"};
    rule.checker = true;
    return {{source.name, Level::token, 0, 1}, rule};
}

static Channel capo_channel(const SourceConfig& source, const std::vector<Channel>& raw,
                            const Layout& layout) {
    const Channel &penalty = raw[0], &rule = raw[1];
    Channel channel = token_channel(source.name);
    channel.values.assign(layout.tokens(), 0);
    channel.valid.assign(layout.completions(), 1);
    for (int i = 0; i < layout.completions(); ++i) {
        channel.valid[i] = !penalty.failed(i) && !rule.failed(i);
        for (int64_t n = layout.offset[i]; channel.valid[i] && n < layout.offset[i + 1]; ++n)
            channel.values[n] =
                capo_reward(rule.values[i], penalty.values[n], source.w_whole, source.w_process);
    }
    return channel;
}

// The dimensions that count, with their weights.
static std::vector<std::pair<std::string, double>> dimensions_of(const SourceConfig& source) {
    std::vector<std::pair<std::string, double>> list;
    for (auto [name, weight] : {std::pair{"_confidence", source.confidence.weight},
                                {"_relevance", source.relevance.weight},
                                {"_coherence", source.coherence.weight}})
        if (weight != 0) list.push_back({source.name + name, weight});
    return list;
}

static std::vector<RawScore> drm_reads(const SourceConfig& source) {
    std::vector<RawScore> list = {
        {source.name}}; // their sum, for the reader: says malformed from failed
    list[0].optional = true;
    for (const auto& [name, weight] : dimensions_of(source)) list.push_back({name});
    return list;
}

// A malformed completion has no parts and a number in NAME; one that the judge failed on has
// neither.
static WellFormed drm_form(const SourceConfig& source, const std::vector<Channel>& raw,
                           const Layout& layout, int i) {
    size_t missing = 0;
    for (size_t k = 1; k < raw.size(); ++k) missing += raw[k].failed(i);
    if (missing == 0) return WellFormed::yes;
    CHECK(missing == raw.size() - 1,
          "%s: %s has some of its dimensions and lacks others; a malformed completion and a failed "
          "judge have none",
          layout.name(i).c_str(), source.where().c_str());
    CHECK(!raw[0].values.empty(),
          "%s: %s has no dimensions, and the row no scores.%s: a number there says that the "
          "completion is malformed, null that the judge failed",
          layout.name(i).c_str(), source.where().c_str(), source.name.c_str());
    return raw[0].failed(i) ? WellFormed::judge_failed : WellFormed::no;
}

static Channel drm_channel(const SourceConfig& source, const std::vector<Channel>& raw,
                           const Layout& layout) {
    const auto names = dimensions_of(source);
    CHECK(!names.empty(), "%s: all three dimensions have weight 0; nothing is scored",
          source.where().c_str());
    std::vector<DrmDimension> dimensions;
    for (size_t k = 0; k < names.size(); ++k)
        dimensions.push_back({names[k].second, raw[k + 1].values});
    std::vector<WellFormed> form;
    Channel channel{source.name, Level::completion, {}, {}, {}};
    for (int i = 0; i < layout.completions(); ++i) {
        form.push_back(drm_form(source, raw, layout, i));
        channel.valid.push_back(form.back() != WellFormed::judge_failed);
    }
    channel.values =
        drm_scores(dimensions, form, layout, source.normalise, source.std_floor, source.malformed);
    return channel;
}

// The parts, and their sum for the reader.
static std::vector<Channel> ask_drm(const SourceConfig& source, const Completions& batch,
                                    const Said&) {
    std::vector<Channel> raw = {{source.name, Level::completion, {}, {}, {}}};
    for (const auto& [name, weight] : dimensions_of(source))
        raw.push_back({name, Level::completion, {}, {}, {}});
    std::vector<int64_t> offset = {0};
    std::vector<int> group;
    const auto reasoned = batch.reasoned(source);
    for (size_t i = 0; i < reasoned.size(); ++i) {
        const std::span<const double> logp =
            std::span(batch.logp).subspan((size_t)offset.back(), batch.length(i));
        offset.push_back(offset.back() + (int64_t)batch.length(i));
        group.push_back(batch.texts[i].group);
        raw[0].values.push_back(source.malformed), raw[0].valid.push_back(1);
        for (size_t k = 1; k < raw.size(); ++k) {
            const std::string dimension = raw[k].name.substr(source.name.size());
            double score = 0;
            if (reasoned[i] && dimension == "_confidence")
                score = drm_confidence(logp.first((size_t)reasoned[i]->reasoning_end),
                                       logp.subspan((size_t)reasoned[i]->answer_begin));
            if (reasoned[i] && dimension == "_relevance")
                score = drm_relevance(*reasoned[i], source.relevance.terms);
            if (reasoned[i] && dimension == "_coherence") score = reasoned[i]->coherence;
            raw[k].values.push_back(score), raw[k].valid.push_back(reasoned[i].has_value());
        }
    }
    raw[0].values = drm_channel(source, raw, {offset, group}).values;
    return raw;
}

// ---- keys ---------------------------------------------------------------------------------------

static void model_keys(SourceConfig& source, Fields& v) {
    v.field("model", source.model, "directory of the reward model, or of its run");
}

static void ratio_keys(SourceConfig& source, Fields& v) {
    model_keys(source, v);
    v.field("reference", source.reference,
            "the model that its log-ratio is taken to; empty: the policy's start");
}

static void judge_keys(SourceConfig& source, Fields& v) {
    v.field("model", source.model,
            "the judge: a directory, or oracle, an exact program, where the task has one");
    source.judge.visit(v);
    source.judge.visit_oracle(v);
}

static void capo_keys(SourceConfig& source, Fields& v) {
    v.choice("unparsable", source.without_vote, {"outcome", "skip"},
             "an answer of which no critique can be read; outcome: no step is wrong, the rule "
             "alone pays; skip: the source has failed on it");
    v.field("w_whole", source.w_whole, -1e6, 1e6, "of what the task's rule says");
    v.field("w_process", source.w_process, -1e6, 1e6, "of the penalty of a wrong step's tokens");
    judge_keys(source, v);
}

static void drm_keys(SourceConfig& source, Fields& v) {
    v.object("confidence", source.confidence, "log-probability of reasoning and answer");
    v.object("relevance", source.relevance, "a reranker's scores");
    v.object("coherence", source.coherence, "an outcome reward model's score of the reasoning");
    v.field("malformed", source.malformed, -1e6, 1e6, "S of a completion without reasoning");
}

static void trm_keys(SourceConfig& source, Fields& v) {
    v.choice("read_out", source.read_out, {"verdict", "probability"},
             "c as it was generated, or p(c = 1)");
    v.json("unparsable", source.unparsable, "skip: a judge that cannot be read has failed");
    judge_keys(source, v);
}

static void trm_labels_keys(SourceConfig& source, Fields& v) {
    v.field("alpha", source.alpha, 0, 1,
            "weight of a right faithfulness, 1 - alpha of a right verdict");
    v.field("bonus", source.bonus, 0, 1e6, "for a wrong sentence that was found");
    v.json("unparsable", source.unparsable, "reward of an output that cannot be read, or skip");
}

static void preference_keys(SourceConfig& source, Fields& v) {
    model_keys(source, v);
    v.json("judge", source.judge_model, "the same as model");
    v.json("anchor", source.anchor, "the answer that p is the probability of beating");
}

// ---- the table ----------------------------------------------------------------------------------

std::span<const Source> source_table() {
    using Asks = Source::Asks;
    constexpr Normalise as_is = Normalise::none;
    static const Source rows[] = {
        {.name = "rule", .level = Level::completion, .ask = ask_rule, .reads = rule_reads},
        {.name = "oracle", .checks_steps = true, .ask = ask_oracle},
        {.name = "fields",
         .level = Level::segment,
         .token_normalise = as_is,
         .checks_steps = true,
         .ask = ask_fields},
        {.name = "orm",
         .pool = Pool::last,
         .asks = Asks::model,
         .keys = model_keys,
         .ask = ask_tokens},
        {.name = "prm", .asks = Asks::model, .keys = model_keys, .ask = ask_steps},
        {.name = "qrm", .asks = Asks::model, .keys = model_keys, .ask = ask_tokens},
        {.name = "pgtg", .asks = Asks::model, .keys = model_keys, .ask = ask_tokens},
        {.name = "dpo_rm",
         .asks = Asks::model,
         .log_ratio = true,
         .keys = ratio_keys,
         .ask = ask_tokens},
        {.name = "implicit_prm",
         .asks = Asks::model,
         .log_ratio = true,
         .keys = ratio_keys,
         .ask = ask_tokens},
        {.name = "self", .asks = Asks::policy, .keys = model_keys, .ask = ask_tokens},
        {.name = "capo",
         .token_normalise = as_is,
         .asks = Asks::judge,
         .writes = true,
         .keys = capo_keys,
         .ask = ask_capo,
         .reads = capo_reads,
         .formula = capo_channel},
        {.name = "drm",
         .level = Level::completion,
         .token_normalise = as_is,
         .asks = Asks::judge,
         .normalises = true,
         .keys = drm_keys,
         .ask = ask_drm,
         .reads = drm_reads,
         .formula = drm_channel},
        {.name = "trm",
         .level = Level::segment,
         .token_normalise = as_is,
         .asks = Asks::judge,
         .writes = true,
         .keys = trm_keys,
         .ask = ask_trm},
        {.name = "trm_labels",
         .level = Level::segment,
         .token_normalise = as_is,
         .asks = Asks::judge,
         .keys = trm_labels_keys,
         .ask = ask_trm_labels},
        {.name = "preference",
         .level = Level::completion,
         .token_normalise = as_is,
         .asks = Asks::judge,
         .keys = preference_keys,
         .ask = ask_preference},
    };
    return rows;
}

std::vector<std::string> source_names() {
    std::vector<std::string> names;
    for (const Source& row : source_table()) names.push_back(row.name);
    return names;
}

const Source& find_source(const std::string& name) {
    for (const Source& row : source_table())
        if (name == row.name) return row;
    std::string list;
    for (const std::string& each : source_names()) list += (list.empty() ? "" : ", ") + each;
    fail("the credit source \"%s\" is not known; the nearest is \"%s\". The sources: %s",
         name.c_str(), nearest_name(name, source_names()).c_str(), list.c_str());
}

std::string sources_with(bool Source::*property) {
    std::string list;
    for (const Source& row : source_table())
        if (row.*property) list += (list.empty() ? "" : ", ") + std::string(row.name);
    return list;
}

// ---- all sources of a list ----------------------------------------------------------------------

std::vector<RawScore> raw_scores_of(const SourceConfig& source) {
    const Source& row = source.row();
    if (row.reads) return row.reads(source);
    RawScore one{source.name, row.level};
    one.or_number = source.pool != Pool::none;
    return {one};
}

std::vector<Channel> ask_sources(const std::vector<SourceConfig>& sources,
                                 const std::vector<std::shared_ptr<const Scorer>>& scorers,
                                 const std::vector<std::vector<Judgement>>& judged,
                                 const Completions& batch) {
    std::map<const Scorer*, TokenScores> answers;
    std::vector<Channel> raw;
    for (size_t k = 0; k < sources.size(); ++k) {
        const Source& row = sources[k].row();
        Said said;
        if (const Scorer* scorer = scorers[k].get()) {
            if (!answers.count(scorer)) answers[scorer] = (*scorer)(batch.texts);
            said.scores = answers[scorer];
        }
        said.judged = judged[k];
        for (Channel& channel : row.ask(sources[k], batch, said)) {
            bool known = false; // what the task's rule says may be asked for twice
            for (const Channel& other : raw) known |= other.name == channel.name;
            if (!known) raw.push_back(std::move(channel));
        }
    }
    return raw;
}

static Channel channel_of(const SourceConfig& source, const std::vector<Channel>& raw,
                          const Layout& layout) {
    std::vector<Channel> read;
    for (const RawScore& wanted : raw_scores_of(source)) {
        const Channel* found = nullptr;
        for (const Channel& channel : raw)
            if (channel.name == wanted.name) found = &channel;
        CHECK(found || wanted.optional, "%s: there is no score \"%s\"", source.where().c_str(),
              wanted.name.c_str());
        read.push_back(found ? *found : Channel{wanted.name, wanted.level, {}, {}, {}});
    }
    return source.row().formula ? source.row().formula(source, read, layout) : read[0];
}

std::vector<Channel> channels_of(const std::vector<SourceConfig>& sources,
                                 const std::vector<Channel>& raw, const Layout& layout) {
    std::vector<Channel> channels;
    for (const SourceConfig& source : sources)
        channels.push_back(source.counts() ? channel_of(source, raw, layout) : Channel{});
    return channels;
}
