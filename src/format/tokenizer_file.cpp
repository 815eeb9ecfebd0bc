#include "format/tokenizer_file.h"

Json byte_level_stage(bool regex) {
    return {{"type", "ByteLevel"},
            {"add_prefix_space", false},
            {"trim_offsets", true},
            {"use_regex", regex}};
}

Json split_stage(const std::string& pattern) {
    const Json split = {{"type", "Split"},
                        {"pattern", {{"Regex", pattern}}},
                        {"behavior", "Isolated"},
                        {"invert", false}};
    return {{"type", "Sequence"}, {"pretokenizers", Json::array({split, byte_level_stage(false)})}};
}

Json tokenizer_file(BpeFile file) {
    return {{"version", "1.0"},
            {"truncation", nullptr},
            {"padding", nullptr},
            {"added_tokens", std::move(file.added)},
            {"normalizer", std::move(file.normalizer)},
            {"pre_tokenizer", std::move(file.pre_tokenizer)},
            {"post_processor", std::move(file.post_processor)},
            {"decoder", std::move(file.decoder)},
            {"model",
             {{"type", "BPE"},
              {"dropout", nullptr},
              {"unk_token", nullptr},
              {"continuing_subword_prefix", nullptr},
              {"end_of_word_suffix", nullptr},
              {"fuse_unk", false},
              {"byte_fallback", false},
              {"ignore_merges", file.ignore_merges},
              {"vocab", std::move(file.vocab)},
              {"merges", std::move(file.merges)}}}};
}
