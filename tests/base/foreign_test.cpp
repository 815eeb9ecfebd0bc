#include "base/foreign.h"

#include <gtest/gtest.h>

TEST(ForeignContent, IsToldByItsFirstBytes) {
    const std::string zeros(300, '\0');
    std::string tar(257, 'a');
    tar += "ustar";
    const std::pair<std::string, const char*> cases[] = {
        {"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n", "Git LFS"},
        {"\x1F\x8B\x08" + zeros, "gzip"},
        {"BZh91AY&SY" + zeros, "bzip2"},
        {"\x28\xB5\x2F\xFD\x04" + zeros, "zstd"},
        {std::string("\xFD\x37zXZ\0\0", 7) + zeros, "xz"},
        {"PK\x03\x04" + zeros, "zip"},
        {tar + zeros, "tar"},
        {"PAR1" + zeros, "Parquet"},
        {std::string("ARROW1\0\0", 8) + zeros, "Arrow"},
        {"\xFF\xFF\xFF\xFF\x10" + zeros, "Arrow"},
        {std::string("\xFF\xFE{\0\"\0", 6), "UTF-16"},
        {std::string("\xFE\xFF\0{\0\"", 6), "UTF-16"},
        {std::string("{\0\"\0i\0", 6), "UTF-16"},
        {std::string("\x58\0\0\0\0\0\0\0{\"w\"", 12) + zeros, "safetensors"},
        // headers of 35615, 640, 65279 and 65600 bytes, which begin as gzip, pickles and UTF-16 do
        {std::string("\x1F\x8B\0\0\0\0\0\0{", 9) + zeros, "safetensors"},
        {std::string("\x80\x02\0\0\0\0\0\0{", 9) + zeros, "safetensors"},
        {std::string("\xFF\xFE\0\0\0\0\0\0{", 9) + zeros, "safetensors"},
        {std::string("\x40\0\x01\0\0\0\0\0{", 9) + zeros, "safetensors"},
        {"GGUF\x03" + zeros, "GGUF"},
        {"<!DOCTYPE html><html>", "web page"}};
    for (const auto& [bytes, part] : cases)
        EXPECT_TRUE(foreign_content(bytes).find(part) != std::string::npos)
            << part << ": " << foreign_content(bytes);
    for (const char* text : {"", "{\"text\": \"a\"}", "\xEF\xBB\xBF{}", "[1]", "abc", "versions"})
        EXPECT_EQ(foreign_content(text), "") << text;
}
