// What dividing a model gains (docs/parallel.md): batches of each mode and of the whole model,
// taking turns in one process, so that what else the machine does meets all of them.
//
//   bitmill_parallel_modes [--rows N] [--seconds S] [--workers N] [--opencl] MODEL.onnx ..
//
// Beside each mode: the median of its time, and of the ratio of the whole model's time to its own
// in the same turn, with the quartiles. "whole" lets idle workers help (decision 0011), "one
// thread" does not. Before anything is timed, the answers of all are compared: rows of random
// numbers, the same bits, except on a device, where those that differ are counted.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <future>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "backends/backend_set.h"
#include "backends/cpu/cpu_backend.h"
#include "backends/opencl/opencl_backend.h"
#include "backends/parallel/parallel_backend.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "model/onnx/onnx_reader.h"
#include "server/schedule/tbb_scheduler.h"

namespace bitmill {
namespace {

constexpr double kNanosPerMilli = 1e6;
constexpr size_t kTurnsAtLeast = 5;

struct Options {
  int64_t rows = 32;
  double seconds = 4.0;  // a model
  int workers = 2;
  bool opencl = false;
  std::vector<std::string> models;
};

// Random rows, and where the answers go.
class Batch {
 public:
  Batch(const Executable& executable, int64_t rows) : rows_(rows) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0F, 1.0F);
    const Signature& signature = executable.signature();
    for (const TensorSpec& spec : signature.inputs) {
      std::vector<const std::byte*>& port = input_rows_.emplace_back();
      for (int64_t r = 0; r < rows; ++r) {
        std::vector<std::byte>& bytes = memory_.emplace_back(static_cast<size_t>(spec.row_bytes));
        for (size_t at = 0; at + sizeof(float) <= bytes.size(); at += sizeof(float)) {
          const float value = spec.dtype == DType::kFloat32 ? normal(random) : 0.0F;
          std::memcpy(bytes.data() + at, &value, sizeof(value));
        }
        port.push_back(bytes.data());
      }
    }
    for (const TensorSpec& spec : signature.outputs) {
      std::vector<std::byte*>& port = output_rows_.emplace_back();
      for (int64_t r = 0; r < rows; ++r) {
        answers_.emplace_back(static_cast<size_t>(spec.row_bytes));
        port.push_back(answers_.back().data());
      }
    }
    for (const auto& port : input_rows_) inputs_.push_back(port.data());
    for (const auto& port : output_rows_) outputs_.push_back(port.data());
  }

  BatchRows rows() const { return {rows_, inputs_, outputs_}; }
  const std::vector<std::vector<std::byte>>& answers() const { return answers_; }

 private:
  const int64_t rows_;
  std::vector<std::vector<std::byte>> memory_, answers_;
  std::vector<std::vector<const std::byte*>> input_rows_;
  std::vector<std::vector<std::byte*>> output_rows_;
  std::vector<const std::byte* const*> inputs_;
  std::vector<std::byte* const*> outputs_;
};

struct Way {
  std::string name;
  std::unique_ptr<Executable> executable;
  std::unique_ptr<ExecutionContext> context;
  std::vector<double> ms;  // by turn
};

double Quantile(std::vector<double> values, double part) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(part * static_cast<double>(values.size() - 1) + 0.5)];
}

absl::Status Compare(std::vector<Way>& ways, int64_t rows) {
  Batch wanted(*ways.front().executable, rows);
  BITMILL_RETURN_IF_ERROR(ways.front().executable->Run(wanted.rows(), *ways.front().context));
  for (Way& way : ways) {
    Batch got(*way.executable, rows);
    BITMILL_RETURN_IF_ERROR(way.executable->Run(got.rows(), *way.context));
    size_t differ = 0;
    for (size_t i = 0; i < got.answers().size(); ++i) {
      differ += got.answers()[i] == wanted.answers()[i] ? 0 : 1;
    }
    if (differ == 0) continue;
    if (!absl::StrContains(way.name, "opencl")) {
      return absl::InternalError(absl::StrCat(way.name, " gives other answers"));
    }
    std::printf("%s: %zu of %zu answers are other bits than the CPU's\n", way.name.c_str(), differ,
                got.answers().size());
  }
  return absl::OkStatus();
}

absl::Status MeasureModel(const Options& options, const Backend& backend, const Graph& graph,
                          const Clock& clock) {
  std::vector<Way> ways;
  const auto add = [&](const std::string& name, const std::string& parallel,
                       int threads) -> absl::Status {
    CompileOptions compile;
    compile.max_rows = options.rows;
    compile.threads = threads;
    compile.parallel = parallel;
    Way way;
    way.name = name;
    BITMILL_ASSIGN_OR_RETURN(way.executable, backend.Compile(graph, compile));
    way.context = way.executable->CreateContext();
    ways.push_back(std::move(way));
    return absl::OkStatus();
  };
  BITMILL_RETURN_IF_ERROR(add("whole", "", 0));
  BITMILL_RETURN_IF_ERROR(add("one thread", "", 1));
  for (const char* const mode : {"data", "tensor", "pipeline"}) {
    const std::string parts = absl::StrCat(mode, ":", options.workers);
    BITMILL_RETURN_IF_ERROR(add(parts, parts, 0));
    if (!options.opencl) continue;
    const std::string mixed = absl::StrCat(mode, ":cpu,opencl");
    BITMILL_RETURN_IF_ERROR(add(mixed, mixed, 0));
  }
  const int64_t largest = ways.front().executable->max_rows();
  BITMILL_RETURN_IF_ERROR(Compare(ways, largest));
  for (const int64_t rows : {int64_t{1}, largest}) {
    Batch batch(*ways.front().executable, rows);
    for (Way& way : ways) way.ms.clear();
    const MonotonicNanos start = clock.Now();
    const double budget_ns = options.seconds * 1e9 / 2;
    for (size_t turn = 0;
         turn < kTurnsAtLeast || static_cast<double>(clock.Now() - start) < budget_ns; ++turn) {
      for (size_t i = 0; i < ways.size(); ++i) {
        Way& way = ways[(i + turn) % ways.size()];
        const MonotonicNanos before = clock.Now();
        BITMILL_RETURN_IF_ERROR(way.executable->Run(batch.rows(), *way.context));
        way.ms.push_back(static_cast<double>(clock.Now() - before) / kNanosPerMilli);
      }
    }
    for (const Way& way : ways) {
      std::vector<double> ratios;
      for (size_t t = 0; t < way.ms.size(); ++t) ratios.push_back(ways[0].ms[t] / way.ms[t]);
      std::printf("%6lld  %-20s %10.4f  %6.2f  %6.2f .. %.2f\n", static_cast<long long>(rows),
                  way.name.c_str(), Quantile(way.ms, 0.5), Quantile(ratios, 0.5),
                  Quantile(ratios, 0.25), Quantile(ratios, 0.75));
    }
    if (largest == 1) break;
  }
  return absl::OkStatus();
}

absl::Status Run(const Options& options) {
  const SystemClock clock;
  SchedulerOptions schedule;
  schedule.workers = options.workers;
  schedule.io_threads = 1;
  const auto scheduler = CreateTbbScheduler(schedule, clock);
  ForkJoin* const team = &scheduler->helpers();
  auto set = std::make_unique<BackendSet>(CreateCpuBackend(team));
  set->Add("opencl", [&cpu = set->first()] { return CreateOpenClBackend(OpenClOptions{}, cpu); });
  const auto backend = CreateParallelBackend(std::move(set), team, {}, clock);
  for (const std::string& path : options.models) {
    BITMILL_ASSIGN_OR_RETURN(const std::string bytes, ReadFile(path));
    BITMILL_ASSIGN_OR_RETURN(const Graph graph, ReadOnnx(bytes, path));
    std::printf("\n%s, %d workers\n%6s  %-20s %10s  %6s  %s\n", path.c_str(), options.workers,
                "rows", "mode", "ms", "times as fast", "quartiles");
    // Batches are a worker's, as in a server; the others may help.
    std::promise<absl::Status> done;
    scheduler->Enqueue(std::make_shared<Flow>(),
                       [&] { done.set_value(MeasureModel(options, *backend, graph, clock)); });
    BITMILL_RETURN_IF_ERROR(done.get_future().get());
  }
  return absl::OkStatus();
}

}  // namespace
}  // namespace bitmill

int main(int argc, char** argv) {
  bitmill::Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const char* const value = i + 1 < argc ? argv[i + 1] : "";
    bool good = true;
    if (word == "--opencl") {
      options.opencl = true;
    } else if (word == "--rows") {
      good = absl::SimpleAtoi(value, &options.rows) && options.rows > 0;
      ++i;
    } else if (word == "--seconds") {
      good = absl::SimpleAtod(value, &options.seconds) && options.seconds > 0;
      ++i;
    } else if (word == "--workers") {
      good =
          absl::SimpleAtoi(value, &options.workers) && options.workers > 0 && options.workers <= 16;
      ++i;
    } else {
      options.models.push_back(word);
    }
    if (!good) {
      std::fprintf(stderr, "%s %s: expected a number above 0\n", word.c_str(), value);
      return 2;
    }
  }
  if (options.models.empty()) {
    std::fprintf(
        stderr,
        "bitmill_parallel_modes [--rows N] [--seconds S] [--workers N] [--opencl] MODEL ..\n");
    return 2;
  }
  const absl::Status status = bitmill::Run(options);
  if (!status.ok()) std::fprintf(stderr, "%s\n", std::string(status.message()).c_str());
  return status.ok() ? 0 : 1;
}
