#pragma once
// Where a checkpoint keeps what its trainer alone needs: below trainer/, because the loaders of other
// programs read every *.safetensors beside the model's own.

#include <string>

std::string trainer_path(const std::string& checkpoint, const std::string& name);
// To read: checkpoints from before have it beside the model.
std::string stored_trainer_path(const std::string& checkpoint, const std::string& name);
