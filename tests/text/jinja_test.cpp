// Against Jinja itself: tests/reference/make_golden_jinja.py renders the same templates in the environment
// that transformers sets up.

#include "base/json.h"
#include "text/jinja.h"

#include <gtest/gtest.h>

namespace {

std::string rendered(const std::string& source, const Json& variables = Json::object(),
                     const JinjaLimits& limits = {}) {
    return JinjaTemplate::parse(source, "t.jinja").render(variables, {}, limits).text;
}

std::string refusal(const std::string& source, const Json& variables = Json::object(),
                    const JinjaLimits& limits = {}) {
    try {
        return "no error: " + rendered(source, variables, limits);
    } catch (const Error& error) {
        return error.what();
    }
}

void expect_refusal(const std::string& source, const std::string& part,
                    const JinjaLimits& limits = {}) {
    std::string message = refusal(source, Json::object(), limits);
    EXPECT_NE(message.find(part), std::string::npos) << source << "\n" << message;
    EXPECT_EQ(message.rfind("t.jinja, line ", 0), 0u) << message;
}

} // namespace

TEST(Jinja, WritesWhatJinjaWrites) {
    Json variables;
    int texts = 0, errors = 0, spans = 0;
    for_each_row("tests/golden/jinja/cases.jsonl", [&](const Json& row, const std::string& where) {
        if (row.contains("variables")) {
            variables = row["variables"];
            return;
        }
        std::string source = row["template"].get<std::string>();
        JinjaOutput output;
        std::string error;
        try {
            output = JinjaTemplate::parse(source, "t").render(variables);
        } catch (const Error& problem) {
            error = problem.what();
        }
        if (row.contains("error")) {
            ++errors;
            EXPECT_NE(error, "") << where << ": " << source << "\nJinja: " << row["error"]
                                 << "\nhere: " << output.text;
            return;
        }
        ++texts;
        EXPECT_EQ(error, "") << where << ": " << source;
        EXPECT_EQ(output.text, row["text"].get<std::string>()) << where << ": " << source;
        if (output.displaced_generation) return; // see below
        Json found = Json::array();
        for (auto& span : output.generations) found.push_back({span.begin, span.end});
        EXPECT_EQ(found, row.value("spans", Json::array())) << where << ": " << source;
        spans += (int)found.size();
    });
    EXPECT_GT(texts, 400);
    EXPECT_GT(errors, 80);
    EXPECT_GT(spans, 3);
}

TEST(Jinja, WhatItDoesNotKnowIsNamedWithItsLine) {
    expect_refusal("\n\n{{ 'a' | urlize }}", "line 3: the filter 'urlize' is not supported");
    expect_refusal("{{ 1 }}\n{{ 'a' | shout }}", "line 2: there is no filter named 'shout'");
    expect_refusal("{{ 'a' is loud }}", "there is no test named 'loud'");
    expect_refusal("\n{% include 'x' %}", "line 2: the tag {% include %} is not supported");
    expect_refusal("{% do x %}", "unknown tag {% do %}");
    expect_refusal("{{ 'a'.encode() }}", "'encode' of a str is not supported");
    expect_refusal("{{ [1] | map('string') }}", "|list makes a list of it");
    expect_refusal("{% if true %}\n  {{ x.y }}{% endif %}", "line 2: 'x' is undefined");
    expect_refusal("{{ [1].append(2) }}",
                   "access to attribute 'append' of 'list' object is unsafe");
    expect_refusal(
        "{% for i in [1] %}\n\n{{ raise_exception('roles must alternate') }}{% endfor %}",
        "line 3: the template raises: roles must alternate");
    expect_refusal("{{ 9223372036854775807 + 1 }}", "beyond 64 bits");
    expect_refusal("{{ '\\N{DASH}' }}", "\\N{...} in a string is not supported");
}

TEST(Jinja, TheClockCanBeSet) {
    std::tm day{};
    day.tm_year = 124, day.tm_mon = 6, day.tm_mday = 5, day.tm_wday = 5;
    auto clock = JinjaTemplate::parse("{{ strftime_now('%d %b %Y, %A %H:%M%z') }}", "t");
    EXPECT_TRUE(clock.reads_clock);
    EXPECT_EQ(clock.render(Json::object(), day).text, "05 Jul 2024, Friday 00:00");
    EXPECT_FALSE(JinjaTemplate::parse("{{ 1 }}", "t").reads_clock);
}

TEST(Jinja, GenerationBlocksInMacrosHaveNoKnownPlace) {
    auto parse = [](const char* source) { return JinjaTemplate::parse(source, "t"); };
    auto plain =
        parse("a{% generation %}b{% generation %}c{% endgeneration %}{% endgeneration %}d");
    EXPECT_TRUE(plain.marks_generation);
    JinjaOutput output = plain.render(Json::object());
    EXPECT_EQ(output.text, "abcd");
    ASSERT_EQ(output.generations.size(), 1u); // the inner one adds nothing
    EXPECT_EQ(output.generations[0].begin, 1u);
    EXPECT_EQ(output.generations[0].end, 3u);
    EXPECT_EQ(output.displaced_generation, 0);
    output = parse("{% macro f() %}\n{% generation %}b{% endgeneration %}{% endmacro %}a{{ f() }}")
                 .render(Json::object());
    EXPECT_EQ(output.text, "ab");
    EXPECT_EQ(output.generations.size(), 0u);
    EXPECT_EQ(output.displaced_generation, 2);
}

TEST(Jinja, StepsDepthAndOutputAreBounded) {
    JinjaLimits small;
    small.work = 100000;
    small.output = 10000;
    small.depth = 100;
    const char* forever = "{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}"
                          "{% endfor %}";
    expect_refusal(forever, "takes more than 100000 steps", small);
    expect_refusal(
        "{% set ns = namespace(t='x') %}{% for i in range(99) %}{% set ns.t = ns.t + ns.t "
        "%}{% endfor %}",
        "makes a text of more than 10000 bytes", small);
    expect_refusal("{{ 'x' * 1000000000000 }}", "steps", small);
    expect_refusal("{{ [0] * 1000000000000 }}", "steps", small);
    expect_refusal("{{ '%1000000d' % 3 }}", "steps", small);
    expect_refusal("{{ 'x'.ljust(1000000) }}", "steps", small);
    expect_refusal("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "nested more than 100 deep",
                   small);
    std::string deep = "{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}";
    expect_refusal(deep, "nested too deep");
    std::string sum = "{{ 1", list = "{{ x";
    for (int i = 0; i < 100000; ++i) sum += " + 1";
    expect_refusal(sum + " }}", "nested too deep");
    // Values inside of values are freed one inside the other
    EXPECT_NE(refusal("{% set ns = namespace(t=[]) %}{% for i in range(90000) %}"
                      "{% set ns.t = [ns.t] %}{% endfor %}")
                  .find("more than 500 levels"),
              std::string::npos);
    EXPECT_EQ(rendered("{% set ns = namespace() %}{% set ns.me = ns %}{% set ns.f = [ns] %}ok"),
              "ok");
}
