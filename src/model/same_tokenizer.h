#pragma once
// Whether two model directories mean the same token by every id.

#include <string>

// Scores are per token, so a policy and its reward model must agree. Compares the vocabularies and added
// tokens of tokenizer.json, or the sizes where one directory has none; the error names the first token
// that differs.
void check_same_tokenizer(const std::string& policy, const std::string& reward);
