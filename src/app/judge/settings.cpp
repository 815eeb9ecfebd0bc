#include "app/judge/settings.h"

void DimensionJudge::visit(Fields& v) {
    v.field("judge", judge, "directory, or oracle, the task's exact program");
}

void JudgeSettings::visit(Fields& v) {
    v.choice(
        "kind", kind, {"capo", "trm", "drm", "preference"},
        "capo: critiques that list the wrong steps; trm: faithfulness, reason and correctness "
        "of each sentence; drm: confidence, relevance and coherence of the reasoning, numbers; "
        "preference: sigma of a reward model's score above the anchor");
    keys.visit(v);
    v.object("relevance", relevance, "drm: a reranker");
    v.object("coherence", coherence, "drm: an outcome reward model of the reasoning");
    v.field("anchor", anchor, -1e6, 1e6, "preference: the score of the answer to be compared with");
    v.field(
        "lesson", lesson_file,
        "write=lessons: file with what is to be learned, in Jinja over the same and steps (text, "
        "right, reason, should) and wrong, the numbers of the wrong ones");
}

int JudgeSettings::texts() const {
    if (kind != "capo") return keys.votes;
    return keys.vote == "greedy" ? 1 : keys.critiques;
}

double JudgeSettings::temperature() const {
    const bool greedy = kind == "capo" ? keys.vote == "greedy" : keys.votes == 1;
    return greedy ? 0 : keys.temperature;
}

void JudgeSettings::check() const {
    CHECK(texts() == 1 || temperature() > 0,
          "temperature=0 makes a judge write %d times the same; set it above 0, or %s=1", texts(),
          kind == "capo" ? "critiques" : "votes");
}
