// The calls of bitmill.analysis.v1.AnalysisService that take one message and give one.
//
// All answer Unavailable while the analysis (or, for Feedback and Promote, the watch over the
// models' quality) is switched off, NotFound for a model that is not in the repository, and
// InvalidArgument for numbers that are negative or not numbers.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "server/frontend/frontend_context.h"
#include "server/frontend/unary_rpcs.h"

namespace bitmill {

// By path, "/bitmill.analysis.v1.AnalysisService/GetReport".
const UnaryRpcs& AnalysisUnaryRpcs();

// NotFound, unless the repository has the model, loaded or not, or the name is empty (all models).
absl::Status CheckModelKnown(const FrontendContext& context, const std::string& model);

// Unavailable while the analysis is switched off.
absl::Status CheckAnalysisOn(const FrontendContext& context);

// InvalidArgument, naming the field, unless the value is a number and not below zero.
absl::Status CheckNotNegative(const char* field, double value);

}  // namespace bitmill
