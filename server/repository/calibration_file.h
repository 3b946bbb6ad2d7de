// The samples that `precision: fast` is calibrated with: an .npz of the model's inputs by name.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "model/graph.h"
#include "server/repository/model_config.h"

namespace bitmill {

// Where calibration files are looked for.
struct CalibrationPlace {
  const std::string& real_root;
  const std::string& model_folder;
  const std::string& model_file;  // the version's own
  int64_t max_bytes = 0;          // bounds the file and what it unpacks to
};

// The value of a parameter of the configuration; empty when it is not there.
std::string ParameterOf(const GivenConfig& config, const char* key);

// Null unless the parameter `precision` is "fast". The parameter `calibration` names a file beside
// the model file or else in the model's folder. For each input of the graph it has an array of the
// same name and type with the same number of rows in dimension 0, each of as many elements as a row
// of the input; other arrays are passed over.
//
// Every error names the file: NotFound, InvalidArgument, ResourceExhausted above the bound.
absl::StatusOr<std::shared_ptr<const SampleRows>> ReadCalibrationFile(
    const GivenConfig& config, const Graph& graph, const CalibrationPlace& place);

// What tells the contents of that file apart from others; errors as above.
absl::StatusOr<std::string> DigestCalibrationFile(const GivenConfig& config,
                                                  const CalibrationPlace& place);

}  // namespace bitmill
