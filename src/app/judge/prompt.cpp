#include "app/judge/prompt.h"

#include "app/judge/kinds.h"
#include "base/file.h"

JudgePrompt::JudgePrompt(const JudgeSettings& settings_) : settings(settings_) {
    const std::string& file = settings.keys.template_file;
    form = JinjaTemplate::parse(file.empty() ? find_kind(settings.kind).prompt : read_file(file),
                                file.empty() ? "the prompt of judge.kind=" + settings.kind : file);
}

std::string JudgePrompt::text(const JudgeQuestion& question) const {
    const bool shows = settings.keys.reference_answer && !question.reference.is_null();
    return form
        .render({{"question", question.question},
                 {"reference", shows ? question.reference : Json()},
                 {"documents", question.documents.is_null() ? Json::array() : question.documents},
                 {"segments", question.segments},
                 {"propagate", settings.keys.propagate}})
        .text;
}

// The built-in prompts. CAPO's asks as the paper describes it (all wrong steps in one pass, each judged by
// itself); its wording is our own.
const char capo_prompt[] = R"(You check a solution step by step.

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

const char trm_prompt[] = R"(You judge an answer sentence by sentence.

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
