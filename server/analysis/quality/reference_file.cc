#include "server/analysis/quality/reference_file.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

absl::StatusOr<Tensor> TakeRows(const std::string& path, const TapPort& port,
                                NamedTensors::iterator found, int64_t& rows) {
  Tensor& array = found->second;
  const auto wrong = [&](const auto&... what) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": array '", port.name, "' ", what...));
  };
  if (array.dtype() != port.dtype) {
    return wrong("holds ", std::string(DTypeName(array.dtype())), ", the model has ",
                 std::string(DTypeName(port.dtype)));
  }
  const int64_t count = array.shape().empty() ? 0 : array.shape()[0];
  if (count < 1 || array.bytes() / count != port.row_bytes || array.bytes() % count != 0) {
    return wrong("has shape ", ShapeToString(array.shape()), ", expected rows of ", port.row_bytes,
                 " bytes");
  }
  if (rows != 0 && rows != count) return wrong("has ", count, " rows, the ones before ", rows);
  rows = count;
  return std::move(array);
}

}  // namespace

absl::StatusOr<ReferenceFile> ReadReferenceFile(const TappedModel& model, int64_t least_rows) {
  const std::string& path = model.reference_file;
  BITMILL_ASSIGN_OR_RETURN(NamedTensors arrays, ReadNpz(path, kMaxReferenceFileBytes));
  ReferenceFile file;
  for (const TapPort& port : model.inputs) {
    const auto found = arrays.find(port.name);
    if (found == arrays.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": no array '", port.name, "' for the input of that name"));
    }
    BITMILL_ASSIGN_OR_RETURN(Tensor rows, TakeRows(path, port, found, file.rows));
    file.inputs.push_back(std::move(rows));
  }
  if (!model.outputs.empty()) {
    if (const auto found = arrays.find(model.outputs[0].name); found != arrays.end()) {
      BITMILL_ASSIGN_OR_RETURN(Tensor rows, TakeRows(path, model.outputs[0], found, file.rows));
      file.output.push_back(std::move(rows));
    }
  }
  if (file.rows < least_rows) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", file.rows, " rows, at least ", least_rows, " are wanted"));
  }
  return file;
}

}  // namespace bitmill
