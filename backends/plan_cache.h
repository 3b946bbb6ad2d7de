// Compiling a model file, or taking what an earlier compilation left in a plan file.
//
// A plan file is used when it is whole, was written by this very program on a CPU like this one
// with the same options, and was made from the same bytes of the model file. Anything else is a
// line in the log and a compilation. Model files are hashed, which takes 10 ms for 100 MB; of one
// of 64 MiB or more that has the stamp (device, inode, size, times of content and attributes) that
// it had when the plan was made the hash is not computed again.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "backends/backend.h"

namespace bitmill {

struct PlanCacheOptions {
  bool enabled = true;
  // Where plans are written, and looked for first; empty: beside the model file, where they are
  // looked for in any case. Made when it is not there.
  std::string folder;
  // Plans of models that compile faster are not written.
  int64_t min_compile_ms = 50;
};

// "off", "beside" or a folder.
PlanCacheOptions ParsePlanCache(absl::string_view text);

struct CompileRequest {
  std::string file;         // the model's, symbolic links resolved
  std::string plan_folder;  // of plans beside the model; usually the folder of `file`
  CompileOptions options;   // limits are not taken from here
  // Reads the model when there is no plan; adds to `options` what needs the graph (calibration).
  // `hash` is HashBytes of the bytes that were read.
  struct Model {
    Graph graph;
    uint64_t hash = 0;
  };
  std::function<absl::StatusOr<Model>(CompileOptions& options)> read;
  // What it is made for, once it is known whether the model takes batches.
  std::function<absl::StatusOr<ExecutionLimits>(const Signature& signature)> limits;
};

struct CompiledModel {
  std::unique_ptr<Executable> executable;
  bool from_cache = false;
  std::string origin;  // "from cache, 12 ms", "compiled in 850 ms, saved": for people
};

// Errors are those of reading and compiling; nothing about plan files is one. Plan files are logged
// by their path. Thread-safe; processes that write the same plan at once leave a whole one.
absl::StatusOr<CompiledModel> CompileThroughCache(const Backend& backend,
                                                  const PlanCacheOptions& cache,
                                                  const CompileRequest& request);

}  // namespace bitmill
