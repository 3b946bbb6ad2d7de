#include "tools/input/tensor_file.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/npz.h"
#include "base/status_macros.h"
#include "tools/input/idx_reader.h"
#include "tools/input/inflate.h"
#include "tools/input/png_reader.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 32;

std::string Stem(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  return name.substr(0, name.find('.'));
}

absl::StatusOr<TensorFile> Parse(std::string bytes, const std::string& path) {
  constexpr absl::string_view kZip("PK\x03\x04", 4), kNpy("\x93NUMPY", 6), kPng("\x89PNG", 4);
  TensorFile file;
  file.path = path;
  if (absl::StartsWith(bytes, kZip)) {
    BITMILL_ASSIGN_OR_RETURN(NamedTensors arrays, ParseNpz(bytes, ""));
    for (auto& [name, array] : arrays) file.arrays.push_back({name, std::move(array)});
    return file;
  }
  absl::StatusOr<Tensor> tensor = absl::UnimplementedError("");
  if (absl::StartsWith(bytes, kNpy)) {
    tensor = ParseNpy(bytes);
  } else if (absl::StartsWith(bytes, kPng)) {
    tensor = ParsePng(bytes);
  } else if (LooksLikeIdx(bytes)) {
    tensor = ParseIdx(bytes);
  } else {
    file.raw = std::move(bytes);
    return file;
  }
  if (!tensor.ok()) return tensor.status();
  file.arrays.push_back({Stem(path), *std::move(tensor)});
  return file;
}

}  // namespace

absl::StatusOr<TensorFile> ReadTensorFile(const std::string& path) {
  BITMILL_ASSIGN_OR_RETURN(std::string bytes, ReadFile(path, kMaxFileBytes));
  const auto in_file = [&path](const absl::Status& status) {
    return absl::Status(status.code(), absl::StrCat(path, ": ", status.message()));
  };
  if (bytes.empty()) return absl::InvalidArgumentError(absl::StrCat(path, ": the file is empty"));
  if (bytes.compare(0, 2, "\x1f\x8b") == 0) {  // gzip
    absl::StatusOr<std::string> unpacked = Inflate(bytes, DeflateFormat::kGzip, kMaxFileBytes);
    if (!unpacked.ok()) return in_file(unpacked.status());
    bytes = *std::move(unpacked);
  }
  absl::StatusOr<TensorFile> file = Parse(std::move(bytes), path);
  if (!file.ok()) return in_file(file.status());
  return file;
}

}  // namespace bitmill
