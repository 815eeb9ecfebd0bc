#pragma once
// rlhf simulate curves=true: what changes with devices, swaps, waves and drift.

#include "app/simulate/cluster.h"
#include "report/chart.h"

// One figure: as a chart where it is lines, as a table always.
struct SimulatedFigure {
    std::string title, text;        // text: what is shown, in a sentence
    std::vector<std::string> names; // of the columns
    std::vector<std::vector<std::string>> rows;
    std::optional<Chart> chart;
};

// Five figures; progress is called as each one begins.
std::vector<SimulatedFigure> simulated_figures(const SimulateConfig& config,
                                               const std::function<void(const char*)>& progress);
// How far the simulator was off where ranks played the same: of the rows that emulate=true wrote; that it
// is not known where no file is named.
std::string validation_error(const std::string& rows);
std::string figure_text(const SimulatedFigure& figure);
// The page: the run that was simulated, as text, and the figures.
std::string simulated_page(const SimulateConfig& config, const std::string& run_text,
                           const std::vector<SimulatedFigure>& figures);
