#pragma once
// The wizard of WISE in form generate: a language model writes turns (task/wise_text.h), and where it is
// asked to, stops in the middle for a search or for a gold field.

#include "app/inputs.h"
#include "rollout/generate.h"
#include "task/wise_task.h"
#include "text/document_search.h"

struct WizardTurn {
    std::string text; // what was written, and what was put in
    WiseSaid said;
    WiseTurn turn; // with the candidates that it saw; points into the example
    std::shared_ptr<const WisePassages> texts;
};

struct Wizard {
    Model& model;
    const Inputs& inputs;
    SampleConfig sample;
    WiseSettings settings;
    WiseStages gold{};                         // stages whose gold field is put in (oracle)
    const DocumentSearch* documents = nullptr; // behind the keyphrases; null: candidates as given
    const DocumentSearch* queries = nullptr;   // ... for candidate queries; null: as given
    // The turns of the examples, in their order.
    std::vector<WizardTurn> write(const std::vector<WiseExample>& examples) const;
};

// Gives the turn what the search finds by its keyphrases: passages, and queries where there is a log of them.
void search_for(WizardTurn& turn, const std::vector<std::string>& keyphrases, const Wizard& wizard);
