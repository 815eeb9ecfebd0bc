#include "app/judge/lesson.h"

#include "app/judge/kinds.h"
#include "base/file.h"

const char capo_lesson[] = R"({% for step in steps %}
Step {{ loop.index0 }}: {{ step.reason }}.
{% endfor %}
\boxed{[{{ wrong | join(", ") }}]})";

// A rule of steps knows nothing of documents: what is right is faithful. Labels say both.
const char trm_lesson[] = R"({% for step in steps %}
[{{ loop.index }}] faithfulness: {{ step.faithful | int }} | reason: {{ step.reason }} | correctness: {{ step.right | int }}
{% endfor %})";

JudgeLesson::JudgeLesson(const JudgeSettings& settings) : prompt(settings) {
    const std::string& file = settings.lesson_file;
    form = JinjaTemplate::parse(file.empty() ? find_kind(settings.kind).lesson : read_file(file),
                                file.empty() ? "the lesson of judge.kind=" + settings.kind : file);
}

// The row's labels as the rule's verdicts.
static std::vector<StepVerdict> labelled(const AnswerToJudge& answer) {
    std::vector<StepVerdict> steps;
    for (const SentenceLabels& each : answer.labels) {
        StepVerdict& step = steps.emplace_back();
        step.right = each.correct == 1;
        step.reason = each.reason.empty() ? (step.right ? "right" : "wrong") : each.reason;
    }
    return steps;
}

Json JudgeLesson::row(const AnswerToJudge& answer) const {
    const std::vector<StepVerdict> rule = answer.rule.empty() ? labelled(answer) : answer.rule;
    CHECK(rule.size() == answer.segments.size() && !rule.empty(),
          "%s: no task has checked the steps; write=lessons needs task.name, of a task that can, "
          "and judge.segments=auto, or \"sentences\" with labels (judge.kind=trm)",
          answer.where.c_str());
    const JudgeQuestion question = answer.asked();
    Json steps = Json::array(), wrong = Json::array();
    for (size_t s = 0; s < rule.size(); ++s) {
        const StepVerdict& step = rule[s];
        const bool by_row = answer.rule.empty();
        steps.push_back({{"text", question.segments[s]},
                         {"right", step.right},
                         {"faithful", by_row ? answer.labels[s].faithful == 1 : step.right},
                         {"reason", step.reason},
                         {"should", step.should}});
        if (!step.right) wrong.push_back(s);
    }
    const Json shown = {{"question", question.question},
                        {"reference", question.reference},
                        {"steps", steps},
                        {"wrong", wrong}};
    return {{"prompt", prompt.text(question)}, {"completion", form.render(shown).text}};
}
