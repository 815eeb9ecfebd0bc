#include "app/judge/model_judge.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/rng.h"
#include "model/hf.h"
#include "text/unicode.h"

#include <algorithm>

constexpr size_t most_known_bytes = 256u << 20;
constexpr int texts_in_flight = 256;

// The first character of the text that the tokenizer drops; "": it keeps all.
static std::string dropped_character(const Tokenizer& tokenizer, const std::string& text) {
    const std::string kept = tokenizer.decode(tokenizer.encode(text, false), false);
    if (kept == text) return "";
    const std::string normal = normalize_nfc(text).text;
    if (kept == normal) return "";
    const size_t same =
        (size_t)(std::mismatch(normal.begin(), normal.end(), kept.begin(), kept.end()).first -
                 normal.begin());
    for (size_t at = 0; at < normal.size();) {
        const size_t begin = at;
        next_code_point(normal, at);
        if (at > same) return normal.substr(begin, at - begin);
    }
    return "";
}

ModelJudge::ModelJudge(const std::string& path, const JudgeSettings& settings_,
                       const ComputeConfig& compute, const ChatConfig& chat)
    : settings(settings_), model(load_model(path, compute, true)), prompt(settings) {
    settings.check();
    const std::string& directory = model->source;
    CHECK(model->config.head == Head::lm,
          "%s is a reward model and cannot write; the judge of judge.kind=%s must be a language "
          "model",
          directory.c_str(), settings.kind.c_str());
    const bool chats = ChatTemplate::is_in(directory);
    inputs = open_inputs(directory, model->config, chats ? "chat" : "none", true, chat);
    inputs.options.max_length = 0; // a prompt that is too long is a text that failed
    CHECK(inputs.tokenizer, "%s has no tokenizer.json; a judge reads and writes text",
          directory.c_str());
    const std::string dropped =
        dropped_character(*inputs.tokenizer, prompt.text({"", {}, {}, {""}}));
    CHECK(dropped.empty(),
          "the tokenizer of %s has no token for \"%s\" of %s; set judge.template to a file with a "
          "prompt in the judge's alphabet, or take another judge",
          directory.c_str(), dropped.c_str(), prompt.form.where.c_str());
}

// The text with a blank in every spelling of a special token: what an answer holds is read, and ends no turn.
static std::string without_specials(const Tokenizer& tokenizer, std::string text) {
    for (size_t done = 0;;) {
        std::vector<size_t> begins;
        const std::vector<int32_t> ids = tokenizer.encode(text, false, &begins);
        size_t at = std::string::npos;
        for (size_t i = 0; i < ids.size() && at == std::string::npos; ++i)
            if (begins[i] >= done && tokenizer.decode({ids[i]}, true).empty() &&
                !tokenizer.decode({ids[i]}, false).empty())
                at = begins[i];
        if (at == std::string::npos || at >= text.size()) return text;
        text.insert(at + 1, " ");
        done = at + 1;
    }
}

static Json without_specials(const Tokenizer& tokenizer, Json value) {
    if (value.is_string()) return without_specials(tokenizer, value.get<std::string>());
    if (value.is_structured())
        for (Json& item : value) item = without_specials(tokenizer, std::move(item));
    return value;
}

static JudgeQuestion without_specials(const Tokenizer& tokenizer, JudgeQuestion ask) {
    ask.question = without_specials(tokenizer, ask.question);
    ask.reference = without_specials(tokenizer, ask.reference);
    ask.documents = without_specials(tokenizer, ask.documents);
    for (std::string& segment : ask.segments) segment = without_specials(tokenizer, segment);
    return ask;
}

std::vector<int32_t> ModelJudge::prompt_ids(const JudgeQuestion& question,
                                            std::string& why_not) const {
    const std::string text = prompt.text(without_specials(*inputs.tokenizer, question));
    if (!dropped_character(*inputs.tokenizer, text).empty()) why_not = judge_no_token;
    const Row row =
        parse_row({{"prompt", text}}, "the judge's prompt", inputs.options, RowNeed::prompt);
    if ((int)row.ids.size() >= model->config.max_positions) why_not = judge_no_room;
    return row.ids;
}

static std::string key_of(const std::vector<int32_t>& ids) {
    return {(const char*)ids.data(), ids.size() * sizeof(int32_t)};
}

static uint64_t seed_of(const std::vector<int32_t>& ids, int64_t seed) {
    uint64_t hash = mix64((uint64_t)seed);
    for (int32_t id : ids) hash = mix64(hash ^ (uint64_t)(uint32_t)id);
    return hash;
}

static SampleConfig sample_of(const JudgeSettings& settings) {
    SampleConfig sample;
    sample.n = settings.texts();
    sample.temperature = settings.temperature(), sample.top_p = settings.keys.top_p;
    sample.max_new_tokens = settings.keys.max_new_tokens;
    sample.batch = texts_in_flight;
    return sample;
}

static JudgeText read_text(const Inputs& inputs, const Completion& written) {
    return {inputs.text(written.ids), written.finished ? "" : judge_cut_off};
}

void ModelJudge::write_ahead(const std::vector<JudgeQuestion>& questions, GenerateStats& stats,
                             LengthHistogram& lengths, const std::function<void()>& drawn) {
    const double start = now();
    SampleConfig sample = sample_of(settings);
    std::vector<std::vector<int32_t>> prompts;
    std::vector<int> all;
    for (const JudgeQuestion& question : questions) {
        std::string why_not;
        std::vector<int32_t> ids = prompt_ids(question, why_not);
        const std::string key = key_of(ids);
        if (!why_not.empty() || known.count(key)) continue;
        if (!ahead.try_emplace(key).second) continue;
        ahead[key].texts.resize((size_t)sample.n);
        sample.seeds.push_back(seed_of(ids, settings.keys.seed));
        all.push_back((int)prompts.size());
        prompts.push_back(std::move(ids));
    }
    auto token = [&](const Completion&) {
        drawn();
        return true;
    };
    for (const Completion& written :
         generate_some(*model, prompts, all, sample, 0, stats, {}, token)) {
        Ahead& entry = ahead[key_of(prompts[written.prompt])];
        entry.texts[written.sample] = read_text(inputs, written);
        entry.new_tokens += (int64_t)written.ids.size();
        lengths.add(std::max(1, (int)written.ids.size()));
    }
    ahead_seconds += now() - start;
}

void ModelJudge::share_ahead() {
    const Collectives* ranks = model->compute.ranks;
    if (!ranks || !ranks->share_work()) return;
    auto put = [](ByteWriter& message, const std::string& text) {
        message.put(std::vector<char>(text.begin(), text.end()));
    };
    auto get = [](ByteReader& message, std::string& text) {
        std::vector<char> bytes;
        message.get(bytes);
        text.assign(bytes.begin(), bytes.end());
    };
    ByteWriter message;
    message.put(ahead_seconds);
    for (const auto& [key, entry] : ahead) {
        put(message, key);
        message.put(entry.new_tokens), message.put((int)entry.texts.size());
        for (const JudgeText& text : entry.texts)
            put(message, text.text), put(message, text.why_not);
    }
    for (const std::string& bytes : ranks->gather(*ranks, message.bytes)) {
        ByteReader reader{bytes};
        double seconds = 0;
        reader.get(seconds);
        ahead_seconds = std::max(ahead_seconds, seconds);
        while (reader.more()) {
            std::string key;
            Ahead entry;
            int texts = 0;
            get(reader, key);
            reader.get(entry.new_tokens), reader.get(texts);
            entry.texts.resize((size_t)texts);
            for (JudgeText& text : entry.texts) get(reader, text.text), get(reader, text.why_not);
            ahead.try_emplace(key, std::move(entry));
        }
    }
}

std::vector<std::vector<JudgeText>> ModelJudge::write(const std::vector<JudgeQuestion>& questions,
                                                      JudgeWork& work,
                                                      const std::function<void()>& done) {
    const double start = now();
    if (known_bytes > most_known_bytes) known.clear(), known_bytes = 0;
    std::vector<std::string> keys;
    std::vector<std::vector<int32_t>> prompts; // to be asked, each once
    SampleConfig sample = sample_of(settings);
    GenerateStats stats;
    int64_t ahead_prompt_tokens = 0, ahead_tokens = 0;
    for (const JudgeQuestion& question : questions) {
        std::string why_not;
        std::vector<int32_t> ids = prompt_ids(question, why_not);
        keys.push_back(key_of(ids));
        ++work.answers;
        auto [at, fresh] = known.try_emplace(keys.back(), sample.n, JudgeText{"", why_not});
        work.cache_hits += !fresh;
        if (!fresh || !why_not.empty()) continue;
        if (auto written = ahead.find(keys.back()); written != ahead.end()) {
            for (const JudgeText& text : written->second.texts)
                known_bytes += text.text.size() + keys.back().size();
            at->second = std::move(written->second.texts);
            ahead_prompt_tokens += (int64_t)ids.size();
            ahead_tokens += written->second.new_tokens;
            continue;
        }
        sample.seeds.push_back(seed_of(ids, settings.keys.seed));
        prompts.push_back(std::move(ids));
    }
    auto ended = [&](const Completion&) {
        if (done) done();
    };
    for (const Completion& written : generate(*model, prompts, sample, 0, &stats, ended)) {
        known[key_of(prompts[written.prompt])][written.sample] = read_text(inputs, written);
    }
    std::vector<std::vector<JudgeText>> texts;
    for (const std::string& key : keys) texts.push_back(known[key]);
    for (const std::vector<int32_t>& ids : prompts)
        for (const JudgeText& text : known[key_of(ids)])
            known_bytes += text.text.size() + sizeof(int32_t) * ids.size();
    work.prompt_tokens += stats.prompt_tokens + ahead_prompt_tokens;
    work.new_tokens += stats.new_tokens + ahead_tokens;
    work.seconds += now() - start + ahead_seconds;
    ahead.clear(), ahead_seconds = 0;
    return texts;
}
