#include "backends/routed_executable.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/log.h"

namespace bitmill {
namespace {

constexpr double kNanosPerMicro = 1e3;

struct RoutedContext final : ExecutionContext {
  std::vector<std::unique_ptr<ExecutionContext>> of;  // each executable
};

int64_t Sum(const std::vector<std::unique_ptr<Executable>>& executables,
            int64_t (Executable::*value)() const) {
  int64_t sum = 0;
  for (const auto& executable : executables) sum += (*executable.*value)();
  return sum;
}

}  // namespace

RoutedExecutable::RoutedExecutable(std::vector<std::unique_ptr<Executable>> executables,
                                   std::unique_ptr<BatchRouter> router, std::string name)
    : executables_(std::move(executables)), router_(std::move(router)), name_(std::move(name)) {}

int64_t RoutedExecutable::weight_bytes() const {
  return Sum(executables_, &Executable::weight_bytes);
}

std::vector<MemoryUse> RoutedExecutable::memory(int64_t contexts) const {
  std::vector<MemoryUse> sum;
  for (const auto& executable : executables_) AddMemory(executable->memory(contexts), sum);
  return sum;
}

int64_t RoutedExecutable::arena_bytes() const {
  return Sum(executables_, &Executable::arena_bytes);
}

std::unique_ptr<ExecutionContext> RoutedExecutable::CreateContext() const {
  auto context = std::make_unique<RoutedContext>();
  for (const auto& executable : executables_) context->of.push_back(executable->CreateContext());
  return context;
}

absl::Status RoutedExecutable::RunRouted(const BatchRows& batch, ExecutionContext& context,
                                         OperationTimes* times) const {
  auto& own = static_cast<RoutedContext&>(context);
  while (true) {
    RoutedBatch routed;
    router_->Route(batch.rows, routed);
    const Executable& executable = *executables_[routed.backend];
    ExecutionContext& there = *own.of[routed.backend];
    const bool on_cpu = routed.backend == 0;
    absl::Status status = on_cpu && times != nullptr ? executable.RunTimed(batch, there, *times)
                                                     : executable.Run(batch, there);
    if (status.ok()) {
      router_->Finish(routed);
      return status;
    }
    if (on_cpu || absl::IsInvalidArgument(status)) {
      router_->Drop(routed);
      return status;
    }
    if (router_->Fail(routed)) {
      LogError(absl::StrCat(name_, " goes on without its device ", executable.backend_name(), ": ",
                            status.message()));
    }
  }
}

absl::Status RoutedExecutable::Run(const BatchRows& batch, ExecutionContext& context) const {
  return RunRouted(batch, context, nullptr);
}

absl::Status RoutedExecutable::RunTimed(const BatchRows& batch, ExecutionContext& context,
                                        OperationTimes& times) const {
  return RunRouted(batch, context, &times);
}

std::string RoutedExecutable::DescribePlan() const {
  std::string text = DescribeRoutes(router_->Report());
  for (const auto& executable : executables_) {
    absl::StrAppend(&text, "\n", executable->backend_name(), ":\n", executable->DescribePlan());
  }
  return text;
}

std::string DescribeRoutes(const RouteReport& report) {
  std::string text = absl::StrFormat("%8s", "rows");
  for (const auto& backend : report.backends) {
    absl::StrAppendFormat(&text, "%14s", backend.table.backend + ", us");
  }
  absl::StrAppend(&text, "  goes to");
  for (size_t i = 0; i < report.choices.size(); ++i) {
    const RouteReport::Choice& choice = report.choices[i];
    absl::StrAppendFormat(&text, "\n%8d", choice.rows);
    for (const auto& backend : report.backends) {
      absl::StrAppendFormat(&text, "%14.1f",
                            static_cast<double>(backend.run_ns[i]) / kNanosPerMicro);
    }
    absl::StrAppend(&text, "  ", report.backends[choice.backend].table.backend, " (",
                    RouteReasonName(choice.reason), ")");
  }
  int64_t all = 0;
  for (const auto& backend : report.backends) all += BatchesOf(backend);
  for (const auto& backend : report.backends) {
    const RouteTable& table = backend.table;
    absl::StrAppendFormat(&text, "\n%s: %d of %d batches, drift %.2f, %d of %d sizes measured%s",
                          table.backend, BatchesOf(backend), all, backend.drift, table.measured,
                          table.rows.size(), backend.failed ? ", failed" : "");
  }
  return text + "\n";
}

}  // namespace bitmill
