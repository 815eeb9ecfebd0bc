#include "app/judge/lesson.h"

#include "app/judge/kinds.h"
#include "base/file.h"

const char capo_lesson[] = R"({% for step in steps %}
Step {{ loop.index0 }}: {{ step.reason }}.
{% endfor %}
\boxed{[{{ wrong | join(", ") }}]})";

// A rule of steps knows nothing of documents: what is right is faithful.
const char trm_lesson[] = R"({% for step in steps %}
[{{ loop.index }}] faithfulness: {{ step.right | int }} | reason: {{ step.reason }} | correctness: {{ step.right | int }}
{% endfor %})";

JudgeLesson::JudgeLesson(const JudgeSettings& settings) : prompt(settings) {
    const std::string& file = settings.lesson_file;
    form = JinjaTemplate::parse(file.empty() ? find_kind(settings.kind).lesson : read_file(file),
                                file.empty() ? "the lesson of judge.kind=" + settings.kind : file);
}

Json JudgeLesson::row(const AnswerToJudge& answer) const {
    CHECK(answer.rule.size() == answer.segments.size() && !answer.rule.empty(),
          "%s: no task has checked the steps; write=lessons needs task.name, of a task that can, "
          "and judge.segments=auto",
          answer.where.c_str());
    const JudgeQuestion question = answer.asked();
    Json steps = Json::array(), wrong = Json::array();
    for (size_t s = 0; s < answer.rule.size(); ++s) {
        const StepVerdict& step = answer.rule[s];
        steps.push_back({{"text", question.segments[s]},
                         {"right", step.right},
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
