#include "backends/fallback_executable.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace bitmill {
namespace {

class FallbackContext final : public ExecutionContext {
 public:
  FallbackContext(std::unique_ptr<ExecutionContext> device,
                  std::unique_ptr<ExecutionContext> fallback)
      : device_(std::move(device)), fallback_(std::move(fallback)) {}

  ExecutionContext& device() { return *device_; }
  ExecutionContext& fallback() { return *fallback_; }

 private:
  const std::unique_ptr<ExecutionContext> device_, fallback_;
};

}  // namespace

FallbackExecutable::FallbackExecutable(std::unique_ptr<Executable> device,
                                       std::unique_ptr<Executable> fallback, std::string name)
    : device_(std::move(device)), fallback_(std::move(fallback)), name_(std::move(name)) {}

std::unique_ptr<ExecutionContext> FallbackExecutable::CreateContext() const {
  return std::make_unique<FallbackContext>(device_->CreateContext(), fallback_->CreateContext());
}

absl::Status FallbackExecutable::RunBoth(const BatchRows& batch, ExecutionContext& context,
                                         OperationTimes* times) const {
  auto& own = static_cast<FallbackContext&>(context);
  if (!device_failed()) {
    absl::Status status = times != nullptr ? device_->RunTimed(batch, own.device(), *times)
                                           : device_->Run(batch, own.device());
    if (status.ok() || absl::IsInvalidArgument(status)) return status;
    if (!failed_.exchange(true)) {
      LogError(absl::StrCat("model '", EscapeForLog(name_),
                            "' goes on without its device: ", status.message()));
    }
  }
  return fallback_->Run(batch, own.fallback());
}

absl::Status FallbackExecutable::Run(const BatchRows& batch, ExecutionContext& context) const {
  return RunBoth(batch, context, nullptr);
}

absl::Status FallbackExecutable::RunTimed(const BatchRows& batch, ExecutionContext& context,
                                          OperationTimes& times) const {
  return RunBoth(batch, context, &times);
}

std::string FallbackExecutable::DescribePlan() const {
  if (device_failed()) return "the device has failed; on the CPU:\n" + fallback_->DescribePlan();
  return device_->DescribePlan();
}

}  // namespace bitmill
