#pragma once
// The frame of a page: one HTML file that needs nothing else. No script at all (a policy in its head forbids
// any, should hostile text ever get past escape()), no font, no image; light and dark; readable in print.

#include <string>

// Text for element content and for attributes in double quotes. Control characters become U+FFFD.
std::string escape(const std::string& text);
// Four significant digits; "-" for what is not a number.
std::string short_number(double value);
// style: CSS behind that of all pages (report/style.h). body: HTML.
std::string html_page(const std::string& title, const std::string& style, const std::string& body);
