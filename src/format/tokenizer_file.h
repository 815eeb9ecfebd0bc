#pragma once
// tokenizer.json of a byte-level BPE as the tokenizers library writes it, for vocabularies that come from
// elsewhere: a built-in task's, a GGUF file's.

#include "base/json.h"

struct BpeFile {
    Json added = Json::array(), normalizer, pre_tokenizer, post_processor, decoder;
    Json vocab = Json::object(), merges = Json::array(); // token to id; "left right"
    bool ignore_merges = false; // a word of the vocabulary is one token, whatever the merges say
};
Json tokenizer_file(BpeFile file);

// {"type": "ByteLevel"}. regex: it cuts words by GPT-2's pattern itself.
Json byte_level_stage(bool regex);
// Words by a pattern, then their bytes.
Json split_stage(const std::string& pattern);
