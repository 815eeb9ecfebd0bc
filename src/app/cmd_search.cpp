// rlhf search: BM25 over the passages of a document file.

#include "app/commands.h"
#include "base/clock.h"
#include "base/file.h"
#include "text/document_search.h"

#include <cstdio>

namespace {
struct SearchConfig {
    std::string documents, query, queries, index, out = "-";
    int top = 10;
    void visit(Fields& v) {
        v.field("documents", documents, "document file, JSON Lines");
        v.field("query", query, "words to search for");
        v.field("queries", queries, "instead of query: file of rows with \"query\"");
        v.field("top", top, 1, 1e6, "hits of a query");
        v.field("index", index,
                "index file: mapped if it is there and fits the documents, else written");
        v.field("out", out, "file to write; - is standard output");
    }
};
} // namespace

static int search(SearchConfig& config, const Args& args) {
    CHECK(!config.documents.empty(), "documents is missing: the file to search in");
    const bool one = names_key(args, "query");
    CHECK(one == config.queries.empty(), "search needs query=WORDS or queries=FILE; %s given",
          one ? "both are" : "neither is");
    const double start = now();
    DocumentSearch documents = DocumentSearch::open(config.documents, config.index);
    const double opened = now();
    AtomicFile out(config.out);
    int64_t queries = 0;
    double seconds = 0;
    auto answer = [&](const std::string& query) {
        const double begin = now();
        auto hits = documents.search(query, config.top);
        seconds += now() - begin, ++queries;
        return hits;
    };
    if (one) {
        for (const DocumentHit& hit : answer(config.query)) out.write(dump_row(hit.json()) + "\n");
    } else {
        for_each_row(config.queries, [&](const Json& row, const std::string& where) {
            Json line = row;
            Json& hits = line["hits"] = Json::array();
            for (const DocumentHit& hit : answer(json_string(row, "query", where)))
                hits.push_back(hit.json());
            out.write(dump_row(line) + "\n");
        });
    }
    out.commit();
    std::fprintf(
        stderr, "%llu documents, %u passages, %llu words %s in %.2f s; %lld queries in %.4f s\n",
        (unsigned long long)documents.document_count, documents.index.passages(),
        (unsigned long long)documents.index.words(), documents.index_file ? "mapped" : "indexed",
        opened - start, (long long)queries, seconds);
    return 0;
}

extern const Command search_command;
const Command search_command = command<SearchConfig, search>(
    "search", "the passages of a document file that fit a query best");
