#include "report/page.h"

#include "base/check.h"
#include "report/style.h"

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

std::string html_page(const std::string& title, const std::string& style, const std::string& body) {
    return "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
           "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src "
           "'unsafe-inline'\">\n"
           "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
           escape(title) + "</title>\n<style>" + page_style() + style +
           "</style>\n</head>\n<body>\n" + body + "</body>\n</html>\n";
}
