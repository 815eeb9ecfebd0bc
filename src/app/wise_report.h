#pragma once
// The part of a report that a predictions file of WISE gives (report/wise.h).

#include "report/wise.h"

WiseRecord wise_record(const std::string& predictions_path);
