#pragma once
// Document files: JSON Lines, one document per line, in either of two forms,
//
//   {"id", "title"?, "passages": [{"id", "sentences": [{"id", "text"}, ..]}, ..]}   (WISE's)
//   {"id", "title"?, "text"}                                                        one passage, 0
//
// A passage's text is its sentences joined by one blank. Unknown keys are passed over.

#include "base/json.h"

struct Passage {
    Json id; // as in the file: a number or a string
    std::string text;
};

struct Document {
    Json id; // as in the file
    std::string title;
    std::vector<Passage> passages;
};

Document parse_document(const Json& row, const std::string& where);
// In order; an id that names two documents is an error.
std::vector<Document> read_documents(const std::string& path);

// An id as it stands in "docId-passageId".
std::string id_text(const Json& id);
