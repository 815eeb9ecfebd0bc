#pragma once
// What `rlhf check` can check. Each prints a table with verdicts and returns 0, or 2 if one failed.

#include "base/config.h"

int check_grad(const Args& args);
int check_parity(const Args& args);
