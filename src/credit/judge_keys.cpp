#include "credit/judge_keys.h"

void JudgeKeys::visit(Fields& v) {
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
    v.field("seed", seed, 0, 9e15, "of the judge's draws, or errors, with the answer's text");
    v.field("reference_answer", reference_answer, "the judge sees the reference answer");
    v.choice("propagate", propagate, {"own_error_only", "inherited_counts"},
             "capo: whether a step that goes on rightly from a wrong value is called wrong");
    v.choice("segments", segments, {"auto", "blank_line", "sentence", "tag"},
             "how an answer is cut; auto: by the task where it checks steps, else capo "
             "blank_line, trm sentence");
    v.field("semicolons", semicolons, "sentences end at semicolons, too");
    v.choice("truncated", truncated, {"skip", "judge", "last_step_wrong"},
             "capo: of an answer at the length limit; skip: no judge is asked, no step is wrong");
    v.field("template", template_file,
            "file with a prompt in Jinja, in the place of the built-in one");
}

void JudgeKeys::visit_oracle(Fields& v) {
    v.field("precision", precision, 0, 1,
            "model=oracle: share of right alarms among the steps it calls wrong");
    v.field("recall", recall, 0, 1, "model=oracle: share of the wrong steps that it finds");
    v.field("errors", errors, 0, 1,
            "trm, model=oracle: instead of precision and recall, how often its verdict is turned "
            "round on sentences that are faithful and right, faithful and wrong, unfaithful and "
            "right, unfaithful and wrong");
}

void JudgeKeys::check_effects(const std::string& kind, bool oracle, const std::string& where,
                              const std::function<bool(const char* key)>& is_set) const {
    const bool capo = kind == "capo", trm = kind == "trm", writes = !oracle && (capo || trm);
    struct Key {
        const char* name;
        bool acts;
        const char* needs;
    };
    const char* model = oracle ? "a model that judges, and this one is oracle"
                               : "a judge that writes, of the kind capo or trm";
    const char* program = "model=oracle";
    const Key keys[] = {
        {"critiques", !oracle && capo, oracle ? model : "a judge of the kind capo"},
        {"vote", !oracle && capo, oracle ? model : "a judge of the kind capo"},
        {"tie", !oracle && capo && (vote == "majority" || tie == JudgeKeys().tie),
         oracle ? model : "a judge of the kind capo and vote=majority"},
        {"propagate", !oracle && capo, oracle ? model : "a judge of the kind capo"},
        {"truncated", !oracle && capo, oracle ? model : "a judge of the kind capo"},
        {"votes", !oracle && trm, oracle ? model : "a judge of the kind trm"},
        {"seed", oracle || writes, model},
        {"temperature", writes, model},
        {"top_p", writes, model},
        {"max_new_tokens", writes, model},
        {"reference_answer", writes, model},
        {"segments", writes, model},
        {"semicolons", writes, model},
        {"template", writes, model},
        {"precision", oracle && errors.empty(), oracle ? "errors to be left out" : program},
        {"recall", oracle && errors.empty(), oracle ? "errors to be left out" : program},
        {"errors", oracle && !capo, oracle ? "a judge of the kind trm" : program}};
    for (const Key& key : keys)
        CHECK(key.acts || !is_set(key.name), "%s%s has no effect: it needs %s", where.c_str(),
              key.name, key.needs);
}
