// One completion queue and the thread that serves it. All calls that arrive on the queue live on
// this thread; only finishing an answer may happen elsewhere.
//
// Requests that were readable at the same time are gathered before the engine sees them: after an
// event the queue is emptied without waiting, then the requests found are submitted together. So a
// model of microseconds is batched without any delay and without another thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <thread>
#include <unordered_set>
#include <vector>

#include "base/clock.h"
#include "base/hand_off.h"
#include "grpcpp/completion_queue.h"
#include "server/engine/engine.h"
#include "server/frontend/turn_meter.h"
#include "server/metrics/request_log.h"

namespace bitmill {

// What a completion queue gives back. Not deleted by the loop.
class LoopEvent {
 public:
  virtual void Handle(bool ok) = 0;

 protected:
  ~LoopEvent() = default;
};

// Calls a member function: LoopCallback<Call, &Call::OnRead> read_event_{this}.
template <typename T, void (T::*Function)(bool)>
class LoopCallback final : public LoopEvent {
 public:
  explicit LoopCallback(T* object) : object_(object) {}
  void Handle(bool ok) override { (object_->*Function)(ok); }

 private:
  T* object_;
};

// A call that may stay open without work, and is told when the server stops.
class LongCall {
 public:
  virtual void OnShutdown() = 0;  // on the loop's thread

 protected:
  ~LongCall() = default;
};

class IoLoop {
 public:
  // Borrows all but the queue; some turns are told to the log, if there is one.
  IoLoop(std::unique_ptr<grpc::ServerCompletionQueue> queue, Engine& engine, RequestLog* log,
         const Clock& clock);
  ~IoLoop();  // Stop() must have been called if Start() was

  void Start();
  // Returns once every call of the loop is gone. The gRPC server has been shut down before, so that
  // no call arrives any more.
  void Stop();

  // What to give gRPC, so that the event is handled when gRPC is done. Thread-safe.
  static void* Tag(LoopEvent& event) {
    HandOff(&event);
    return &event;
  }
  // Runs `work` on the loop's thread, soon. Not after Stop(). Thread-safe.
  void Post(std::function<void()> work);
  // Tells every long call, and each that comes later, that the server stops. Thread-safe.
  void ShutdownLongCalls();

  bool OnThread() const { return std::this_thread::get_id() == thread_id_.load(); }

  // The rest is for the loop's own thread, and for the thread that calls Start() before it does.
  grpc::ServerCompletionQueue* queue() { return queue_.get(); }
  void Gather(InferTask& task) { gathered_.push_back(&task); }
  // Counts a call from its request for one to its deletion.
  void CallAdded() { ++calls_; }
  void CallRemoved();
  void AddLongCall(LongCall& call);
  void RemoveLongCall(LongCall& call) { long_calls_.erase(&call); }

 private:
  class Posted;

  void Run();
  static void Handle(void* tag, bool ok);
  void SubmitGathered();

  std::unique_ptr<grpc::ServerCompletionQueue> queue_;
  Engine& engine_;
  TurnMeter meter_;
  std::thread thread_;
  std::atomic<std::thread::id> thread_id_{};
  std::vector<InferTask*> gathered_;
  std::unordered_set<LongCall*> long_calls_;
  int64_t calls_ = 0;
  bool shutting_down_ = false;
  bool stopping_ = false;
};

}  // namespace bitmill
