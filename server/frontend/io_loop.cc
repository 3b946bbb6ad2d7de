#include "server/frontend/io_loop.h"

#include <utility>

#include "base/check.h"
#include "base/this_thread.h"
#include "grpc/support/time.h"
#include "grpcpp/alarm.h"

namespace bitmill {
namespace {

// At most so many requests are gathered before they are submitted.
constexpr size_t kGatherLimit = 128;
// Looking for more costs a system call. It is made when the last look found something, and
// otherwise every so many requests.
constexpr int kLookEvery = 8;

}  // namespace

class IoLoop::Posted final : public LoopEvent {
 public:
  explicit Posted(std::function<void()> work) : work_(std::move(work)) {}
  void SetOn(grpc::CompletionQueue* queue) {
    alarm_.Set(queue, gpr_now(GPR_CLOCK_MONOTONIC), Tag(*this));
  }
  void Handle(bool) override {
    work_();
    delete this;
  }

 private:
  std::function<void()> work_;
  grpc::Alarm alarm_;
};

IoLoop::IoLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue, Engine& engine, RequestLog* log,
               const Clock& clock)
    : queue_(std::move(queue)), engine_(engine), meter_(engine, log, clock) {}

IoLoop::~IoLoop() {
  if (thread_.joinable()) return;
  // Never started: gRPC still wants its queue shut down and emptied.
  void* tag = nullptr;
  bool ok = false;
  queue_->Shutdown();
  while (queue_->Next(&tag, &ok)) {
  }
}

void IoLoop::Start() {
  thread_ = std::thread([this] { Run(); });
}

void IoLoop::Stop() {
  if (!thread_.joinable()) return;
  Post([this] {
    stopping_ = true;
    if (calls_ == 0) queue_->Shutdown();
  });
  thread_.join();
}

void IoLoop::Post(std::function<void()> work) {
  (new Posted(std::move(work)))->SetOn(queue_.get());
}

void IoLoop::ShutdownLongCalls() {
  Post([this] {
    shutting_down_ = true;
    const std::vector<LongCall*> calls(long_calls_.begin(), long_calls_.end());
    for (LongCall* const call : calls) call->OnShutdown();
  });
}

void IoLoop::AddLongCall(LongCall& call) {
  long_calls_.insert(&call);
  if (shutting_down_) call.OnShutdown();
}

void IoLoop::CallRemoved() {
  BITMILL_CHECK(calls_ > 0);
  if (--calls_ == 0 && stopping_) queue_->Shutdown();
}

void IoLoop::Handle(void* tag, bool ok) {
  TakeOver(tag);
  static_cast<LoopEvent*>(tag)->Handle(ok);
}

void IoLoop::Run() {
  NameThisThread("io");
  thread_id_.store(std::this_thread::get_id());
  void* tag = nullptr;
  bool ok = false;
  const gpr_timespec no_wait = gpr_inf_past(GPR_CLOCK_MONOTONIC);
  int since_look = 0;
  bool found = false;
  while (queue_->Next(&tag, &ok)) {
    Handle(tag, ok);
    if (gathered_.empty()) continue;
    if (found || ++since_look >= kLookEvery) {
      since_look = 0;
      while (gathered_.size() < kGatherLimit &&
             queue_->AsyncNext(&tag, &ok, no_wait) == grpc::CompletionQueue::GOT_EVENT) {
        Handle(tag, ok);
      }
      found = gathered_.size() > 1;
    }
    SubmitGathered();
  }
}

void IoLoop::SubmitGathered() {
  meter_.Submitting(gathered_);
  engine_.Submit(gathered_, /*may_run_inline=*/true);
  meter_.Submitted();
  gathered_.clear();
}

}  // namespace bitmill
