#include "tools/local/local_model.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_backend.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/status_macros.h"
#include "model/onnx/onnx_reader.h"
#include "model/verify.h"

namespace bitmill {
namespace {

namespace fs = std::filesystem;

constexpr const char* kModelFile = "model.onnx";

// The highest-numbered folder in `folder` that holds a model file; empty when there is none.
fs::path NewestVersion(const fs::path& folder) {
  int64_t newest = -1;
  fs::path found;
  std::error_code error;
  for (const fs::directory_entry& entry : fs::directory_iterator(folder, error)) {
    int64_t version = 0;
    if (!absl::SimpleAtoi(entry.path().filename().string(), &version) || version <= newest) {
      continue;
    }
    if (fs::is_regular_file(entry.path() / kModelFile, error)) {
      newest = version;
      found = entry.path() / kModelFile;
    }
  }
  return found;
}

}  // namespace

absl::StatusOr<std::string> FindModelFile(const std::string& path) {
  std::error_code error;
  if (!fs::exists(path, error)) {
    return absl::NotFoundError(absl::StrCat(path, ": no such file or folder"));
  }
  if (!fs::is_directory(path, error)) return path;
  const fs::path direct = fs::path(path) / kModelFile;
  if (fs::is_regular_file(direct, error)) return direct.string();
  const fs::path versioned = NewestVersion(path);
  if (!versioned.empty()) return versioned.string();
  return absl::NotFoundError(
      absl::StrCat(path, ": no ", kModelFile, " and no <version>/", kModelFile, " in this folder"));
}

absl::StatusOr<Graph> ReadModelFile(const std::string& path) {
  BITMILL_ASSIGN_OR_RETURN(const std::string file, FindModelFile(path));
  BITMILL_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file));
  return ReadOnnx(bytes, file);
}

absl::StatusOr<std::unique_ptr<Executable>> CompileOnCpu(const Graph& graph,
                                                         const CompileOptions& options,
                                                         ForkJoin* helpers) {
  return CreateCpuBackend(helpers)->Compile(graph, options);
}

absl::StatusOr<CompiledModel> CompileFile(const Backend& backend, const std::string& path,
                                          const CompileOptions& options,
                                          const PlanCacheOptions& cache) {
  BITMILL_ASSIGN_OR_RETURN(const std::string file, FindModelFile(path));
  std::error_code error;
  CompileRequest request;
  request.file = fs::canonical(file, error).string();
  if (error) return absl::NotFoundError(absl::StrCat(file, ": ", error.message()));
  request.plan_folder = fs::path(request.file).parent_path().string();
  request.options = options;
  request.read = [&](CompileOptions&) -> absl::StatusOr<CompileRequest::Model> {
    BITMILL_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(file));
    CompileRequest::Model model;
    model.hash = HashBytes(bytes.data(), bytes.size());
    BITMILL_ASSIGN_OR_RETURN(model.graph, ReadOnnx(bytes, file));
    return model;
  };
  request.limits = [&](const Signature&) {
    return ExecutionLimits{options.max_rows, options.threads};
  };
  return CompileThroughCache(backend, cache, request);
}

absl::StatusOr<CompiledModel> CompileFileOnCpu(const std::string& path,
                                               const CompileOptions& options,
                                               const PlanCacheOptions& cache, ForkJoin* helpers) {
  return CompileFile(*CreateCpuBackend(helpers), path, options, cache);
}

absl::StatusOr<std::vector<NamedTensor>> RunRows(const Executable& executable,
                                                 const std::vector<RowSet>& inputs, int64_t rows) {
  const Signature& signature = executable.signature();
  BITMILL_CHECK(inputs.size() == signature.inputs.size() && rows > 0);
  std::vector<NamedTensor> outputs;
  for (const TensorSpec& spec : signature.outputs) {
    std::vector<int64_t> shape = spec.row_shape;
    shape.insert(shape.begin(), rows);
    BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(spec.dtype, shape));
    outputs.push_back({spec.name, std::move(tensor)});
  }
  const std::unique_ptr<ExecutionContext> context = executable.CreateContext();
  for (int64_t first = 0; first < rows; first += executable.max_rows()) {
    const int64_t count = std::min(executable.max_rows(), rows - first);
    std::vector<std::vector<const std::byte*>> input_rows(inputs.size());
    std::vector<std::vector<std::byte*>> output_rows(outputs.size());
    std::vector<const std::byte* const*> input_lists;
    std::vector<std::byte* const*> output_lists;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const auto* base = reinterpret_cast<const std::byte*>(inputs[i].bytes.data());
      for (int64_t row = first; row < first + count; ++row) {
        input_rows[i].push_back(base + row * signature.inputs[i].row_bytes);
      }
      input_lists.push_back(input_rows[i].data());
    }
    for (size_t i = 0; i < outputs.size(); ++i) {
      auto* base = static_cast<std::byte*>(outputs[i].tensor.data());
      for (int64_t row = first; row < first + count; ++row) {
        output_rows[i].push_back(base + row * signature.outputs[i].row_bytes);
      }
      output_lists.push_back(output_rows[i].data());
    }
    BITMILL_RETURN_IF_ERROR(executable.Run(
        {count, absl::MakeConstSpan(input_lists), absl::MakeConstSpan(output_lists)}, *context));
  }
  return outputs;
}

}  // namespace bitmill
