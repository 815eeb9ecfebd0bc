#include "credit/source_config.h"

#include "credit/sources.h"

#include <map>
#include <set>

const Source& SourceConfig::row() const { return find_source(source); }
Level SourceConfig::goes_to() const {
    if (to == To::reward) return Level::completion;
    return to == To::tokens ? Level::token : Level::segment;
}
std::string SourceConfig::where() const { return "credit source \"" + name + "\""; }

static const char* const to_names[] = {"auto", "reward", "tokens", "segments"};
static const char* const normalise_names[] = {"auto", "none", "mean_std", "std", "group"};
static const char* const eos_names[] = {"own", "mean"};
const char* name_of(Normalise how) { return normalise_names[(int)how]; }

void ConfidenceKeys::visit(Fields& v) {
    v.field("weight", weight, -1e6, 1e6, "of the dimension; 0: it is not read");
    v.choice("reasoning", reasoning, {"mean"}, "over the reasoning's log-probabilities");
    v.choice("answer", answer, {"sum"}, "over the answer's log-probabilities");
}

void RelevanceKeys::visit(Fields& v) {
    v.field("weight", weight, -1e6, 1e6, "of the dimension; 0: it is not read");
    v.json("judge", judge, "directory of a reranker");
    v.field("terms", terms, "what the reasoning is compared with");
    v.choice("squash", squash, {"sigmoid"}, "of each term's logit");
}

void CoherenceKeys::visit(Fields& v) {
    v.field("weight", weight, -1e6, 1e6, "of the dimension; 0: it is not read");
    v.json("judge", judge, "directory of an outcome reward model");
}

static void visit_common(SourceConfig& source, Fields& v) {
    v.choice("source", source.source, source_names(), "who judges");
    v.field("name", source.name, "of its channel; empty: the source's");
    v.field("weight", source.weight, -1e6, 1e6, "factor; 0: it is not read");
    v.choice("to", source.to, to_names,
             "reward of the completion, credit of its tokens or of its segments");
    v.choice("normalise", source.normalise, normalise_names,
             "before the weight, over the batch, or over the prompt's completions (group)");
    v.field("std_floor", source.std_floor, -1, 1e9,
            "normalise=group: a deviation below it gives 0; -1: the source's own");
    v.choice("pool", source.pool, pool_names,
             "makes one score of a completion's token or segment scores");
    v.choice("eos", source.eos, eos_names, "mean: the last token gets the mean of its completion");
    v.field("clip", source.clip, 0, 1e9, "bound of |weight x|; 0: none");
}

static void resolve(SourceConfig& source, const std::string& where) {
    const Source& row = source.row();
    const bool numbers = row.level == Level::completion;
    if (source.name.empty()) source.name = row.name;
    if (source.pool == Pool::automatic) source.pool = row.pool;
    CHECK(!numbers || source.pool == Pool::none,
          "%s: %s gives one score per completion; there is nothing to pool", where.c_str(),
          row.name);
    const bool scores = numbers || source.pool != Pool::none; // one per completion
    const bool segments = row.level == Level::segment && !scores;
    if (source.to == To::automatic)
        source.to = scores ? To::reward : segments ? To::segments : To::tokens;
    CHECK(
        scores || source.to != To::reward,
        "%s: source \"%s\" gives one number per %s; to=reward needs a pool (mean, last, sum, min)",
        where.c_str(), row.name, level_name(row.level));
    CHECK(scores || segments || source.to != To::segments,
          "%s: source \"%s\" gives one number per token; to=segments needs a pool (mean, last, "
          "sum, min)",
          where.c_str(), row.name);
    if (source.normalise == Normalise::automatic)
        source.normalise = row.normalises            ? Normalise::group
                           : source.to == To::tokens ? row.token_normalise
                                                     : Normalise::none;
    CHECK(source.std_floor < 0 || source.normalise == Normalise::group,
          "%s: std_floor = %g belongs to normalise = group, found normalise = %s", where.c_str(),
          source.std_floor, name_of(source.normalise));
    if (source.std_floor < 0) source.std_floor = row.normalises ? 1e-6 : 0;
    CHECK(source.eos == Eos::own || source.to == To::tokens,
          "%s: eos=mean stands on the last token; it needs to=tokens", where.c_str());
}

// What stored scores may say and nobody is asked for here.
static void check_read_out(SourceConfig& source, const std::string& where) {
    const Json skip = source.source == "trm" ? source.unparsable : Json();
    CHECK(skip.is_null() || skip == "skip",
          "%s: unparsable = %s: a judge that cannot be read has failed on the answer; trm knows "
          "\"skip\" alone",
          where.c_str(), dump_row(skip).c_str());
    CHECK(
        source.read_out == "verdict" || source.model.empty(),
        "%s: read_out = %s is of stored scores (loss, diff); a judge that is asked gives verdicts",
        where.c_str(), source.read_out.c_str());
    if (source.source != "preference" || source.judge_model.is_null()) return;
    CHECK(source.judge_model.is_string() &&
              (source.model.empty() || source.judge_model == source.model),
          "%s: judge is another name of model; give one of them, the directory of a reward model",
          where.c_str());
    source.model = source.judge_model.get<std::string>();
}

// A number with to=segments takes another channel's segments.
static void check_segments(const std::vector<SourceConfig>& sources) {
    bool segments = false;
    for (const SourceConfig& source : sources)
        segments |= source.counts() && source.row().level == Level::segment;
    for (const SourceConfig& source : sources)
        CHECK(segments || !source.counts() || source.to != To::segments,
              "%s: to=segments needs segments, and no source of the list gives any; trm and "
              "trm_labels do",
              source.where().c_str());
}

static void check_names(const std::vector<SourceConfig>& sources) {
    const char* remedy =
        "two entries of credit use the name \"%s\"; give each a \"name\" of its own";
    std::set<std::string> names;
    std::map<std::string, std::string> owner; // of a raw score
    for (const SourceConfig& source : sources) {
        CHECK(names.insert(source.name).second, remedy, source.name.c_str());
        for (const RawScore& raw : raw_scores_of(source)) {
            const std::string who = raw.checker ? "the task's rule" : source.where();
            auto [at, fresh] = owner.try_emplace(raw.name, who);
            CHECK(fresh || (raw.checker && at->second == who), remedy, raw.name.c_str());
        }
    }
}

std::vector<SourceConfig> read_sources(const Json& credit) {
    CHECK(credit.is_array() && !credit.empty(),
          "credit must be a list of sources, as [{\"source\": \"rule\"}], found %.100s",
          dump_row(credit).c_str());
    std::vector<SourceConfig> sources;
    for (const Json& entry : credit) {
        const std::string where = format("credit[%zu]", sources.size());
        CHECK(entry.is_object(), "%s must be an object, as {\"source\": \"rule\"}, found %.100s",
              where.c_str(), dump_row(entry).c_str());
        SourceConfig source;
        Fields fields;
        visit_common(source, fields);
        const Source& row = find_source(json_string_or(entry, "source", "rule", where));
        if (row.keys) row.keys(source, fields);
        read_config_json(fields, entry, where);
        resolve(source, where);
        check_read_out(source, where);
        if (row.writes && !source.model.empty())
            source.judge.check_effects(row.name, source.model == "oracle", where + ".",
                                       [&](const char* key) { return entry.contains(key); });
        sources.push_back(source);
    }
    check_names(sources);
    check_segments(sources);
    return sources;
}

// ---- help ---------------------------------------------------------------------------------------

static std::string keys_help(const Fields& fields) {
    std::string text;
    for (const Field& field : fields.list) {
        text += format("\n          %-22s %s", field.path.c_str(), field.help.c_str());
        std::string choices;
        for (const std::string& choice : field.choices)
            choices += (choices.empty() ? "" : " | ") + choice;
        if (!choices.empty()) text += ": " + choices;
    }
    return text;
}

std::string sources_help() {
    SourceConfig source;
    Fields common;
    visit_common(source, common);
    std::string text = "station 3: a list of sources, each an object of" + keys_help(common);
    std::map<void (*)(SourceConfig&, Fields&), std::string> names;
    for (const Source& row : source_table())
        if (row.keys)
            names[row.keys] += (names[row.keys].empty() ? "" : ", ") + std::string(row.name);
    for (const Source& row : source_table()) {
        if (!row.keys || names[row.keys].empty()) continue;
        Fields own;
        row.keys(source, own);
        text += "\n      and of " + names[row.keys] + keys_help(own);
        names[row.keys].clear();
    }
    return text;
}
