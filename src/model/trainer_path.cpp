#include "model/trainer_path.h"

#include "base/file.h"

std::string trainer_path(const std::string& checkpoint, const std::string& name) {
    return join_path(join_path(checkpoint, "trainer"), name);
}

std::string stored_trainer_path(const std::string& checkpoint, const std::string& name) {
    std::string path = trainer_path(checkpoint, name);
    return file_exists(path) ? path : join_path(checkpoint, name);
}
