#include "base/foreign.h"

std::string foreign_content(std::string_view bytes) {
    static const struct {
        size_t at;
        std::string_view mark;
        const char* what;
    } marks[] = {
        {0, "version https://git-lfs.github.com/spec/v1",
         "is a Git LFS pointer in the place of the file; fetch the file itself (git lfs pull)"},
        {0, "\x1F\x8B", "is compressed by gzip; unpack it first (gunzip)"},
        {0, "BZh", "is compressed by bzip2; unpack it first (bunzip2)"},
        {0, "\x28\xB5\x2F\xFD", "is compressed by zstd; unpack it first (unzstd)"},
        {0, {"\xFD\x37zXZ\0", 6}, "is compressed by xz; unpack it first (unxz)"},
        {0, "\x04\x22\x4D\x18", "is compressed by lz4; unpack it first (unlz4)"},
        {0, "PK\x03\x04",
         "is a zip archive (PyTorch's .bin and .pt are such, too); unpack it, or save "
         "the weights as safetensors"},
        {0, "7z\xBC\xAF\x27\x1C", "is a 7z archive; unpack it first"},
        {257, "ustar", "is a tar archive; unpack it first (tar -xf)"},
        {0, "PAR1",
         "is a Parquet table; write its rows as JSON Lines first (pandas: read_parquet, "
         "to_json with orient=\"records\", lines=True)"},
        {0, "ARROW1", "is an Arrow table; write its rows as JSON Lines first (datasets: to_json)"},
        {0, "SQLite format 3", "is an SQLite data base; write its rows as JSON Lines first"},
        {0, "\x89HDF\r\n", "is an HDF5 file; save the weights as safetensors"},
        {0, "\x80\x02", "is a Python pickle; save the weights as safetensors, rows as JSON Lines"},
        {0, "\x80\x04", "is a Python pickle; save the weights as safetensors, rows as JSON Lines"},
        {0, "GGUF", "is a GGUF model; rlhf convert makes a directory of it"},
        {0, {"\xFF\xFE\0\0", 4}, "is text in UTF-32; UTF-8 is wanted (iconv -t UTF-8)"},
        {0, {"\0\0\xFE\xFF", 4}, "is text in UTF-32; UTF-8 is wanted (iconv -t UTF-8)"},
        {0, "\xFF\xFE", "is text in UTF-16; UTF-8 is wanted (iconv -f UTF-16 -t UTF-8)"},
        {0, "\xFE\xFF", "is text in UTF-16; UTF-8 is wanted (iconv -f UTF-16 -t UTF-8)"},
        {0, "<!DOCTYPE", "is a web page; the download gave something else than the file"},
        {0, "<!doctype", "is a web page; the download gave something else than the file"},
        {0, "<html", "is a web page; the download gave something else than the file"}};
    // A safetensors file first, whose length of the header may look like any mark of two bytes: that
    // length, and the header's brace.
    if (bytes.size() > 8 && bytes.substr(4, 4) == std::string_view("\0\0\0\0", 4) &&
        bytes[8] == '{')
        return "holds weights (safetensors); name the model's directory instead";
    for (const auto& [at, mark, what] : marks)
        if (bytes.size() >= at + mark.size() && bytes.substr(at, mark.size()) == mark) return what;
    // The length of the first message behind the mark: a file of nothing but such bytes is damaged.
    if (bytes.size() >= 8 && bytes.substr(0, 4) == "\xFF\xFF\xFF\xFF" && bytes[7] == 0)
        return "is an Arrow stream; write its rows as JSON Lines first (datasets: to_json)";
    // UTF-16 without its mark: every second byte of an ASCII text is 0.
    if (bytes.size() >= 4 && bytes[0] && !bytes[1] && bytes[2] && !bytes[3])
        return "is text in UTF-16; UTF-8 is wanted (iconv -f UTF-16LE -t UTF-8)";
    return "";
}
