#include "report/page.h"

#include "base/check.h"

#include <cmath>

std::string escape(const std::string& text) {
    std::string out;
    for (char c : text) switch (c) {
        case '&':
            out += "&amp;";
            break;
        case '<':
            out += "&lt;";
            break;
        case '>':
            out += "&gt;";
            break;
        case '"':
            out += "&quot;";
            break;
        case '\'':
            out += "&#39;";
            break;
        default:
            if (((unsigned char)c < 32 && c != '\n' && c != '\t') || c == 127)
                out += "\xef\xbf\xbd";
            else
                out += c;
        }
    return out;
}

std::string short_number(double value) {
    if (!std::isfinite(value)) return "-";
    if (value == 0) return "0";
    double size = std::abs(value);
    if (size >= 1e4 && size < 1e9) return format("%.0f", value);
    return format("%.4g", value);
}

// Colours: Okabe and Ito's palette (2008), which people with any colour vision can tell apart, each with a
// lighter form on dark ground.
static const char* common_style = R"(
:root { --back: #fff; --ink: #1a1a1a; --dim: #5c5c5c; --line: #d5d5d5; --soft: #f4f4f2;
  --c0: #0072B2; --c1: #D55E00; --c2: #009E73; --c3: #B0508A; --c4: #B97F00; --c5: #3A9BD6; --c6: #555;
  --bad: #B03A00; --good: #00704F; color-scheme: light dark; }
@media (prefers-color-scheme: dark) { :root { --back: #16181a; --ink: #e6e6e3; --dim: #a2a5a8;
  --line: #3c4043; --soft: #212427; --c0: #56B4E9; --c1: #F08040; --c2: #2FC79A; --c3: #E39AC4;
  --c4: #E6B030; --c5: #8FD0F5; --c6: #aaa; --bad: #FF9A66; --good: #4FD6AA; } }
@media print { :root { --back: #fff; --ink: #000; --dim: #444; --line: #bbb; --soft: #f4f4f2;
  --c0: #0072B2; --c1: #D55E00; --c2: #009E73; --c3: #B0508A; --c4: #B97F00; --c5: #3A9BD6; --c6: #555;
  --bad: #B03A00; --good: #00704F; color-scheme: light; }
  body { max-width: none !important; font-size: 10pt !important; } section { break-before: auto; }
  figure, .card, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
* { box-sizing: border-box; }
html { background: var(--back); -webkit-print-color-adjust: exact; print-color-adjust: exact; }
body { margin: 0 auto; padding: 1.2rem 1.4rem 3rem; max-width: 86rem; color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; }
h1 { font-size: 1.55rem; margin: 0 0 .2rem; } h2 { font-size: 1.2rem; margin: 2.2rem 0 .7rem;
  padding-top: .5rem; border-top: 1px solid var(--line); } h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .3rem 0 .7rem; max-width: 60rem; } .dim { color: var(--dim); }
table { border-collapse: collapse; margin: .3rem 0; } th, td { text-align: left; vertical-align: top;
  padding: .16rem .9rem .16rem 0; border-bottom: 1px solid var(--line); } th { font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
code, pre, .text { font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: .87em; } .text { white-space: pre-wrap; overflow-wrap: anywhere; unicode-bidi: isolate; }
.bad { color: var(--bad); font-weight: 600; } .good { color: var(--good); font-weight: 600; }
details > summary { cursor: pointer; margin: .4rem 0; }
)";

std::string html_page(const std::string& title, const std::string& style, const std::string& body) {
    return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
           "'unsafe-inline'\">\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
           escape(title) + "</title>\n<style>" + common_style + style +
           "</style>\n</head>\n<body>\n" + body + "</body>\n</html>\n";
}
