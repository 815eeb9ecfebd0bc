#include "text/document_search.h"

#include <gtest/gtest.h>
#include <unistd.h>

namespace {
struct DocumentFile : testing::Test {
    std::string path = testing::TempDir() + "documents" + std::to_string(::getpid());
    std::string index = path + ".index";
    ~DocumentFile() override { remove_tree(path), remove_tree(index); }
    DocumentSearch open(const std::string& text, bool with_index = false) {
        write_file(path, text);
        return DocumentSearch::open(path, with_index ? index : "");
    }
    std::string refusal(const std::string& text, bool with_index = false) {
        try {
            open(text, with_index);
            read_documents(path);
        } catch (const Error& error) {
            return error.what();
        }
        return "";
    }
};

const std::string two_forms =
    R"({"id": 12, "title": "T", "origin_link": "x", "passages": [)"
    R"({"id": 0, "sentences": [{"id": 0, "text": "The museum opens"}, {"id": 1, "text": "at nine."}]},)"
    R"({"id": 5, "sentences": [{"id": 0, "text": "Closed on 书 days."}]}]})"
    "\n\n"
    R"({"id": "e", "passages": []})"
    "\n"
    R"({"id": "b", "text": "a museum opens a museum"})";
} // namespace

TEST_F(DocumentFile, BothFormsAreReadAndSearched) {
    DocumentSearch search = open(two_forms);
    EXPECT_EQ(search.document_count, 3u);
    auto hits = search.search("MUSEUM", 10);
    ASSERT_EQ(hits.size(), 2u);
    EXPECT_EQ(hits[0].json()["id"], "b");
    EXPECT_EQ(hits[0].json()["passage"], 0);
    EXPECT_EQ(hits[1].id, 12);
    EXPECT_EQ(hits[1].title, "T");
    EXPECT_EQ(hits[1].text, "The museum opens at nine.");
    hits = search.search("书", 10);
    ASSERT_EQ(hits.size(), 1u);
    EXPECT_EQ(hits[0].passage, 5);
    EXPECT_TRUE(search.search("T", 10).empty()); // titles are not searched
    EXPECT_TRUE(search.search("zebra", 10).empty());

    auto documents = read_documents(path);
    ASSERT_EQ(documents.size(), 3u);
    EXPECT_EQ(documents[0].passages[0].text, "The museum opens at nine.");
    EXPECT_EQ(id_text(documents[0].id), "12");
    EXPECT_EQ(id_text(documents[2].id), "b");
}

TEST_F(DocumentFile, AnIndexIsWrittenMappedAndCheckedAgainstTheDocuments) {
    DocumentSearch built = open(two_forms, true);
    EXPECT_FALSE(built.index_file);
    DocumentSearch mapped = open(two_forms, true);
    EXPECT_TRUE(mapped.index_file);
    auto wanted = built.search("museum opens nine", 5),
         found = mapped.search("museum opens nine", 5);
    ASSERT_EQ(found.size(), wanted.size());
    for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].json(), wanted[i].json());

    std::string other = two_forms;
    other[other.find("nine")] = 'N';
    EXPECT_NE(refusal(other, true).find("other documents"), std::string::npos);
    std::string bytes = read_file(index);
    write_file(index, bytes.substr(0, bytes.size() - 8));
    EXPECT_NE(refusal(two_forms, true).find("remove it"), std::string::npos);
    write_file(index, "{\"id\": 1}");
    EXPECT_NE(refusal(two_forms, true).find("no index"), std::string::npos);
}

TEST_F(DocumentFile, FaultsAreNamedWithLineAndField) {
    auto expect = [&](const std::string& text, std::initializer_list<const char*> parts) {
        const std::string message = refusal(text);
        for (const char* part : parts)
            EXPECT_NE(message.find(part), std::string::npos) << part << " in: " << message;
    };
    expect("", {"no documents"});
    expect("{\"id\": 1, \"text\": \"a\"}\n\n{\"id\": 2}", {":3", "text", "passages"});
    expect("{\"text\": \"a\"}", {":1", "\"id\""});
    expect("{\"id\": 1, \"text\": 5}", {":1", "\"text\"", "string"});
    expect("{\"id\": 1, \"passages\": [{\"id\": 1}]}", {":1", "passages[0]", "sentences"});
    expect("{\"id\": 1, \"passages\": [{\"id\": 1, \"sentences\": [{\"id\": 0}]}]}",
           {":1", "passages[0].sentences[0]", "text"});
    expect("[1]", {":1", "object"});
    expect("{\"question\": \"q\", \"answer\": \"a\"}", {":1", "document file"});
    expect("{\"id\": 1, \"text\": \"a\"}\n{\"id\": \"1\", \"text\": \"b\"}", {":2", "id 1", ":1"});
}

TEST_F(DocumentFile, ManyChunksKeepTheOrder) {
    std::string text, filling(20000, ' ');
    for (int i = 0; i < 900; ++i) // 18 MB in chunks of 8
        text += "{\"id\": " + std::to_string(i) + ", \"text\": \"common n" + std::to_string(i) +
                "\"" + filling + "}\n";
    DocumentSearch search = open(text);
    EXPECT_EQ(search.index.passages(), 900u);
    for (int i : {0, 419, 420, 899}) {
        auto hits = search.search("n" + std::to_string(i), 3);
        ASSERT_EQ(hits.size(), 1u);
        EXPECT_EQ(hits[0].id, i);
    }
    auto hits = search.search("common", 4);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(hits[i].id, i);
}
