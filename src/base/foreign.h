#pragma once
// Files of another kind than the one that was expected.

#include <string>
#include <string_view>

// What the bytes of a file are, with what to do: "is compressed by gzip; unpack it first (gunzip)". Known by
// their first bytes: Git LFS pointers, compressed files, archives, tables, model files, web pages, text in
// UTF-16. "": none of them.
std::string foreign_content(std::string_view bytes);
