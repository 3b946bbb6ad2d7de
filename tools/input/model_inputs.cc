#include "tools/input/model_inputs.h"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "tools/input/elements.h"

namespace bitmill {
namespace {

bool FileExists(const std::string& path) { return std::ifstream(path).good(); }

// One --input, taken apart.
struct Source {
  std::string input;  // empty: whichever fits
  std::string array;  // empty: whichever fits
  TensorFile file;
};

absl::StatusOr<Source> Open(const Signature& signature, const std::string& text) {
  Source source;
  std::string path = text;
  const size_t equals = path.find('=');
  if (equals != std::string::npos && !FileExists(path)) {
    source.input = path.substr(0, equals);
    path = path.substr(equals + 1);
    const auto named = [&source](const TensorSpec& spec) { return spec.name == source.input; };
    if (std::none_of(signature.inputs.begin(), signature.inputs.end(), named)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "the model has no input '", source.input, "'; it has ",
          absl::StrJoin(signature.inputs, ", ", [](std::string* out, const TensorSpec& spec) {
            absl::StrAppend(out, "'", spec.name, "'");
          })));
    }
  }
  const size_t colon = path.rfind(':');
  if (colon != std::string::npos && !FileExists(path)) {
    source.array = path.substr(colon + 1);
    path = path.substr(0, colon);
  }
  BITMILL_ASSIGN_OR_RETURN(source.file, ReadTensorFile(path));
  return source;
}

std::string ListArrays(const TensorFile& file) {
  return absl::StrJoin(file.arrays, ", ", [](std::string* out, const NamedTensor& array) {
    absl::StrAppend(out, "'", array.name, "' ", DTypeName(array.tensor.dtype()), " ",
                    ShapeToString(array.tensor.shape()));
  });
}

const NamedTensor* FindArray(const TensorFile& file, const std::string& name) {
  for (const NamedTensor& array : file.arrays) {
    if (array.name == name) return &array;
  }
  return nullptr;
}

absl::Status InFile(const TensorFile& file, const absl::Status& status) {
  return absl::Status(status.code(), absl::StrCat(file.path, ": ", status.message()));
}

// The rows that one source has for one input.
absl::StatusOr<RowSet> RowsFrom(const Source& source, const TensorSpec& input) {
  const TensorFile& file = source.file;
  absl::StatusOr<RowSet> rows = absl::InvalidArgumentError("");
  if (file.arrays.empty()) {
    rows = FitRawBytes(file.raw, input);
  } else {
    const std::string& wanted = source.array.empty() ? input.name : source.array;
    const NamedTensor* array = FindArray(file, wanted);
    if (array == nullptr && !source.array.empty()) {
      rows = absl::InvalidArgumentError(
          absl::StrCat("no array '", source.array, "'; it holds ", ListArrays(file)));
    } else if (array != nullptr || file.arrays.size() == 1) {
      rows = FitRows(array != nullptr ? *array : file.arrays.front(), input);
    } else {
      std::vector<const NamedTensor*> fitting;
      for (const NamedTensor& candidate : file.arrays) {
        if (FitRows(candidate, input).ok()) fitting.push_back(&candidate);
      }
      if (fitting.size() == 1) {
        rows = FitRows(*fitting.front(), input);
      } else {
        rows = absl::InvalidArgumentError(absl::StrCat(
            fitting.empty() ? "no array fits" : "more than one array fits", " input '", input.name,
            "' with rows of ", DTypeName(input.dtype), " ", ShapeToString(input.row_shape),
            "; it holds ", ListArrays(file),
            fitting.empty() ? ""
                            : absl::StrCat("; choose one with --input ", file.path, ":ARRAY")));
      }
    }
  }
  if (!rows.ok()) return InFile(file, rows.status());
  return rows;
}

absl::StatusOr<RowSet> RowsFor(const std::vector<Source>& sources, const TensorSpec& input,
                               bool only_input) {
  RowSet all;
  for (const Source& source : sources) {
    if (!source.input.empty() && source.input != input.name) continue;
    const bool says_so =
        !source.input.empty() || only_input || FindArray(source.file, input.name) != nullptr;
    absl::StatusOr<RowSet> rows = RowsFrom(source, input);
    if (!rows.ok()) {
      if (says_so || sources.size() == 1) return rows.status();
      continue;
    }
    all.rows += rows->rows;
    all.bytes += rows->bytes;
  }
  if (all.rows == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("nothing for input '", input.name, "'; add --input ", input.name, "=FILE"));
  }
  return all;
}

absl::StatusOr<std::vector<int64_t>> LabelsOf(const std::vector<Source>& sources,
                                              const std::string& what) {
  TensorFile own;
  const NamedTensor* array = nullptr;
  for (const Source& source : sources) {
    if (array == nullptr) array = FindArray(source.file, what);
  }
  if (array == nullptr) {
    if (!FileExists(what)) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--labels ", what, " is neither an array of the input files nor a file; they hold ",
          absl::StrJoin(sources, ", ", [](std::string* out, const Source& source) {
            absl::StrAppend(out, ListArrays(source.file));
          })));
    }
    BITMILL_ASSIGN_OR_RETURN(own, ReadTensorFile(what));
    if (own.arrays.size() != 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": labels are one array; this holds ",
                       own.arrays.empty() ? "raw bytes" : ListArrays(own)));
    }
    array = &own.arrays.front();
  }
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < array->tensor.elements(); ++i) {
    const double value = ElementAsDouble(array->tensor, i);
    if (value != std::floor(value) || std::abs(value) > 1e15) {
      return absl::InvalidArgumentError(
          absl::StrCat("labels '", array->name, "': ", value, " is no class number"));
    }
    labels.push_back(static_cast<int64_t>(value));
  }
  return labels;
}

}  // namespace

absl::StatusOr<ModelInputs> ReadModelInputs(const Signature& signature, const InputChoice& choice) {
  std::vector<Source> sources;
  for (const std::string& text : choice.files) {
    BITMILL_ASSIGN_OR_RETURN(Source source, Open(signature, text));
    sources.push_back(std::move(source));
  }
  ModelInputs result;
  for (const TensorSpec& input : signature.inputs) {
    BITMILL_ASSIGN_OR_RETURN(RowSet rows, RowsFor(sources, input, signature.inputs.size() == 1));
    if (result.rows != 0 && rows.rows != result.rows) {
      return absl::InvalidArgumentError(absl::StrCat("input '", input.name, "' has ", rows.rows,
                                                     " rows, the ones before ", result.rows));
    }
    result.rows = rows.rows;
    result.inputs.push_back(std::move(rows));
  }
  if (!choice.labels.empty()) {
    BITMILL_ASSIGN_OR_RETURN(result.labels, LabelsOf(sources, choice.labels));
    if (static_cast<int64_t>(result.labels.size()) != result.rows) {
      return absl::InvalidArgumentError(
          absl::StrCat(result.labels.size(), " labels for ", result.rows, " rows of input"));
    }
  }
  return result;
}

}  // namespace bitmill
