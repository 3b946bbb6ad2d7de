#include "backends/cpu/profile.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <random>

#include "absl/strings/str_cat.h"
#include "backends/cpu/cpu_executable.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int kWarmUps = 3;

// Rows for every port, and the tables of pointers that BatchRows wants.
struct RowBuffers {
  std::vector<AlignedBuffer> memory;
  std::vector<std::vector<std::byte*>> rows;

  RowBuffers(absl::Span<const TensorSpec> specs, int64_t count) {
    for (const TensorSpec& spec : specs) {
      const int64_t stride =
          (spec.row_bytes + kCacheLineBytes - 1) / kCacheLineBytes * kCacheLineBytes;
      memory.emplace_back(stride * count);
      rows.emplace_back();
      for (int64_t r = 0; r < count; ++r) rows.back().push_back(memory.back().data() + r * stride);
    }
  }
};

void FillInputs(absl::Span<const TensorSpec> specs, RowBuffers& buffers) {
  std::mt19937 random(1);
  for (size_t i = 0; i < specs.size(); ++i) {
    for (std::byte* row : buffers.rows[i]) {
      for (int64_t at = 0; at < specs[i].row_bytes; ++at) {
        if (specs[i].dtype == DType::kFloat32 && at % 4 == 0 && at + 4 <= specs[i].row_bytes) {
          const float value = static_cast<float>(random() % 256);
          std::memcpy(row + at, &value, sizeof value);
          at += 3;
        } else {
          row[at] = std::byte{0};
        }
      }
    }
  }
}

}  // namespace

absl::StatusOr<std::vector<StepCost>> ProfileSteps(const Executable& executable, int64_t rows,
                                                   int repetitions) {
  const auto* const own = dynamic_cast<const CpuExecutable*>(&executable);
  if (own == nullptr) return absl::InvalidArgumentError("not a model of the CPU backend");
  if (rows < 1 || rows > own->max_rows() || repetitions < 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        rows, " rows, ", repetitions, " repetitions; rows are 1 to ", own->max_rows()));
  }
  RowBuffers inputs(own->signature().inputs, rows), outputs(own->signature().outputs, rows);
  FillInputs(own->signature().inputs, inputs);
  std::vector<const std::byte* const*> input_ports;
  for (const auto& port : inputs.rows) input_ports.push_back(port.data());
  std::vector<std::byte* const*> output_ports;
  for (const auto& port : outputs.rows) output_ports.push_back(port.data());
  const BatchRows batch{rows, input_ports, output_ports};

  const Plan& plan = own->plan();
  const CpuContext context(plan);
  std::vector<std::vector<double>> samples(plan.steps.size());
  for (int repetition = -kWarmUps; repetition < repetitions; ++repetition) {
    std::vector<double> micros(plan.steps.size(), 0.0);
    StepRun run;
    run.batch = &batch;
    run.buffers = context.workspace().buffers(0);
    for (run.first_row = 0; run.first_row < rows; run.first_row += plan.chunk_rows) {
      run.rows = std::min(plan.chunk_rows, rows - run.first_row);
      for (size_t i = 0; i < plan.steps.size(); ++i) {
        run.state = context.workspace().state(i, 0);
        const auto start = std::chrono::steady_clock::now();
        BITMILL_RETURN_IF_ERROR(plan.steps[i]->Run(run));
        const std::chrono::duration<double, std::micro> taken =
            std::chrono::steady_clock::now() - start;
        micros[i] += taken.count();
      }
    }
    if (repetition < 0) continue;
    for (size_t i = 0; i < micros.size(); ++i) samples[i].push_back(micros[i]);
  }

  std::vector<StepCost> costs;
  for (size_t i = 0; i < plan.steps.size(); ++i) {
    const StepInfo& info = plan.steps[i]->info();
    auto middle = samples[i].begin() + static_cast<int64_t>(samples[i].size() / 2);
    std::nth_element(samples[i].begin(), middle, samples[i].end());
    costs.push_back(
        {info.name, info.kernel, *middle, info.macs, info.weight_bytes + info.output_bytes});
  }
  return costs;
}

}  // namespace bitmill
