#include "app/reward_data.h"

#include "app/inputs.h"

#include <algorithm>

std::vector<int32_t> AnswerRow::prompt() const {
    return {sequence.ids.begin(), sequence.ids.begin() + prompt_length};
}
std::vector<int32_t> AnswerRow::completion() const {
    return {sequence.ids.begin() + prompt_length, sequence.ids.end()};
}

std::string PreferenceData::told() const {
    std::string text;
    if (skipped)
        text = format("%lld rows whose prompt fills the window of %d tokens were skipped",
                      (long long)skipped, window);
    if (cut)
        text += format("%s%lld answers were cut at the window's end", text.empty() ? "" : "; ",
                       (long long)cut);
    return text.empty() ? text : file + ": " + text;
}

namespace {

bool has(const Json& row, const char* key) {
    auto found = row.find(key);
    return found != row.end() && !found->is_null();
}

// Reads the rows of one file.
struct Reader {
    const RowOptions& options;
    PreferenceData& data;

    AnswerRow answer(const Json& row, const std::string& where) {
        Row parsed = parse_row(row, where, options, RowNeed::completion);
        AnswerRow answer;
        answer.sequence = train_sequence(parsed);
        answer.prompt_length = parsed.prompt_length;
        CHECK(!answer.sequence.target.empty(), "%s: the answer has no tokens", where.c_str());
        return answer;
    }

    // False: nothing is left of it.
    bool fit(AnswerRow& answer) {
        if (!data.window || (int)answer.sequence.ids.size() <= data.window) return true;
        if (answer.prompt_length >= data.window) return false;
        ++data.cut;
        answer.text.clear();
        answer.sequence.ids.resize(data.window);
        auto& target = answer.sequence.target;
        target.erase(std::lower_bound(target.begin(), target.end(), data.window), target.end());
        const bool stepwise = !answer.steps.empty();
        std::erase_if(answer.steps, [&](const StepLabel& step) {
            return answer.prompt_length + step.end > data.window;
        });
        return !target.empty() && stepwise == !answer.steps.empty();
    }

    // The row of one side of a pair, in the form that parse_row knows.
    Json side(const Json& row, const std::string& name, const std::string& where) {
        const std::string ids = name + "_ids";
        Json one = Json::object();
        if (has(row, "prompt_ids"))
            one["prompt_ids"] = row["prompt_ids"];
        else
            for (const char* key : {"prompt", "instruction"})
                if (has(row, key) && one.empty()) one["prompt"] = json_string(row, key, where);
        CHECK(!one.empty(), "%s: the pair has no \"prompt\", \"instruction\" or \"prompt_ids\"",
              where.c_str());
        CHECK(has(row, name.c_str()) || has(row, ids.c_str()), "%s: the pair has no \"%s\"",
              where.c_str(), name.c_str());
        const bool from_ids = has(row, ids.c_str());
        Json value = from_ids ? row[ids] : row[name];
        if (!from_ids && value.is_array() && !value.empty()) value = Json(value[0]);
        CHECK(from_ids || value.is_string(), "%s: \"%s\" must be a string, found %.60s",
              where.c_str(), name.c_str(), dump_row(value).c_str());
        CHECK(!value.empty() && value != "", "%s: \"%s\" is empty", where.c_str(), name.c_str());
        one[from_ids ? "completion_ids" : "completion"] = value;
        return one;
    }

    void pair(PreferenceRow& row, const Json& json) {
        for (const char* name : {"chosen", "rejected"})
            row.answers.push_back(answer(side(json, name, row.where), row.where));
        CHECK(row.answers[0].sequence.ids != row.answers[1].sequence.ids,
              "%s: \"chosen\" and \"rejected\" are the same", row.where.c_str());
        for (const char* key : {"prompt", "instruction", "prompt_ids", "chosen", "rejected",
                                "chosen_ids", "rejected_ids"})
            row.source.erase(key);
    }

    // The completion of a row whose steps are texts.
    Json joined(const Json& json, const std::string& where) {
        CHECK(options.tokenizer,
              "%s: the steps are texts, and the model directory has no tokenizer", where.c_str());
        Json row = json, ids = Json::array();
        for (Json& step : row["steps"]) {
            for (int32_t id : options.tokenizer->encode(json_string(step, "text", where), false))
                ids.push_back(id);
            step["end"] = ids.size();
        }
        if (options.add_eos && options.eos >= 0) { // the answer's end belongs to its last step
            ids.push_back(options.eos);
            row["steps"].back()["end"] = ids.size();
        }
        row["completion_ids"] = ids;
        return row;
    }

    void read_steps(AnswerRow& answer, const Json& row, const std::string& where) {
        int before = 0, length = (int)answer.completion().size();
        for (const Json& step : row["steps"]) {
            StepLabel read{(int)json_int(step, "end", where), json_number(step, "label", where)};
            CHECK(read.end > before && read.end <= length,
                  "%s: a step ends at %d; it must be above the one before it, %d, and at most the "
                  "completion's length, %d",
                  where.c_str(), read.end, before, length);
            CHECK(read.label == -1 || read.label == 0 || read.label == 1,
                  "%s: a step's label is %g; it must be -1, 0 or 1", where.c_str(), read.label);
            before = read.end;
            answer.steps.push_back(read);
        }
    }

    void labelled(PreferenceRow& row, const Json& json) {
        const bool steps = has(json, "steps");
        if (steps)
            CHECK(json["steps"].is_array() && !json["steps"].empty() &&
                      json["steps"][0].is_object(),
                  "%s: \"steps\" must be a list of {\"end\" or \"text\", \"label\"} and not empty",
                  row.where.c_str());
        Json whole = steps && has(json["steps"][0], "text") ? joined(json, row.where) : json;
        row.answers.push_back(answer(whole, row.where));
        if (steps) read_steps(row.answers[0], whole, row.where);
        for (const char* key : {"completion", "response"})
            if (has(json, key) && json[key].is_string() && !has(json, "completion_ids"))
                row.answers[0].text = json[key].get<std::string>();
        for (const char* key : {"label", "reward"})
            if (has(json, key) && std::isnan(row.answers[0].label)) {
                row.answers[0].label = json_number(json, key, row.where);
                CHECK(row.answers[0].label == 0 || row.answers[0].label == 1,
                      "%s: \"%s\" is %g; an answer's label is 0 or 1", row.where.c_str(), key,
                      row.answers[0].label);
            }
        for (const char* key : {"prompt", "instruction", "prompt_ids", "completion", "response",
                                "completion_ids", "ids"})
            row.source.erase(key);
    }

    void read(const Json& json, const std::string& where) {
        CHECK(json.is_object(), "%s: a row must be a JSON object, found %s", where.c_str(),
              json.type_name());
        PreferenceRow row;
        row.where = where, row.source = json;
        if (has(json, "chosen") || has(json, "chosen_ids") || has(json, "rejected") ||
            has(json, "rejected_ids"))
            pair(row, json);
        else
            labelled(row, json);
        CHECK(data.rows.empty() || data.rows[0].paired() == row.paired(),
              "%s: pairs and single answers in one file; the rows before this one are %s",
              where.c_str(), row.paired() ? "single answers" : "pairs");
        bool fits = true;
        for (AnswerRow& each : row.answers) fits = fits && fit(each);
        if (row.paired() && fits) fits = row.answers[0].sequence.ids != row.answers[1].sequence.ids;
        if (fits)
            data.rows.push_back(std::move(row));
        else
            ++data.skipped;
    }
};

} // namespace

PreferenceData read_preferences(const std::string& path, RowOptions options, int window) {
    PreferenceData data;
    data.file = path, data.window = window;
    options.max_length = 0;
    Reader reader{options, data};
    for_each_row(path,
                 [&](const Json& json, const std::string& where) { reader.read(json, where); });
    CHECK(!data.rows.empty(), "%s: every prompt fills the window of %d tokens; nothing is left",
          path.c_str(), window);
    return data;
}

// ---- examples -----------------------------------------------------------------------------------

static std::vector<StepLabel> steps_of(const AnswerRow& answer, const std::string& where,
                                       const Task* task) {
    if (!answer.steps.empty()) return answer.steps;
    CHECK(task && task->verify_steps,
          "%s: the row has no \"steps\" with labels; give them, or a task whose steps can be "
          "checked (task.name=arithmetic)",
          where.c_str());
    Problem problem;
    problem.prompt_ids = answer.prompt();
    problem.where = where;
    std::vector<StepLabel> steps;
    for (const StepVerdict& step : task->verify_steps(problem, answer.completion()))
        steps.push_back({step.end, step.right ? 1.0 : -1.0});
    return steps;
}

static void add_answer(RewardExample& example, const AnswerRow& answer, double label,
                       const std::string& where, const RewardKind& kind, const Task* task) {
    TrainSequence sequence = answer.sequence;
    std::vector<double> labels;
    if (kind.reads == RewardKind::Reads::last) {
        sequence.target = {sequence.target.back()};
    } else if (kind.reads == RewardKind::Reads::steps) {
        sequence.target.clear();
        for (const StepLabel& step : steps_of(answer, where, task)) {
            sequence.target.push_back(answer.prompt_length + step.end - 1);
            labels.push_back(step.label);
        }
    }
    if (!kind.pairs() && labels.empty()) labels = {label};
    example.sequences.push_back(std::move(sequence));
    example.labels.push_back(labels);
}

std::vector<RewardExample> reward_examples(const PreferenceData& data, const RewardKind& kind,
                                           const Task* task) {
    CHECK(!kind.pairs() || data.paired(),
          "%s: reward.kind=%s needs pairs, rows with \"chosen\" and \"rejected\"",
          data.rows[0].where.c_str(), kind.name);
    std::vector<RewardExample> examples;
    for (const PreferenceRow& row : data.rows) {
        RewardExample example;
        for (size_t side = 0; side < row.answers.size(); ++side) {
            double label = row.paired() ? (side == 0 ? 1 : 0) : row.answers[side].label;
            CHECK(kind.pairs() || kind.reads == RewardKind::Reads::steps || !std::isnan(label),
                  "%s: the row has no \"label\"; reward.kind=%s needs %s, or pairs",
                  row.where.c_str(), kind.name, kind.labels);
            add_answer(example, row.answers[side], label, row.where, kind, task);
        }
        examples.push_back(std::move(example));
    }
    return examples;
}

RewardBatch reward_batch(const std::vector<RewardExample>& examples,
                         const std::vector<int>& picked) {
    RewardBatch batch;
    batch.paired = examples[picked[0]].sequences.size() == 2;
    for (int bundle = 0; bundle < (int)picked.size(); ++bundle) {
        const RewardExample& example = examples[picked[bundle]];
        // What the answers of a pair have in common goes through the network once; the token before the
        // first target stays each one's own.
        size_t shared = 0;
        if (example.sequences.size() == 2) {
            const TrainSequence &a = example.sequences[0], &b = example.sequences[1];
            size_t most = std::min(a.target[0], b.target[0]) - 1;
            while (shared < most && a.ids[shared] == b.ids[shared]) ++shared;
        }
        for (size_t side = 0; side < example.sequences.size(); ++side) {
            TrainSequence sequence = example.sequences[side];
            sequence.bundle = bundle;
            if (shared) sequence.prompt = bundle, sequence.shared = (int)shared;
            batch.sequences.push_back(std::move(sequence));
            batch.label.push_back(example.labels[side]);
        }
    }
    return batch;
}
