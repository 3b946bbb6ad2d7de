#include "tests/backends/opencl/golden_models.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/file.h"
#include "base/npz.h"
#include "base/status_macros.h"
#include "model/onnx/onnx_reader.h"

namespace bitmill {

std::vector<GoldenModel> FindGoldenModels() {
  namespace fs = std::filesystem;
  const fs::path root = BITMILL_SOURCE_DIR;
  std::vector<GoldenModel> models;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root / "models/golden", error)) {
    const std::string name = entry.path().stem().string();
    const fs::path model = root / "models/repository" / name / "1/model.onnx";
    if (fs::exists(model)) models.push_back({name, model.string(), entry.path().string()});
  }
  const fs::path shared = root / "../shared/models";
  for (const auto& entry : fs::directory_iterator(shared / "golden", error)) {
    const std::string name = entry.path().stem().string();
    const fs::path model = shared / absl::StrCat(name, ".onnx");
    if (fs::exists(model) && !fs::exists(root / "models/repository" / name)) {
      models.push_back({absl::StrCat("shared_", name), model.string(), entry.path().string()});
    }
  }
  std::sort(models.begin(), models.end(),
            [](const GoldenModel& a, const GoldenModel& b) { return a.name < b.name; });
  return models;
}

absl::StatusOr<Graph> ReadGoldenGraph(const GoldenModel& model) {
  BITMILL_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(model.model_path));
  return ReadOnnx(bytes, model.model_path);
}

absl::StatusOr<GoldenRows> ReadGoldenRows(const GoldenModel& model) {
  BITMILL_ASSIGN_OR_RETURN(const auto arrays, ReadNpz(model.golden_path));
  GoldenRows rows;
  for (const auto& [name, tensor] : arrays) {
    if (name == "atol") {
      rows.tolerance = tensor.dtype() == DType::kFloat64
                           ? tensor.span<double>()[0]
                           : static_cast<double>(tensor.span<float>()[0]);
    }
    if (name != "x") continue;
    const int64_t row_bytes = tensor.bytes() / tensor.shape()[0];
    const auto* const data = static_cast<const std::byte*>(tensor.data());
    for (int64_t r = 0; r < tensor.shape()[0]; ++r) {
      rows.inputs.push_back({{data + r * row_bytes, data + (r + 1) * row_bytes}});
    }
  }
  return rows;
}

absl::StatusOr<GoldenCase> ReadGoldenCase(const std::string& name) {
  for (const GoldenModel& model : FindGoldenModels()) {
    if (model.name != name) continue;
    GoldenCase found;
    BITMILL_ASSIGN_OR_RETURN(found.graph, ReadGoldenGraph(model));
    BITMILL_ASSIGN_OR_RETURN(GoldenRows rows, ReadGoldenRows(model));
    found.rows = std::move(rows.inputs);
    return found;
  }
  return absl::NotFoundError(name);
}

double LargestGap(const RowBytes& a, const RowBytes& b) {
  double largest = 0.0;
  if (a.size() != b.size()) return std::numeric_limits<double>::infinity();
  for (size_t port = 0; port < a.size(); ++port) {
    if (a[port].size() != b[port].size()) return std::numeric_limits<double>::infinity();
    for (size_t i = 0; i < a[port].size() / sizeof(float); ++i) {
      float x = 0.0F, y = 0.0F;
      std::memcpy(&x, a[port].data() + i * sizeof(float), sizeof(float));
      std::memcpy(&y, b[port].data() + i * sizeof(float), sizeof(float));
      largest = std::max(largest, std::fabs(static_cast<double>(x) - y));
    }
  }
  return largest;
}

}  // namespace bitmill
