#include "text/document_search.h"

#include <algorithm>
#include <cstring>
#include <exception>

// Index file: this header, line and first of every document, then the bytes of the Bm25Index.
struct IndexHeader {
    char magic[8];
    uint64_t documents_size, documents_hash; // of the document file
    uint64_t document_count;
};
static const char index_magic[8] = {'r', 'l', 'h', 'f', 'B', 'M', '2', '5'};

// 64 bits of a file, in four lanes of 8 bytes, so that it takes no longer than reading it.
static uint64_t hash_bytes(const uint8_t* data, size_t size) {
    const uint64_t prime = 0x9E3779B97F4A7C15;
    uint64_t lane[4] = {1, 2, 3, 4};
    size_t at = 0;
    for (; at + 32 <= size; at += 32)
        for (int i = 0; i < 4; ++i) {
            uint64_t word;
            std::memcpy(&word, data + at + 8 * i, 8);
            lane[i] = (lane[i] ^ word) * prime;
            lane[i] ^= lane[i] >> 32;
        }
    for (; at < size; ++at) lane[0] = (lane[0] ^ data[at]) * prime, lane[0] ^= lane[0] >> 32;
    uint64_t hash = size;
    for (uint64_t value : lane) hash = (hash ^ value) * prime, hash ^= hash >> 32;
    return hash;
}

static std::string_view line_at(const MappedFile& file, size_t begin) {
    const char* text = (const char*)file.data + begin;
    const void* end = std::memchr(text, '\n', file.size - begin);
    return {text, end ? (size_t)((const char*)end - text) : file.size - begin};
}

static bool is_blank_line(std::string_view line) {
    return line.find_first_not_of(" \t\r") == std::string_view::npos;
}

// A stretch of whole lines, and what one thread makes of it.
struct Chunk {
    size_t begin, end;
    int line_number; // of the first line, from 1
    std::vector<Bm25Builder> builders{};
    std::vector<uint64_t> line{}, passages{}; // (documents)
};

static void read_chunk(const MappedFile& file, Chunk& chunk) {
    chunk.builders.emplace_back();
    int number = chunk.line_number;
    for (size_t at = chunk.begin; at < chunk.end; ++number) {
        const std::string_view line = line_at(file, at);
        const size_t begin = at;
        at += line.size() + 1;
        if (is_blank_line(line)) continue;
        const std::string where = file.path + ":" + std::to_string(number);
        const Json row = parse_json(std::string(line), where);
        CHECK(row.is_object(), "%s: a document must be a JSON object, found %s", where.c_str(),
              row.type_name());
        const Document document = parse_document(row, where);
        chunk.line.push_back(begin), chunk.passages.push_back(document.passages.size());
        for (const Passage& passage : document.passages) {
            if (chunk.builders.back().passages() == Bm25Builder::max_passages)
                chunk.builders.emplace_back();
            chunk.builders.back().add(passage.text);
        }
    }
}

void DocumentSearch::build() {
    const size_t chunk_bytes = 8 << 20;
    std::vector<Chunk> chunks;
    int line_number = 1;
    for (size_t begin = 0; begin < documents->size;) {
        size_t end = std::min(begin + chunk_bytes, documents->size);
        if (end < documents->size) end += line_at(*documents, end).size() + 1;
        end = std::min(end, documents->size);
        chunks.push_back({begin, end, line_number});
        line_number += (int)std::count(documents->data + begin, documents->data + end, '\n');
        begin = end;
    }
    std::exception_ptr failure; // of the first chunk that has one
    uint64_t passages = 0;
#pragma omp parallel for ordered schedule(dynamic)
    for (Chunk& chunk : chunks) {
        std::exception_ptr mine;
        try {
            read_chunk(*documents, chunk);
        } catch (const Error&) {
            mine = std::current_exception();
        }
#pragma omp ordered
        {
            if (!failure) failure = mine;
            for (Bm25Builder& builder : chunk.builders)
                if (!failure) index.add(std::move(builder));
            for (size_t i = 0; i < chunk.line.size(); ++i) {
                line_storage.push_back(chunk.line[i]), first_storage.push_back(passages);
                passages += chunk.passages[i];
            }
            chunk = {};
        }
    }
    if (failure) std::rethrow_exception(failure);
    CHECK(!line_storage.empty(), "%s holds no documents; it must have one JSON object per line",
          documents->path.c_str());
    index.finish();
    document_count = line_storage.size();
    line = line_storage.data(), first = first_storage.data();
}

void DocumentSearch::write(const std::string& path) const {
    IndexHeader header{};
    std::memcpy(header.magic, index_magic, 8);
    header.documents_size = documents->size;
    header.documents_hash = hash_bytes(documents->data, documents->size);
    header.document_count = document_count;
    AtomicFile file(path);
    file.write(&header, sizeof header);
    file.write(line, document_count * 8), file.write(first, document_count * 8);
    index.write([&](const void* bytes, size_t count) { file.write(bytes, count); });
    file.commit();
}

void DocumentSearch::map(const std::string& path) {
    index_file = std::make_unique<MappedFile>(path);
    const MappedFile& file = *index_file;
    const IndexHeader& header = *(const IndexHeader*)file.data;
    CHECK(file.size >= sizeof header && !std::memcmp(header.magic, index_magic, 8),
          "%s is no index of this program; name another file, or one that is not there",
          path.c_str());
    CHECK(header.documents_size == documents->size &&
              header.documents_hash == hash_bytes(documents->data, documents->size),
          "%s was made of other documents than %s holds now; remove it, and it is written anew",
          path.c_str(), documents->path.c_str());
    document_count = header.document_count;
    CHECK(document_count <= (file.size - sizeof header) / 16,
          "%s is cut off; remove it, and it is written anew", path.c_str());
    line = (const uint64_t*)(file.data + sizeof header), first = line + document_count;
    const uint8_t* rest = (const uint8_t*)(first + document_count);
    index = Bm25Index::map(rest, (size_t)(file.data + file.size - rest), path);
    bool sound = std::is_sorted(first, first + document_count);
    for (uint64_t d = 0; d < document_count; ++d) sound = sound && line[d] < documents->size;
    CHECK(sound && document_count > 0 && first[0] == 0,
          "%s is damaged; remove it, and it is written anew", path.c_str());
}

DocumentSearch DocumentSearch::open(const std::string& documents_path,
                                    const std::string& index_path) {
    DocumentSearch search;
    search.documents = std::make_unique<MappedFile>(documents_path);
    if (!index_path.empty() && file_exists(index_path)) {
        search.map(index_path);
        return search;
    }
    search.build();
    if (!index_path.empty()) search.write(index_path);
    return search;
}

std::vector<DocumentHit> DocumentSearch::search(const std::string& query, int top) const {
    std::vector<DocumentHit> hits;
    for (const SearchHit& hit : index.search(query, top)) {
        // The last document whose first passage is not behind the hit; earlier ones of the same first
        // have no passages.
        const uint64_t d =
            (uint64_t)(std::upper_bound(first, first + document_count, hit.passage) - first) - 1;
        const std::string where =
            format("%s, byte %llu", documents->path.c_str(), (unsigned long long)line[d]);
        const Document document =
            parse_document(parse_json(std::string(line_at(*documents, line[d])), where), where);
        const uint64_t p = hit.passage - first[d];
        CHECK(p < document.passages.size(), "%s: the index does not fit the documents",
              where.c_str());
        hits.push_back({document.id, document.passages[p].id, hit.score, document.title,
                        document.passages[p].text});
    }
    return hits;
}

Json DocumentHit::json() const {
    return {{"id", id}, {"passage", passage}, {"score", score}, {"title", title}, {"text", text}};
}
