#pragma once
// Search in a document file (text/documents.h): BM25 over its passages. What is indexed are the passages'
// texts, not titles. Documents stay in the file; a hit is read from its line.

#include "base/file.h"
#include "text/bm25.h"
#include "text/documents.h"

#include <memory>

struct DocumentHit {
    Json id, passage; // as they stand in the file
    double score = 0;
    std::string title, text;
    Json json() const;
};

struct DocumentSearch {
    // index_path: "" for none; a file that is there is mapped, if it was made of these documents (else an
    // error); one that is not is written.
    static DocumentSearch open(const std::string& documents_path, const std::string& index_path);
    std::vector<DocumentHit> search(const std::string& query, int top) const; // best first

    std::unique_ptr<MappedFile> documents, index_file;
    Bm25Index index;
    uint64_t document_count = 0;
    const uint64_t* line = nullptr;  // (documents) byte of the file where its line begins
    const uint64_t* first = nullptr; // (documents) its first passage

private:
    std::vector<uint64_t> line_storage, first_storage;
    void build();
    void write(const std::string& path) const;
    void map(const std::string& path);
};
