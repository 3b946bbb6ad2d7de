#include "tools/local/precision.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "tools/client/classes.h"
#include "tools/input/elements.h"
#include "tools/local/local_model.h"

namespace bitmill {
namespace {

constexpr uint64_t kSeed = 1;

double ShareRight(const std::vector<int64_t>& classes, const std::vector<int64_t>& wanted) {
  int64_t right = 0;
  for (size_t r = 0; r < classes.size(); ++r) right += classes[r] == wanted[r] ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(classes.size());
}

std::string Change(const Tensor& exact, const Tensor& other) {
  double change = 0.0, size = 0.0, largest = 0.0;
  for (int64_t i = 0; i < exact.elements(); ++i) {
    const double want = ElementAsDouble(exact, i);
    const double gap = std::fabs(want - ElementAsDouble(other, i));
    if (!std::isfinite(gap)) continue;
    largest = std::max(largest, gap);
    change += gap * gap;
    size += want * want;
  }
  return absl::StrFormat("changes by %.2f %% (root mean square), by %.4g at most",
                         change == 0.0 ? 0.0 : std::sqrt(change / size) * 100, largest);
}

}  // namespace

absl::StatusOr<ModelInputs> ReadCalibration(const Signature& signature,
                                            const PrecisionChoice& choice,
                                            const std::string& labels) {
  if (choice.calibration.empty()) {
    return absl::InvalidArgumentError("--precision fast wants --calibration FILE with samples");
  }
  if (!choice.fast()) {
    return absl::InvalidArgumentError("--calibration is for --precision fast");
  }
  return ReadModelInputs(signature, {{choice.calibration}, labels});
}

absl::StatusOr<ModelInputs> RandomCalibration(const Signature& signature, int64_t rows) {
  ModelInputs samples;
  samples.rows = rows;
  for (const TensorSpec& input : signature.inputs) {
    BITMILL_ASSIGN_OR_RETURN(RowSet set, RandomRows(input, rows, kSeed));
    samples.inputs.push_back(std::move(set));
  }
  return samples;
}

absl::StatusOr<std::unique_ptr<Executable>> CompileFast(const Graph& graph, CompileOptions options,
                                                        const ModelInputs& samples,
                                                        ForkJoin* helpers) {
  auto rows = std::make_shared<SampleRows>();
  rows->rows = samples.rows;
  for (const RowSet& input : samples.inputs) rows->inputs.push_back(input.bytes);
  options.precision = Precision::kFast;
  options.calibration = std::move(rows);
  return CompileOnCpu(graph, options, helpers);
}

absl::StatusOr<std::unique_ptr<Executable>> CompileAsChosen(const Graph& graph,
                                                            const CompileOptions& options,
                                                            const PrecisionChoice& choice,
                                                            ForkJoin* helpers) {
  CompileOptions without_samples = options;
  without_samples.precision = choice.WithoutSamples();
  BITMILL_ASSIGN_OR_RETURN(std::unique_ptr<Executable> exact,
                           CompileOnCpu(graph, without_samples, helpers));
  if (choice.plain()) return exact;
  BITMILL_ASSIGN_OR_RETURN(const ModelInputs samples, ReadCalibration(exact->signature(), choice));
  return CompileFast(graph, options, samples, helpers);
}

absl::StatusOr<std::string> DescribeChange(const Executable& exact, const Executable& other,
                                           const std::string& name, const ModelInputs& samples) {
  BITMILL_ASSIGN_OR_RETURN(const std::vector<NamedTensor> want,
                           RunRows(exact, samples.inputs, samples.rows));
  BITMILL_ASSIGN_OR_RETURN(const std::vector<NamedTensor> got,
                           RunRows(other, samples.inputs, samples.rows));
  std::string text =
      absl::StrCat(name, " against exact, the ", samples.rows, " rows of the calibration file\n");
  for (size_t i = 0; i < want.size(); ++i) {
    absl::StrAppend(&text, "output '", want[i].name, "' ", Change(want[i].tensor, got[i].tensor),
                    "\n");
  }
  if (want.empty()) return text;
  const auto before = Classify(want.front().tensor, samples.rows);
  const auto after = Classify(got.front().tensor, samples.rows);
  if (!before.ok() || !after.ok()) return text;  // no classes
  absl::StrAppendFormat(&text, "the same class for %.2f %% of the rows\n",
                        ShareRight(*after, *before) * 100);
  if (samples.labels.empty()) return text;
  const double exact_share = ShareRight(*before, samples.labels) * 100;
  const double other_share = ShareRight(*after, samples.labels) * 100;
  absl::StrAppendFormat(&text, "accuracy %.2f %% exact, %.2f %% %s (%+.2f points)\n", exact_share,
                        other_share, name, other_share - exact_share);
  return text;
}

}  // namespace bitmill
