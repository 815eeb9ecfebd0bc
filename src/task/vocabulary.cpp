#include "task/vocabulary.h"

#include "base/check.h"
#include "format/tokenizer_file.h"

#include <algorithm>

Vocabulary::Vocabulary(std::vector<std::string> words) : spelling(std::move(words)) {
    for (const char* word : {"<eos>", "<bos>", "<pad>"}) spelling.push_back(word);
}

Vocabulary Vocabulary::with_ascii() const {
    Vocabulary wide = *this;
    std::string characters = "\n";
    for (char c = ' '; c <= '~'; ++c) characters += c;
    for (char c : characters) {
        const std::string character(1, c);
        if (std::find(spelling.begin(), spelling.end(), character) != spelling.end()) continue;
        wide.spelling.push_back(character);
        ++wide.more;
    }
    return wide;
}

int32_t Vocabulary::id(const std::string& word) const {
    const auto found = std::find(spelling.begin(), spelling.end(), word);
    CHECK(found != spelling.end(), "\"%s\" is no word of the task's vocabulary", word.c_str());
    return (int32_t)(found - spelling.begin());
}

std::string Vocabulary::text(const std::vector<int32_t>& ids, bool special) const {
    std::string out;
    for (int32_t id : ids) {
        if (id < 0 || id >= size())
            out += "?";
        else if (id < eos() || id > pad() || special)
            out += spelling[id];
    }
    return out;
}

std::string Vocabulary::tokenizer_json() const {
    Json vocab = Json::object(), added = Json::array();
    for (int id = 0; id < size(); ++id) {
        const bool special = id >= eos() && id <= pad();
        const bool word = !special && spelling[id].size() > 1;
        const std::string byte_level = spelling[id] == " "    ? "\u0120"
                                       : spelling[id] == "\n" ? "\u010a"
                                                              : spelling[id];
        vocab[byte_level] = id; // added tokens that are not in here would get other ids
        if (!special && !word) continue;
        added.push_back({{"id", id},
                         {"content", spelling[id]},
                         {"single_word", false},
                         {"lstrip", false},
                         {"rstrip", false},
                         {"normalized", false},
                         {"special", special}});
    }
    Json first = {{"SpecialToken", {{"id", "<bos>"}, {"type_id", 0}}}};
    auto sequence = [](const char* id, int type) {
        return Json{{"Sequence", {{"id", id}, {"type_id", type}}}};
    };
    Json special = {{"<bos>", {{"id", "<bos>"}, {"ids", {bos()}}, {"tokens", {"<bos>"}}}}};
    BpeFile file;
    file.added = added, file.vocab = vocab;
    file.pre_tokenizer = file.decoder = byte_level_stage(true);
    file.post_processor = {{"type", "TemplateProcessing"},
                           {"single", Json::array({first, sequence("A", 0)})},
                           {"pair", Json::array({first, sequence("A", 0), sequence("B", 1)})},
                           {"special_tokens", special}};
    return tokenizer_file(file).dump(2) + "\n";
}

std::string Vocabulary::tokenizer_config_json() const {
    Json root = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"bos_token", "<bos>"},
                 {"eos_token", "<eos>"},
                 {"pad_token", "<pad>"},
                 {"clean_up_tokenization_spaces", false}};
    return root.dump(2) + "\n";
}
