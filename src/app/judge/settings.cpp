#include "app/judge/settings.h"

#include "base/file.h"

void JudgeSettings::visit(Fields& v) {
    v.choice("kind", kind, {"capo", "trm"},
             "capo: critiques that list the wrong steps; trm: faithfulness, reason and correctness "
             "of each sentence");
    v.field("critiques", critiques, 1, 1024, "capo: k, critiques per answer");
    v.choice("vote", vote, {"majority", "intersection", "union", "average", "greedy"},
             "capo: which steps are wrong, of c(s) critiques among k: c > k/2, c = k, c >= 1, "
             "penalty c/k, the first critique alone");
    v.choice("tie", tie, {"right", "wrong"}, "capo, majority: what a step with c = k/2 is");
    v.field("votes", votes, 1, 1024,
            "trm: verdicts per answer; a majority decides each score, a tie is 1");
    v.field("temperature", temperature, 0, 100,
            "of the judge; capo draws k critiques, trm with one vote is greedy");
    v.field("top_p", top_p, 0, 1, "of the judge's tokens");
    v.field("max_new_tokens", max_new_tokens, 1, 1e9, "of one critique or verdict");
    v.field("reference_answer", reference_answer, "the judge sees the row's \"reference\"");
    v.choice("propagate", propagate, {"own_error_only", "inherited_counts"},
             "capo: whether a step that goes on rightly from a wrong value is called wrong");
    v.choice("segments", segments, {"auto", "blank_line", "sentence", "tag"},
             "how a response is cut; auto: capo blank_line, trm sentence");
    v.field("semicolons", semicolons, "sentences end at semicolons, too");
    v.field("template", template_file,
            "file with a prompt in Jinja, in the place of the built-in one");
}

// The built-in prompts. CAPO's asks as the paper describes it (all wrong steps in one pass, each judged by
// itself); its wording is our own.
static const char capo_prompt[] = R"(You check a solution step by step.

Problem:
{{ question }}

{% if reference is not none %}
Final answer of the reference solution:
{{ reference }}

{% endif %}
Solution, cut into numbered steps:
{% for step in segments %}
<step_{{ loop.index0 }}>
{{ step | trim }}
</step_{{ loop.index0 }}>
{% endfor %}

Go through the steps in order. A step is wrong if it holds an error of arithmetic or algebra, a fault of logic, a misread condition, a claim without reason, or a wrong final value.
{% if propagate == "own_error_only" %}
A step that goes on rightly from an earlier wrong value is not wrong itself.
{% else %}
A step that takes over an earlier wrong value is wrong, too.
{% endif %}
Do not solve the problem anew. Write a short analysis of each step. The last line is the list of the numbers of all wrong steps in a box, for example \boxed{[1, 3]}, and \boxed{[]} if no step is wrong.
)";

static const char trm_prompt[] = R"(You judge an answer sentence by sentence.

Question:
{{ question }}

{% for document in documents %}
Document {{ loop.index }}{% if document.title %} ({{ document.title }}){% endif %}:
{{ document.text }}

{% endfor %}
{% if reference is not none %}
Reference answer:
{{ reference }}

{% endif %}
Answer, cut into numbered sentences:
{% for sentence in segments %}
[{{ loop.index }}] {{ sentence | trim }}
{% endfor %}

For each sentence decide first whether the documents support it (faithfulness 1) or not (0), then compare the documents with what you know, in one line, and decide last whether the sentence is factually right (correctness 1) or wrong (0). A document can be wrong. Write one line per sentence, in order, and nothing else:
[1] faithfulness: 1 | reason: one line | correctness: 1
)";

std::string judge_notes() {
    return format(
        "The prompts are Jinja over question, reference (or none), documents, segments (texts) and "
        "propagate.\n\n---- judge.kind=capo:\n\n%s\n---- judge.kind=trm:\n\n%s",
        capo_prompt, trm_prompt);
}

std::string judge_template(const JudgeSettings& settings) {
    if (!settings.template_file.empty()) return read_file(settings.template_file);
    return settings.kind == "capo" ? capo_prompt : trm_prompt;
}
