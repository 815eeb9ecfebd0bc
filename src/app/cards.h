#pragma once
// What NVIDIA's data sheets say of a card: the peak that a utilisation is a share of, and the limits of what
// is computed for a card that is not there.

#include <string>

struct Card {
    const char* name;               // part of the name that the driver gives
    double f32_tflops, bf16_tflops; // f32 without tensor cores; bf16 on them, dense, f32 sums
    double memory_gb_per_s;
};

// The first card whose name is part of `name`; null: none is.
const Card* find_card(const std::string& name);
std::string card_names();
