#include "credit/channel.h"

#include <algorithm>
#include <cmath>
#include <numeric>

void SourceConfig::visit(Fields& v) {
    v.choice("source", source,
             {"rule", "oracle", "orm", "prm", "qrm", "pgtg", "dpo_rm", "implicit_prm", "self"},
             "who judges");
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
        const std::string& name = source.source;
        const bool names_model = source.uses_model() && name != "self";
        CHECK(!names_model || !source.model.empty(),
              "%s: source \"%s\" needs \"model\", the directory of the reward model", where.c_str(),
              name.c_str());
        CHECK(source.model.empty() || source.uses_model(),
              "%s: source \"%s\" is a rule and has no use for a model", where.c_str(),
              name.c_str());
        const bool log_ratio = name == "dpo_rm" || name == "implicit_prm";
        CHECK(source.reference.empty() || log_ratio,
              "%s: only dpo_rm and implicit_prm have a reference, found source \"%s\"",
              where.c_str(), name.c_str());
        const bool one_score = name == "rule" || name == "orm";
        if (source.pool == "auto") source.pool = name == "orm" ? "last" : "none";
        CHECK(name != "rule" || source.pool == "none",
              "%s: a rule gives one score per completion; "
              "there is nothing to pool",
              where.c_str());
        const bool scores = one_score || source.pool != "none";
        if (source.to == "auto") source.to = scores ? "reward" : "tokens";
        CHECK(scores || source.to == "tokens",
              "%s: source \"%s\" gives one number per token; to=reward needs a pool (mean, last, "
              "sum)",
              where.c_str(), name.c_str());
        if (source.normalise == "auto")
            source.normalise = source.to == "tokens" ? "mean_std" : "none";
        CHECK(source.eos == "own" || source.to == "tokens",
              "%s: eos=mean has no effect on a reward; it needs to=tokens", where.c_str());
        sources.push_back(source);
    }
    return sources;
}

std::vector<double> pooled_channel(const Channel& channel, const std::string& pool,
                                   std::span<const int64_t> offset) {
    if (!channel.per_token) return channel.values;
    std::vector<double> scores(offset.size() - 1);
    for (size_t i = 0; i < scores.size(); ++i) {
        auto begin = channel.values.begin() + offset[i],
             end = channel.values.begin() + offset[i + 1];
        if (begin == end) continue;
        double sum = std::accumulate(begin, end, 0.0);
        scores[i] = pool == "last" ? end[-1] : pool == "sum" ? sum : sum / (double)(end - begin);
    }
    return scores;
}

// In place, over the entries with counts[k] = 1.
static void normalise(std::vector<double>& x, const std::vector<uint8_t>& counts,
                      const std::string& how) {
    if (how == "none") return;
    double n = 0, mean = 0, square = 0;
    for (size_t k = 0; k < x.size(); ++k) n += counts[k], mean += counts[k] * x[k];
    if (n == 0) return;
    mean /= n;
    for (size_t k = 0; k < x.size(); ++k) square += counts[k] * (x[k] - mean) * (x[k] - mean);
    const double centre = how == "mean_std" ? mean : 0;
    for (double& v : x) v = (v - centre) / (std::sqrt(square / n) + 1e-8);
}

static void eos_gets_mean(std::vector<double>& x, std::span<const int64_t> offset) {
    for (size_t i = 0; i + 1 < offset.size(); ++i) {
        const int64_t length = offset[i + 1] - offset[i];
        if (length == 0) continue;
        double* row = x.data() + offset[i];
        row[length - 1] = std::accumulate(row, row + length, 0.0) / (double)length;
    }
}

Credit combine(const std::vector<Channel>& channels, const std::vector<SourceConfig>& sources,
               std::span<const int64_t> offset) {
    const size_t rows = offset.size() - 1, N = (size_t)offset.back();
    Credit credit;
    credit.reward.assign(rows, 0);
    for (size_t k = 0; k < sources.size(); ++k) {
        const SourceConfig& source = sources[k];
        const Channel& channel = channels[k];
        std::vector<uint8_t> valid = channel.valid;
        if (valid.empty()) valid.assign(rows, 1);
        for (double v : channel.values)
            CHECK(std::isfinite(v), "a score of credit source \"%s\" is not finite (%g)",
                  channel.name.c_str(), v);

        const bool tokens_stay = channel.per_token && source.pool == "none";
        std::vector<double> x =
            tokens_stay ? channel.values : pooled_channel(channel, source.pool, offset);
        const bool to_tokens = source.to == "tokens";
        std::vector<uint8_t> counts = valid;
        if (to_tokens) {
            std::vector<double> of_row = tokens_stay ? std::vector<double>() : x;
            x.resize(N), counts.resize(N);
            for (size_t i = 0; i < rows; ++i)
                for (int64_t n = offset[i]; n < offset[i + 1]; ++n) {
                    counts[n] = valid[i];
                    if (!tokens_stay) x[n] = of_row[i];
                }
        }
        normalise(x, counts, source.normalise);
        if (source.eos == "mean") eos_gets_mean(x, offset);

        if (to_tokens && credit.token.empty()) credit.token.assign(N, 0);
        std::vector<double>& sum = to_tokens ? credit.token : credit.reward;
        for (size_t n = 0; n < x.size(); ++n) {
            double part = source.weight * x[n];
            if (source.clip > 0) part = std::clamp(part, -source.clip, source.clip);
            if (counts[n]) sum[n] += part;
        }
    }
    return credit;
}
