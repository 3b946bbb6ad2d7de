// A model file, read, compiled and run in this process.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "backends/plan_cache.h"
#include "base/fork_join.h"
#include "model/graph.h"
#include "tools/input/fit_rows.h"
#include "tools/input/named_tensor.h"

namespace bitmill {

// `path` itself when it is a file; of a folder of a model repository (<name>, or <name>/<version>)
// the file of the newest version. NotFound says where it looked.
absl::StatusOr<std::string> FindModelFile(const std::string& path);

// The graph as the file has it, checked, not lowered.
absl::StatusOr<Graph> ReadModelFile(const std::string& path);

// `helpers`: see CreateCpuBackend().
absl::StatusOr<std::unique_ptr<Executable>> CompileOnCpu(const Graph& graph,
                                                         const CompileOptions& options,
                                                         ForkJoin* helpers = nullptr);

// The file compiled, or taken from the plan that an earlier run left; options.max_rows counts for a
// batchable model only.
absl::StatusOr<CompiledModel> CompileFile(const Backend& backend, const std::string& path,
                                          const CompileOptions& options,
                                          const PlanCacheOptions& cache);
absl::StatusOr<CompiledModel> CompileFileOnCpu(const std::string& path,
                                               const CompileOptions& options,
                                               const PlanCacheOptions& cache,
                                               ForkJoin* helpers = nullptr);

// The same on another backend.
absl::StatusOr<CompiledModel> CompileFile(const Backend& backend, const std::string& path,
                                          const CompileOptions& options,
                                          const PlanCacheOptions& cache);

// Outputs of shape [rows, ...]. `inputs`: one RowSet an input, each of `rows` rows. Runs batches of
// at most executable.max_rows(), one after the other on this thread.
absl::StatusOr<std::vector<NamedTensor>> RunRows(const Executable& executable,
                                                 const std::vector<RowSet>& inputs, int64_t rows);

}  // namespace bitmill
