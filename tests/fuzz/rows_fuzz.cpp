// Any text as a line of a data file, read in every way that a command may ask for.

#include "base/file.h"
#include "text/rows.h"

#include <cstdlib>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    static const std::string directory = "tests/golden/tokenizers/llama3";
    static const auto tokenizer = Tokenizer::load(directory);
    for (RowNeed need : {RowNeed::any, RowNeed::completion, RowNeed::prompt})
        for (const char* name : {"none", "chat"}) {
            RowOptions options;
            options.tokenizer = tokenizer.get();
            options.chat_directory = directory;
            options.template_name = name;
            options.eos = 1;
            options.vocabulary = tokenizer->vocabulary();
            try {
                std::string text((const char*)data, size);
                Row row = parse_row(parse_json(text, "input"), "input:1", options, need);
                bool sound = row.mask.size() == row.ids.size() && row.first >= 1 &&
                             row.first <= (int)row.ids.size() &&
                             row.prompt_length <= (int)row.ids.size();
                if (!sound) std::abort();
                dump_row(other_keys(row));
            } catch (const Error&) {
            }
        }
    return 0;
}
