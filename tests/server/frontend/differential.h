// The hand-written decoder of ModelInferRequest against the generated class.
#pragma once

#include <string>

namespace bitmill {

// Decodes the bytes both ways; empty when both accept them and mean the same, or both refuse. What
// only the hand-written one refuses because of its limits (kMaxTensors and the like) is no
// difference.
std::string DifferenceFromGenerated(const std::string& bytes);

}  // namespace bitmill
