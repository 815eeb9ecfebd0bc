#include "app/cards.h"

#include <cctype>

// NVIDIA's data sheets of the products (SXM where there are several forms and no other is named).
static const Card cards[] = {
    {"B200", 75, 2250, 7700},
    {"H200", 67, 989, 4800},
    {"H100 PCIe", 51, 756, 2000},
    {"H100 NVL", 60, 835, 3900},
    {"H100", 67, 989, 3350},
    {"A100 80GB PCIe", 19.5, 312, 1935},
    {"A100-PCIE-40GB", 19.5, 312, 1555},
    {"A100-SXM4-40GB", 19.5, 312, 1555},
    {"A100", 19.5, 312, 2039},
    {"L40S", 91.6, 362, 864},
    {"L4", 30.3, 121, 300},
    {"A40", 37.4, 149.7, 696},
    {"A10", 31.2, 125, 600},
    {"RTX 4090", 82.6, 165.2, 1008},
    {"RTX 3090", 35.6, 71, 936},
};

const Card* find_card(const std::string& name) {
    if (name.find("Laptop") != std::string::npos) return nullptr; // slower than its namesake
    for (const Card& card : cards) {
        const size_t at = name.find(card.name);
        if (at == std::string::npos) continue;
        const size_t end = at + std::string(card.name).size();
        if (end == name.size() || !std::isalnum((unsigned char)name[end]))
            return &card; // no "A10G"
    }
    return nullptr;
}

std::string card_names() {
    std::string names;
    for (const Card& card : cards) names += std::string(names.empty() ? "" : ", ") + card.name;
    return names;
}
