#include "credit/sources.h"

#include <map>

// ---- what a source makes of what it reads -------------------------------------------------------

static std::vector<double> rule_values(const Completions& batch, const TokenScores&) {
    return batch.checked;
}

static std::vector<double> oracle_values(const Completions& batch, const TokenScores&) {
    std::vector<double> values;
    for (size_t i = 0; i < batch.texts.size(); ++i) {
        const size_t length = batch.texts[i].ids.size() - (size_t)batch.texts[i].first;
        std::vector<double> x = step_labels(batch.steps((int)i), length);
        values.insert(values.end(), x.begin(), x.end());
    }
    return values;
}

static std::vector<double> token_values(const Completions&, const TokenScores& scores) {
    std::vector<double> values;
    for (const std::vector<double>& x : scores) values.insert(values.end(), x.begin(), x.end());
    return values;
}

static std::vector<double> step_values(const Completions& batch, const TokenScores& scores) {
    std::vector<double> values;
    for (size_t i = 0; i < scores.size(); ++i) {
        std::vector<double> x = spread_steps(scores[i], batch.steps((int)i));
        values.insert(values.end(), x.begin(), x.end());
    }
    return values;
}

// ---- the table ----------------------------------------------------------------------------------

std::span<const Source> source_table() {
    using Asks = Source::Asks;
    static const Source rows[] = {
        // clang-format off
        // name          level              pool    asks          ratio  steps
        {"rule",         Level::completion, "none", Asks::nobody, false, false, rule_values},
        {"oracle",       Level::token,      "none", Asks::nobody, false, true,  oracle_values},
        {"orm",          Level::token,      "last", Asks::model,  false, false, token_values},
        {"prm",          Level::token,      "none", Asks::model,  false, false, step_values},
        {"qrm",          Level::token,      "none", Asks::model,  false, false, token_values},
        {"pgtg",         Level::token,      "none", Asks::model,  false, false, token_values},
        {"dpo_rm",       Level::token,      "none", Asks::model,  true,  false, token_values},
        {"implicit_prm", Level::token,      "none", Asks::model,  true,  false, token_values},
        {"self",         Level::token,      "none", Asks::policy, false, false, token_values},
        // clang-format on
    };
    return rows;
}

static std::vector<std::string> source_names() {
    std::vector<std::string> names;
    for (const Source& row : source_table()) names.push_back(row.name);
    return names;
}

const Source& find_source(const std::string& name) {
    for (const Source& row : source_table())
        if (name == row.name) return row;
    fail("the credit source \"%s\" is not known; the nearest is \"%s\"", name.c_str(),
         nearest_name(name, source_names()).c_str());
}

// The sources with a property, for a message: "dpo_rm, implicit_prm".
static std::string sources_with(bool Source::*property) {
    std::string list;
    for (const Source& row : source_table())
        if (row.*property) list += (list.empty() ? "" : ", ") + std::string(row.name);
    return list;
}

// ---- the configuration --------------------------------------------------------------------------

void SourceConfig::visit(Fields& v) {
    v.choice("source", source, source_names(), "who judges");
    v.field("model", model, "directory of the reward model, or of its run");
    v.field("reference", reference,
            "dpo_rm, implicit_prm: the model that its log-ratio is taken to; empty: the policy's "
            "start");
    v.choice("pool", pool, {"auto", "none", "mean", "last", "sum"},
             "makes one score of a completion's token scores");
    v.choice("to", to, {"auto", "reward", "tokens"},
             "reward of the completion or credit of its tokens");
    v.choice("normalise", normalise, {"auto", "none", "mean_std", "std"},
             "over the batch, before the weight");
    v.choice("eos", eos, {"own", "mean"}, "mean: the last token gets the mean of its completion");
    v.field("weight", weight, -1e6, 1e6, "factor");
    v.field("clip", clip, 0, 1e9, "bound of |weight x|; 0: none");
}

static void resolve_source(SourceConfig& source, const std::string& where) {
    const Source& row = source.row();
    CHECK(row.asks != Source::Asks::model || !source.model.empty(),
          "%s: source \"%s\" needs \"model\", the directory of the reward model", where.c_str(),
          row.name);
    CHECK(row.asks != Source::Asks::nobody || source.model.empty(),
          "%s: source \"%s\" is a rule and has no use for a model", where.c_str(), row.name);
    CHECK(row.log_ratio || source.reference.empty(),
          "%s: only %s have a reference, found source \"%s\"", where.c_str(),
          sources_with(&Source::log_ratio).c_str(), row.name);
    if (source.pool == "auto") source.pool = row.pool;
    CHECK(row.level == Level::token || source.pool == "none",
          "%s: %s gives one score per completion; there is nothing to pool", where.c_str(),
          row.name);
    const bool scores = row.level == Level::completion || source.pool != "none";
    if (source.to == "auto") source.to = scores ? "reward" : "tokens";
    CHECK(scores || source.to == "tokens",
          "%s: source \"%s\" gives one number per token; to=reward needs a pool (mean, last, "
          "sum)",
          where.c_str(), row.name);
    if (source.normalise == "auto") source.normalise = source.to == "tokens" ? "mean_std" : "none";
    CHECK(source.eos == "own" || source.to == "tokens",
          "%s: eos=mean has no effect on a reward; it needs to=tokens", where.c_str());
}

std::vector<SourceConfig> read_sources(const Json& credit) {
    CHECK(credit.is_array() && !credit.empty(),
          "credit must be a list of sources, as [{\"source\": \"rule\"}], found %.100s",
          dump_row(credit).c_str());
    std::vector<SourceConfig> sources;
    for (const Json& entry : credit) {
        SourceConfig source;
        Fields fields;
        source.visit(fields);
        const std::string where = format("credit[%zu]", sources.size());
        CHECK(entry.is_object(), "%s must be an object, as {\"source\": \"rule\"}, found %.100s",
              where.c_str(), dump_row(entry).c_str());
        read_config_json(fields, entry, where);
        resolve_source(source, where);
        sources.push_back(source);
    }
    return sources;
}

std::string sources_help() {
    static SourceConfig source;
    Fields fields;
    source.visit(fields);
    std::string text = "station 3: a list of sources, each an object of";
    for (const Field& field : fields.list) {
        text += format("\n      %-12s %s", field.path.c_str(), field.help.c_str());
        std::string choices;
        for (const std::string& choice : field.choices)
            choices += (choices.empty() ? "" : " | ") + choice;
        if (!choices.empty()) text += ": " + choices;
    }
    return text;
}

// ---- asking -------------------------------------------------------------------------------------

std::vector<Channel> ask_sources(const std::vector<SourceConfig>& sources,
                                 const std::vector<std::shared_ptr<const Scorer>>& scorers,
                                 const Completions& batch) {
    std::map<const Scorer*, TokenScores> answers;
    std::vector<Channel> channels;
    for (size_t k = 0; k < sources.size(); ++k) {
        const Scorer* scorer = scorers[k].get();
        if (scorer && !answers.count(scorer)) answers[scorer] = (*scorer)(batch.texts);
        const Source& row = sources[k].row();
        channels.push_back({row.name, row.level, row.values(batch, answers[scorer]), {}});
    }
    return channels;
}
