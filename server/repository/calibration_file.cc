#include "server/repository/calibration_file.h"

#include <filesystem>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/file.h"
#include "base/npz.h"
#include "base/status_macros.h"
#include "server/repository/model_path.h"

namespace bitmill {
namespace {

// The same status, with where the file was asked for and which it is.
absl::Status InFile(const GivenConfig& config, const std::string& path,
                    const absl::Status& status) {
  const std::string text = absl::StrContains(status.message(), path)
                               ? std::string(status.message())
                               : absl::StrCat(path, ": ", status.message());
  return absl::Status(status.code(), absl::StrCat(config.places.Of({{"parameters"}}),
                                                  ": parameter 'calibration': ", text));
}

std::string ListArrays(const NamedTensors& arrays) {
  return absl::StrJoin(arrays, ", ", [](std::string* out, const auto& array) {
    absl::StrAppend(out, QuoteName(array.first));
  });
}

// The rows of one input; `rows` is how many, 0 until known.
absl::StatusOr<std::string> RowsOf(const NamedTensors& arrays, const std::string& name,
                                   const Value& input, int64_t& rows) {
  const auto found = arrays.find(name);
  if (found == arrays.end()) {
    return absl::InvalidArgumentError(absl::StrCat("no array ", QuoteName(name),
                                                   " for the input of that name; it holds ",
                                                   arrays.empty() ? "none" : ListArrays(arrays)));
  }
  const Tensor& array = found->second;
  if (array.dtype() != input.dtype) {
    return absl::InvalidArgumentError(absl::StrCat("array ", QuoteName(name), " holds ",
                                                   DTypeName(array.dtype()), ", the input takes ",
                                                   DTypeName(input.dtype)));
  }
  const int64_t row_elements = ElementCount(input.shape);
  const int64_t count = array.shape().empty() ? 0 : array.shape()[0];
  if (count < 1 || row_elements < 1 || array.elements() % count != 0 ||
      array.elements() / count != row_elements) {
    return absl::InvalidArgumentError(
        absl::StrCat("array ", QuoteName(name), " has shape ", ShapeToString(array.shape()),
                     ", expected rows of ", row_elements, " elements"));
  }
  if (rows != 0 && rows != count) {
    return absl::InvalidArgumentError(
        absl::StrCat("array ", QuoteName(name), " has ", count, " rows, the ones before ", rows));
  }
  rows = count;
  return std::string(static_cast<const char*>(array.data()), static_cast<size_t>(array.bytes()));
}

absl::StatusOr<SampleRows> ReadRows(const Graph& graph, const std::string& real_root,
                                    const std::string& path, int64_t max_bytes) {
  BITMILL_ASSIGN_OR_RETURN(const std::string real, ResolveInside(real_root, path));
  BITMILL_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(real, max_bytes));
  BITMILL_ASSIGN_OR_RETURN(const NamedTensors arrays, ParseNpz(bytes, "", max_bytes));
  SampleRows samples;
  for (const GraphPort& port : graph.inputs) {
    BITMILL_ASSIGN_OR_RETURN(std::string rows,
                             RowsOf(arrays, port.name, graph.value(port.value), samples.rows));
    samples.inputs.push_back(std::move(rows));
  }
  return samples;
}

// Beside the model file, or else in the model's folder.
std::string PathOf(const GivenConfig& config, const CalibrationPlace& place) {
  const std::string name = ParameterOf(config, "calibration");
  const std::string own =
      absl::StrCat(std::filesystem::path(place.model_file).parent_path().string(), "/", name);
  std::error_code error;
  return std::filesystem::exists(own, error) ? own : absl::StrCat(place.model_folder, "/", name);
}

}  // namespace

std::string ParameterOf(const GivenConfig& config, const char* key) {
  const auto found = config.proto.parameters().find(key);
  return found == config.proto.parameters().end() ? "" : found->second.string_value();
}

absl::StatusOr<std::shared_ptr<const SampleRows>> ReadCalibrationFile(
    const GivenConfig& config, const Graph& graph, const CalibrationPlace& place) {
  if (ParameterOf(config, "precision") != "fast") return nullptr;
  const std::string path = PathOf(config, place);
  absl::StatusOr<SampleRows> samples = ReadRows(graph, place.real_root, path, place.max_bytes);
  if (!samples.ok()) return InFile(config, path, samples.status());
  return std::make_shared<const SampleRows>(*std::move(samples));
}

absl::StatusOr<std::string> DigestCalibrationFile(const GivenConfig& config,
                                                  const CalibrationPlace& place) {
  const std::string path = PathOf(config, place);
  const absl::StatusOr<std::string> real = ResolveInside(place.real_root, path);
  if (!real.ok()) return InFile(config, path, real.status());
  const absl::StatusOr<HashedFile> file = HashFile(*real);
  if (!file.ok()) return InFile(config, path, file.status());
  return absl::StrCat(file->stamp.bytes, " bytes, ", absl::Hex(file->hash, absl::kZeroPad16));
}

}  // namespace bitmill
