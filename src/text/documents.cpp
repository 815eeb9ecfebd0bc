#include "text/documents.h"

#include <unordered_map>

static Json read_id(const Json& object, const std::string& where) {
    auto id = object.find("id");
    CHECK(id != object.end() && (id->is_number_integer() || id->is_string()),
          "%s: \"id\" must be an integer or a string, found %.60s", where.c_str(),
          id == object.end() ? "none" : id->dump().c_str());
    return *id;
}

static Passage parse_passage(const Json& object, const std::string& where) {
    CHECK(object.is_object(), "%s must be an object {\"id\", \"sentences\"}", where.c_str());
    Passage passage{read_id(object, where), ""};
    auto sentences = object.find("sentences");
    CHECK(sentences != object.end() && sentences->is_array(),
          "%s: \"sentences\" must be a list of {\"id\", \"text\"}", where.c_str());
    for (size_t i = 0; i < sentences->size(); ++i) {
        if (i > 0) passage.text += ' ';
        passage.text +=
            json_string((*sentences)[i], "text", format("%s.sentences[%zu]", where.c_str(), i));
    }
    return passage;
}

Document parse_document(const Json& row, const std::string& where) {
    CHECK(row.contains("passages") || row.contains("text"),
          "%s: a document has \"text\" or \"passages\", found neither; is this a document file?",
          where.c_str());
    Document document;
    document.id = read_id(row, where);
    document.title = json_string_or(row, "title", "", where);
    if (!row.contains("passages")) {
        document.passages.push_back({0, json_string(row, "text", where)});
        return document;
    }
    const Json& passages = row["passages"];
    CHECK(passages.is_array(), "%s: \"passages\" must be a list, found %.60s", where.c_str(),
          passages.dump().c_str());
    for (size_t i = 0; i < passages.size(); ++i)
        document.passages.push_back(
            parse_passage(passages[i], format("%s: passages[%zu]", where.c_str(), i)));
    return document;
}

std::string id_text(const Json& id) { return id.is_string() ? id.get<std::string>() : id.dump(); }

std::vector<Document> read_documents(const std::string& path) {
    std::vector<Document> documents;
    std::unordered_map<std::string, std::string> seen; // id, where
    for_each_row(path, [&](const Json& row, const std::string& where) {
        documents.push_back(parse_document(row, where));
        const std::string id = id_text(documents.back().id);
        auto [before, fresh] = seen.insert({id, where});
        CHECK(fresh, "%s: the id %s stands at %s, too", where.c_str(), id.c_str(),
              before->second.c_str());
    });
    return documents;
}
