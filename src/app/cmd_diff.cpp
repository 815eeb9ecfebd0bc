// rlhf diff CONFIG_A CONFIG_B rollouts=F: two algorithms on the same stored rollouts. Overrides go to both.
// Prints where the configurations differ, then the losses, then how far advantages and gradients are apart
// and on which tokens most. A report, for the eye; `loss` writes numbers for programs.

#include "app/commands.h"
#include "app/explain/stored_update.h"
#include "base/file.h"

#include <algorithm>
#include <cmath>

namespace {
// One per-token quantity of the two, over the same tokens.
struct Comparison {
    double norm_a = 0, norm_b = 0, dot = 0, worst = 0;
    int64_t equal = 0, opposite = 0, only_a = 0, only_b = 0, count = 0;
    int64_t worst_at = 0;
};
} // namespace

static Comparison compare(const std::vector<double>& a, const std::vector<double>& b) {
    Comparison c;
    c.count = (int64_t)a.size();
    for (size_t n = 0; n < a.size(); ++n) {
        c.norm_a += a[n] * a[n], c.norm_b += b[n] * b[n], c.dot += a[n] * b[n];
        c.equal += a[n] == b[n];
        c.opposite += a[n] * b[n] < 0;
        c.only_a += a[n] != 0 && b[n] == 0;
        c.only_b += a[n] == 0 && b[n] != 0;
        if (std::abs(a[n] - b[n]) > c.worst)
            c.worst = std::abs(a[n] - b[n]), c.worst_at = (int64_t)n;
    }
    c.norm_a = std::sqrt(c.norm_a), c.norm_b = std::sqrt(c.norm_b);
    return c;
}

static std::string compared(const char* name, const Comparison& c) {
    bool both = c.norm_a > 0 && c.norm_b > 0;
    std::string cosine = both ? format("%.6f", c.dot / (c.norm_a * c.norm_b)) : "-";
    std::string ratio = both ? format("%.6g", c.norm_b / c.norm_a) : "-";
    return format("%-10s %8lld %8lld %8lld %8lld %8lld  %10s %12s %12.4g\n", name,
                  (long long)c.count, (long long)c.equal, (long long)c.opposite,
                  (long long)c.only_a, (long long)c.only_b, cosine.c_str(), ratio.c_str(), c.worst);
}

static std::string settings_that_differ(UpdateConfig& a, UpdateConfig& b) {
    Fields fields_a, fields_b;
    a.visit(fields_a), b.visit(fields_b);
    Json json_b = config_json(fields_b), json_a = config_json(fields_a);
    std::string text;
    for (const std::string& path : config_changes(fields_a, json_b)) {
        std::string pointer = "/" + path;
        std::replace(pointer.begin(), pointer.end(), '.', '/');
        Json::json_pointer at(pointer);
        text += format("  %-28s %-24s %s\n", path.c_str(), dump_row(json_a[at]).c_str(),
                       dump_row(json_b[at]).c_str());
    }
    return text.empty() ? "  none: the two are the same algorithm\n" : text;
}

static std::string largest_differences(const StoredUpdate& a, const StoredUpdate& b) {
    const Rollouts& r = a.stored.batch;
    std::vector<int64_t> order;
    for (int64_t n = 0; n < r.tokens(); ++n)
        if (a.loss.grads.dlogp[n] != b.loss.grads.dlogp[n]) order.push_back(n);
    auto gap = [&](int64_t n) { return std::abs(a.loss.grads.dlogp[n] - b.loss.grads.dlogp[n]); };
    size_t shown = std::min(order.size(), (size_t)10);
    std::partial_sort(order.begin(), order.begin() + shown, order.end(), [&](int64_t m, int64_t n) {
        return gap(m) != gap(n) ? gap(m) > gap(n) : m < n;
    });
    if (shown == 0) return "  none: the gradients are the same bits\n";
    std::string text = format("  %-28s %5s %11s %11s %11s %11s %9s\n", "row", "token",
                              "advantage A", "advantage B", "dlogp A", "dlogp B", "ratio");
    for (size_t k = 0; k < shown; ++k) {
        int64_t n = order[k];
        int i = (int)(std::upper_bound(r.offset.begin(), r.offset.end(), n) - r.offset.begin()) - 1;
        double old = r.logp_old.empty() ? r.logp[n] : r.logp_old[n];
        text += format("  %-28s %5d %11.4g %11.4g %11.4g %11.4g %9.4g\n", a.stored.where[i].c_str(),
                       (int)(n - r.offset[i]), a.kept.A.token[n], b.kept.A.token[n],
                       a.loss.grads.dlogp[n], b.loss.grads.dlogp[n], std::exp(r.logp[n] - old));
    }
    return text;
}

static int diff(const Args& args) {
    CHECK(!args.second_config_path.empty(),
          "diff compares two algorithms: rlhf diff CONFIG_A CONFIG_B rollouts=FILE");
    UpdateConfig config_a, config_b;
    Args args_b = args;
    args_b.config_path = args.second_config_path;
    load_config(config_a, args), load_config(config_b, args_b);
    resolve_update(config_a, args), resolve_update(config_b, args_b);
    StoredUpdate a = stored_update(config_a), b = stored_update(config_b);

    std::string text = "A " + args.config_path + "   B " + args.second_config_path + "\n\n";
    text += format("settings that differ\n  %-28s %-24s %s\n", "", "A", "B");
    text += settings_that_differ(config_a, config_b);

    text += format("\nloss%32s %22s\n", "A", "B");
    Json summary_a = update_summary(a), summary_b = update_summary(b);
    for (auto& [key, value] : summary_a.items())
        if (value.is_number_float())
            text += format("  %-14s %20.12g %22.12g\n", key.c_str(), value.get<double>(),
                           summary_b[key].get<double>());
        else
            text += format("  %-14s %20s %22s\n", key.c_str(), dump_row(value).c_str(),
                           dump_row(summary_b[key]).c_str());

    text += format("\nper token    tokens    equal opposite   only A   only B      cosine   |B| / "
                   "|A|   largest gap\n");
    text += compared("advantage", compare(a.kept.A.token, b.kept.A.token));
    text += compared("dlogp", compare(a.loss.grads.dlogp, b.loss.grads.dlogp));
    text += compared("dvalue", compare(a.loss.grads.dvalue, b.loss.grads.dvalue));
    text += compared("dentropy", compare(a.loss.grads.dentropy, b.loss.grads.dentropy));
    text += "\nlargest differences of dlogp\n" + largest_differences(a, b);

    AtomicFile out(config_a.out);
    out.write(text);
    out.commit();
    return 0;
}

extern const Command diff_command;
const Command diff_command = {"diff",
                              "two algorithms on the same stored rollouts: CONFIG_A CONFIG_B", diff,
                              [](Fields& fields) {
                                  static UpdateConfig config;
                                  config.visit(fields);
                              },
                              true};
