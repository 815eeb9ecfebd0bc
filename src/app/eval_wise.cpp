#include "app/eval_wise.h"

#include "app/wise_heads.h"
#include "app/wizard.h"
#include "base/file.h"

#include <algorithm>

void WiseEvalSettings::visit(Fields& v) {
    turn.visit(v);
    v.field("released", released,
            "averages as the authors' code takes them (classes + 1, turns without a keyphrase left "
            "out, BLEU smoothed)");
    v.field("copy", copy, "heads: the model was trained with wise.copy=true");
    v.field("oracle", oracle,
            "sub-tasks (id, ke, ap, qs, ps) whose gold fields the model is given; what success "
            "they add shows which stage breaks the chain");
}

Json eval_predictions(const std::string& path, const WiseEvalSettings& settings) {
    std::vector<WisePrediction> turns;
    for_each_row(path, [&](const Json& row, const std::string& where) {
        turns.push_back(parse_wise_prediction(row, where));
    });
    return wise_metrics(turns, settings.released);
}

static WiseStages oracle_stages(const std::vector<std::string>& names) {
    WiseStages stages{};
    for (const std::string& name : names) {
        const auto* end = std::end(wise_stage_names);
        const auto* found = std::find(std::begin(wise_stage_names), end, name);
        CHECK(found != end && name != "rg",
              "wise.oracle names \"%s\"; it may name id, ke, ap, qs and ps", name.c_str());
        stages[found - std::begin(wise_stage_names)] = true;
    }
    return stages;
}

// What the report shows of a turn, beside gold and prediction.
static Json prediction_row(const WiseExample& example, const WizardTurn& turn,
                           const WisePrediction& prediction) {
    const WiseConversation& conversation = *example.conversation;
    const WiseUtterance& u = example.turn.spoken();
    Json row = {{"conversation_id", conversation.id}, {"msg_id", u.msg_id}};
    for (int before = example.turn.utterance - 1; before >= 0; --before)
        if (!conversation.utterances[before].system) {
            row["user"] = conversation.utterances[before].response;
            break;
        }
    row["gold"] = wise_fields_json(prediction.gold);
    row["predicted"] = wise_fields_json(prediction.predicted);
    Json& texts = row["texts"] = Json::object();
    for (const WiseFields* fields : {&prediction.gold, &prediction.predicted})
        for (const std::string& id : fields->passages)
            if (auto found = turn.texts->find(id); found != turn.texts->end())
                texts[id] = found->second;
    if (!turn.said.why_not.empty()) row["why_not"] = turn.said.why_not;
    if (!turn.text.empty()) row["text"] = turn.text;
    return row;
}

// The turns of the examples as the model says them.
static std::vector<WizardTurn> say(Model& model, const Inputs& inputs, const std::string& form,
                                   const std::vector<WiseExample>& examples, const Wizard& wizard,
                                   bool copy) {
    if (form != "heads") {
        CHECK(!copy,
              "wise.copy=true is of task.form=heads; a model that writes turns as text copies "
              "by its attention");
        return wizard.write(examples);
    }
    CHECK(!wizard.documents, "wise.candidates=search is of task.form=generate; heads read the "
                             "candidates of the file");
    const WiseEncoder encoder(inputs, wizard.settings);
    const std::vector<WiseFields> fields =
        wise_read(model, encoder, examples, wizard.gold, wizard.sample, copy);
    std::vector<WizardTurn> turns;
    for (size_t i = 0; i < examples.size(); ++i) {
        turns.push_back({"", {}, examples[i].turn, examples[i].texts});
        turns.back().said.fields = fields[i];
    }
    return turns;
}

static std::vector<WiseExample> held_out_examples(const TaskConfig& task, int64_t most) {
    const WiseTurns turns = wise_examples(task);
    const int64_t count = std::min(turns.count(Split::eval), most);
    std::vector<WiseExample> examples;
    for (int64_t i = 0; i < count; ++i) examples.push_back(turns.example(Split::eval, i));
    return examples;
}

Json eval_wise(Model& model, const Inputs& inputs, TaskConfig task,
               const WiseEvalSettings& settings, SampleConfig sample, int problems,
               const std::string& out) {
    CHECK(inputs.tokenizer, "%s has no tokenizer.json; turns are text", model.source.c_str());
    task.wise = settings.turn;
    if (!problems) problems = task.name == "wise" ? INT_MAX : 400;
    const std::vector<WiseExample> examples = held_out_examples(task, problems);
    CHECK(!examples.empty(), "there are no turns to ask: set task.conversations");
    std::unique_ptr<DocumentSearch> documents;
    if (settings.turn.candidates == "search") {
        CHECK(!task.documents.empty(),
              "wise.candidates=search needs task.documents: the file to search in");
        documents = std::make_unique<DocumentSearch>(DocumentSearch::open(task.documents, ""));
    }
    sample.n = 1;
    const Wizard wizard{
        model, inputs, sample, settings.turn, oracle_stages(settings.oracle), documents.get()};
    const std::vector<WizardTurn> written =
        say(model, inputs, task.form, examples, wizard, settings.copy);

    std::unique_ptr<AtomicFile> file;
    if (!out.empty()) file = std::make_unique<AtomicFile>(out);
    std::vector<WisePrediction> predictions;
    double unreadable = 0;
    for (size_t i = 0; i < examples.size(); ++i) {
        predictions.push_back({wise_gold(examples[i].turn), written[i].said.fields});
        unreadable += !written[i].said.why_not.empty();
        if (file)
            file->write(dump_row(prediction_row(examples[i], written[i], predictions.back())) +
                        "\n");
    }
    if (file) file->commit();
    Json result = wise_metrics(predictions, settings.released);
    result["unreadable"] = unreadable / (double)examples.size();
    return result;
}

Json wise_progress(Model& model, const Inputs& inputs, const TaskConfig& task, int turns,
                   bool copy) {
    const std::vector<WiseExample> examples = held_out_examples(task, turns);
    WiseSettings settings = task.wise;
    settings.candidates = "file";
    SampleConfig sample;
    sample.temperature = 0;
    const Wizard wizard{model, inputs, sample, settings};
    std::vector<WisePrediction> predictions;
    const std::vector<WizardTurn> written = say(model, inputs, task.form, examples, wizard, copy);
    for (size_t i = 0; i < examples.size(); ++i)
        predictions.push_back({wise_gold(examples[i].turn), written[i].said.fields});
    const Json metrics = wise_metrics(predictions, false);
    return {{"eval_success", metrics["success"]},          {"eval_id_f1", metrics["id"]["f1"]},
            {"eval_ke_rouge_l", metrics["ke"]["rouge_l"]}, {"eval_ap_f1", metrics["ap"]["f1"]},
            {"eval_qs_f1", metrics["qs"]["f1"]},           {"eval_ps_f1", metrics["ps"]["f1"]},
            {"eval_rg_rouge_l", metrics["rg"]["rouge_l"]}};
}
