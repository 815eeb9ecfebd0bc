#pragma once
// Filters by name: value | name(arguments).

#include "text/jinja/run.h"

#include <map>

namespace jinja {

using Filter = Value (*)(Run&, const Value&, Arguments&);
using Filters = std::map<std::string, Filter>;

const Filters& sequence_filters(); // and those of any value
const Filters& text_filters();
const Filters& number_filters();

} // namespace jinja
