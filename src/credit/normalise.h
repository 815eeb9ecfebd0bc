#pragma once
// A source's numbers on one scale, before its weight:
//
//   none       x
//   mean_std   (x - mean) / (std + 1e-8)     over the batch
//   std        x / (std + 1e-8)              over the batch
//   group      (x - mean) / std              over the prompt's; 0 where std is 0 or below the floor
//
// std is the population's. What a source failed on does not count.

#include <cstdint>
#include <span>
#include <vector>

enum class Normalise { automatic, none, mean_std, std, group };
const char* name_of(Normalise how);

// group, counts: of each number. Numbers that do not count are left as they come out.
std::vector<double> normalised(std::vector<double> x, std::span<const uint8_t> counts,
                               std::span<const int> group, Normalise how, double std_floor);
