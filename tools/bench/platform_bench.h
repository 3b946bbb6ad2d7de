// Measures models for the report that machines are compared by.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "kernels/isa.h"
#include "tools/compare/platform_report.h"
#include "tools/local/precision.h"

namespace bitmill {

struct PlatformBenchOptions {
  std::vector<std::string> models;
  std::vector<int64_t> batches = {1, 8, 64};
  Isa isa = Isa::kRef;
  int threads = 1;
  PrecisionChoice precision;
  double tune_seconds = 0.0;
  // Besides what was chosen: each instruction set of the machine up to `isa`, each precision, and
  // tuned kernels (for `tune_seconds`, 1 when that is 0).
  bool sweep = false;
  bool quick = false;
  std::function<void(double done, const std::string& label)> progress;  // may be null
};

// Ceilings of every instruction set in use with one thread and with all, and runs of every model:
// in CPU time on one thread, all settings in turn, and with several threads in wall time also one
// thread, side by side and a shared batch, in windows taken in turn. Every answer is checked
// against the reference of the first row first. Errors are those of BenchModel(); InvalidArgument
// when two models have one name.
absl::StatusOr<PlatformReport> BenchPlatform(const PlatformBenchOptions& options);

}  // namespace bitmill
