#pragma once
// Pages of the key/value cache, counted by the sequences that read them: samples of one prompt
// share its pages.

#include "base/check.h"

#include <vector>

struct PagePool {
    std::vector<int> free_pages, readers;
    explicit PagePool(int count) : readers(count, 0) {
        for (int page = count - 1; page >= 0; --page) free_pages.push_back(page);
    }
    // A page with one reader.
    int take() {
        CHECK(!free_pages.empty(), "the key/value cache has no free page");
        int page = free_pages.back();
        free_pages.pop_back();
        readers[page] = 1;
        return page;
    }
    void share(int page) { ++readers[page]; }
    void drop(int page) {
        if (--readers[page] == 0) free_pages.push_back(page);
    }
};
