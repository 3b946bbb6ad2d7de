// What `--precision` and `--calibration` mean, the same for every command that takes them.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "base/fork_join.h"
#include "model/graph.h"
#include "tools/input/model_inputs.h"

namespace bitmill {

struct PrecisionChoice {
  std::string precision = "exact";  // or "fast", or "bf16"
  std::string calibration;          // a file as --input takes it; empty: none

  bool fast() const { return precision == "fast"; }
  bool bf16() const { return precision == "bf16"; }
  // Whether there is nothing to do beyond what options without samples say.
  bool plain() const { return !fast() && calibration.empty(); }
  // For a compilation without samples.
  Precision WithoutSamples() const { return bf16() ? Precision::kBf16 : Precision::kExact; }
};

// The samples of `choice.calibration` for a model, labels (if `labels` names some) included.
// InvalidArgument when the choice is fast without a file, or has a file without being fast.
absl::StatusOr<ModelInputs> ReadCalibration(const Signature& signature,
                                            const PrecisionChoice& choice,
                                            const std::string& labels = "");

// `rows` random rows of every input, for timing where no samples are at hand.
absl::StatusOr<ModelInputs> RandomCalibration(const Signature& signature, int64_t rows);

// As CompileOnCpu, with these samples.
absl::StatusOr<std::unique_ptr<Executable>> CompileFast(const Graph& graph, CompileOptions options,
                                                        const ModelInputs& samples,
                                                        ForkJoin* helpers = nullptr);

// As CompileOnCpu, with the precision that was chosen.
absl::StatusOr<std::unique_ptr<Executable>> CompileAsChosen(const Graph& graph,
                                                            const CompileOptions& options,
                                                            const PrecisionChoice& choice,
                                                            ForkJoin* helpers = nullptr);

// How the answers of `other`, of precision `name`, differ from those of `exact` on the samples, an
// output a line; with labels the accuracy of both.
absl::StatusOr<std::string> DescribeChange(const Executable& exact, const Executable& other,
                                           const std::string& name, const ModelInputs& samples);

}  // namespace bitmill
