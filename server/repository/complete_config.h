// Brings a configuration and a model together: what is served, and the complete configuration that
// ModelConfig answers.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "server/repository/model_config.h"
#include "server/repository/model_settings.h"

namespace bitmill {

// What to serve, known before the model is compiled. `name` is the folder; a name inside the
// configuration must be the same. `batchable` as in Graph; `default_max_rows` is the batch limit
// where the configuration writes none. InvalidArgument with the place.
//
// max_batch_size that is not written: `default_max_rows` for a batchable model, otherwise 0. A
// written 0 keeps a batchable model from gathering requests; its rows are then described as a first
// dimension of -1. Dynamic batching is on unless the configuration limits batches without asking
// for it.
absl::StatusOr<ModelSettings> MakeSettings(const GivenConfig& given, const std::string& name,
                                           bool batchable, int64_t default_max_rows);

// Checks inputs and outputs against the compiled model, fills in what is missing, and returns the
// whole as protobuf text. InvalidArgument naming tensor, value seen and value wanted, with the
// place.
absl::StatusOr<std::string> CompleteConfig(const GivenConfig& given, const ModelSettings& settings,
                                           const Signature& signature);

// "TYPE_FP32"; TYPE_INVALID for kBit1 and kInvalid.
inference::DataType ToConfigType(DType dtype);

}  // namespace bitmill
