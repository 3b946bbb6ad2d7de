// The types that attributes of the known operators must have.
#pragma once

#include "absl/status/status.h"
#include "model/graph.h"

namespace bitmill {

// InvalidArgument when an attribute that the operators read has another type than they expect; an
// attribute that none of them reads is left alone.
absl::Status CheckAttributeTypes(const Node& node);

}  // namespace bitmill
