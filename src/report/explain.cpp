#include "report/explain.h"

#include "base/check.h"
#include "report/page.h"

#include <algorithm>
#include <cmath>

// ---- colours ------------------------------------------------------------------------------------

int colour_level(double value, double centre, double scale) {
    if (!std::isfinite(value) || value == centre || !(scale > 0)) return 0;
    double share = std::min(1.0, std::abs(value - centre) / scale);
    int level = std::max(1, (int)std::lround(10 * share));
    return value > centre ? level : -level;
}

std::string mixed_colour(uint32_t from, uint32_t to, double mix) {
    uint32_t colour = 0;
    for (int shift : {16, 8, 0}) {
        double a = from >> shift & 255, b = to >> shift & 255;
        colour |= (uint32_t)std::lround(a + (b - a) * mix) << shift;
    }
    return format("#%06x", (unsigned)colour);
}

// Values of --p1 .. --p10 (blue) and --n1 .. --n10 (orange, with a line below, so that the sign is seen
// without colour, too).
static std::string palette(uint32_t back, uint32_t above, uint32_t below, const char* edge) {
    std::string css;
    for (int level = 1; level <= 10; ++level) {
        double mix = 0.08 + 0.72 * level / 10;
        std::string p = mixed_colour(back, above, mix), n = mixed_colour(back, below, mix);
        css += format("--p%d:linear-gradient(%s,%s);", level, p.c_str(), p.c_str());
        css += format("--n%d:linear-gradient(to top,%s 2px,%s 2px);", level, edge, n.c_str());
    }
    return css;
}

static std::string colour_variable(int level) {
    return format("var(--%c%d)", level > 0 ? 'p' : 'n', std::abs(level));
}

static char letter(size_t quantity) { return (char)('a' + quantity); }

static std::string style_sheet(size_t quantities) {
    std::string light = palette(0xffffff, 0x0072B2, 0xD55E00, "#8a3d00"),
                dark = palette(0x16181a, 0x1180c8, 0xb85200, "#ffb27d");
    std::string css = ":root{--z:linear-gradient(var(--soft),var(--soft));--hatch:"
                      "repeating-linear-gradient(45deg,transparent 0 4px,var(--stripe) 4px "
                      "5px);--stripe:#9a9a9a;" +
                      light + "}\n@media (prefers-color-scheme:dark){:root{--stripe:#5c6165;" +
                      dark + "}}\n@media print{:root{--stripe:#9a9a9a;" + light + "}}\n";
    for (size_t q = 0; q < quantities; ++q) {
        int k = (int)q;
        char c = letter(q);
        css += format("#q%d:checked~main .t{background:var(--%c,var(--z))}"
                      "#q%d:checked~main .x{background:var(--hatch),var(--%c,var(--z))}"
                      "#q%d:checked~nav label[for=q%d]{background:var(--ink);color:var(--back)}"
                      "#q%d:focus-visible~nav label[for=q%d]{outline:2px solid var(--c1)}"
                      "#q%d:checked~main .g%d{display:flex}\n",
                      k, c, k, c, k, k, k, k, k, k);
    }
    return css;
}

// ---- the page -----------------------------------------------------------------------------------

std::string visible_text(const std::string& text) {
    if (text.empty()) return "\u2205";
    std::string out;
    for (char c : text)
        if (c == ' ')
            out += "\u00b7";
        else if (c == '\n')
            out += "\u23ce";
        else if (c == '\t')
            out += "\u21e5";
        else
            out += c;
    return out;
}

static std::string key_html(const Quantity& q, size_t number, double scale) {
    std::string html = format("<div class=\"key g%d\"><b>%s</b><span>%s</span>", (int)number,
                              escape(q.name).c_str(), escape(q.meaning).c_str());
    if (scale > 0) {
        html += "<span>" + short_number(q.diverging ? q.centre - scale : q.centre) +
                "</span><span class=\"ramp\">";
        for (int level = q.diverging ? -10 : 0; level <= 10; ++level)
            html += "<i style=\"background:" +
                    (level ? colour_variable(level) : std::string("var(--z)")) + "\"></i>";
        html += "</span><span>" + short_number(q.centre + scale) + " " + escape(q.unit) + "</span>";
        if (q.diverging)
            html += "<span class=\"dim\">no colour: " + short_number(q.centre) +
                    "; a line below: less than that</span>";
    } else {
        html += "<span>" + short_number(q.centre) + " on every token</span>";
    }
    return html + "<span class=\"x-key\"></span><span class=\"dim\">dropped by selection: no "
                  "policy gradient</span>"
                  "</div>\n";
}

static std::string token_html(const ExplainToken& token, const ExplainPage& page,
                              const std::vector<double>& scale) {
    std::string colours;
    for (size_t q = 0; q < page.quantities.size(); ++q)
        if (int level = colour_level(token.value[q], page.quantities[q].centre, scale[q]))
            colours += format("--%c:%s;", letter(q), colour_variable(level).c_str());
    return format("<span class=\"%s\" style=\"%s\" title=\"%s\">", token.kept ? "t" : "t x",
                  colours.c_str(), escape(token.hover).c_str()) +
           escape(visible_text(token.text)) + "</span><wbr>";
}

static std::string completion_html(const ExplainCompletion& c, const ExplainPage& page,
                                   const std::vector<double>& scale) {
    std::string html =
        format("<div class=\"card%s\"><div class=\"head\"><b>sample %lld</b><span>reward %s</span>"
               "<span>A %s</span>%s<span class=\"dim\">%s%s</span></div><div class=\"tokens\">",
               c.kept ? "" : " off", (long long)c.sample, short_number(c.reward).c_str(),
               short_number(c.advantage).c_str(),
               c.kept ? "" : "<span class=\"bad\">dropped</span>", escape(c.reason).c_str(),
               escape(c.finish.empty() ? "" : (c.reason.empty() ? "" : ", ") + c.finish).c_str());
    for (const ExplainToken& token : c.tokens) html += token_html(token, page, scale);
    html += "</div>";
    for (const std::string& words : c.judges)
        html += "<div class=\"text prompt\">" + escape(words) + "</div>";
    return html + "</div>\n";
}

ExplainPart explain_part(const ExplainPage& page) {
    // Of what is shown: the largest distance from the centre.
    std::vector<double> scale(page.quantities.size(), 0.0);
    for (const ExplainGroup& group : page.groups)
        for (const ExplainCompletion& completion : group.completions)
            for (const ExplainToken& token : completion.tokens)
                for (size_t q = 0; q < scale.size(); ++q)
                    if (std::isfinite(token.value[q]))
                        scale[q] = std::max(scale[q],
                                            std::abs(token.value[q] - page.quantities[q].centre));

    std::string body =
        "<p class=\"dim\">" + escape(page.summary) + "</p>\n<div class=\"text formula\">";
    for (const std::string& line : page.formula) body += escape(line) + "\n";
    body += "</div>\n";
    for (const std::string& note : page.notes)
        body += "<p class=\"dim\">" + escape(note) + "</p>\n";
    for (size_t q = 0; q < page.quantities.size(); ++q)
        body += format("<input class=\"switch\" type=\"radio\" name=\"q\" id=\"q%d\"%s>", (int)q,
                       q == page.chosen ? " checked" : "");
    body += "\n<nav>Colour the tokens by:";
    for (size_t q = 0; q < page.quantities.size(); ++q)
        body += format("<label for=\"q%d\">%s</label>", (int)q,
                       escape(page.quantities[q].name).c_str());
    body += "</nav>\n<main>\n";
    for (size_t q = 0; q < page.quantities.size(); ++q)
        body += key_html(page.quantities[q], q, scale[q]);
    for (const ExplainGroup& group : page.groups) {
        body += format("<h2>Prompt %lld</h2>\n", (long long)group.prompt_id);
        if (!group.prompt.empty())
            body += "<div class=\"text prompt\">" + escape(group.prompt) + "</div>\n";
        body += "<div class=\"group\">\n";
        for (const ExplainCompletion& completion : group.completions)
            body += completion_html(completion, page, scale);
        body += "</div>\n";
    }
    return {style_sheet(page.quantities.size()), body + "</main>\n"};
}

std::string explain_html(const ExplainPage& page) {
    const ExplainPart part = explain_part(page);
    return html_page(page.name, part.style, "<h1>" + escape(page.name) + "</h1>\n" + part.body);
}
