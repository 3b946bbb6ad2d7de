// Shadow runs: a sampled share of the requests of a version is computed once more by the version
// that is held back beside it, after the answer was sent, one at a time, out of a bounded queue.
// Other work that must not hold up a request waits in the same queue.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "base/mutex.h"

namespace bitmill {

// A request with copies of its rows, and of the answer that it was given.
struct ShadowRequest {
  std::string model;
  int64_t version = 0;  // that answered
  std::string request_id;
  int64_t rows = 1;
  std::vector<std::vector<std::byte>> inputs, outputs;  // [input], [output]: packed rows
  int64_t serve_ns = 0;                                 // of the answer
  int64_t bytes() const;
};

struct ShadowOutcome {
  int64_t version = 0;  // that computed it; 0: there is no shadow, nothing else means anything
  absl::Status status;
  std::vector<std::vector<std::byte>> outputs;  // where `status` is OK, of the answer's sizes
  int64_t serve_ns = 0;
};

// Whoever can compute a request by the version that is held back.
class ShadowServer {
 public:
  virtual ~ShadowServer() = default;
  // The version held back beside `version`; 0: none. Quick, thread-safe.
  virtual int64_t ShadowOf(const std::string& model, int64_t version) const = 0;
  // Waits for the result.
  virtual ShadowOutcome Run(const ShadowRequest& request) = 0;
};

// Whoever sampled the request.
class ShadowListener {
 public:
  virtual ~ShadowListener() = default;
  virtual void OnShadow(const ShadowRequest& request, const ShadowOutcome& outcome) = 0;
};

// The queue and its thread. Thread-safe.
class ShadowRuns {
 public:
  struct Limits {
    size_t max_requests = 64;
    int64_t max_bytes = int64_t{64} << 20;
  };
  explicit ShadowRuns(const Limits& limits) : limits_(limits) {}
  ~ShadowRuns() { Stop(); }
  ShadowRuns(const ShadowRuns&) = delete;
  ShadowRuns& operator=(const ShadowRuns&) = delete;

  // The server; null before Start and after Stop.
  const ShadowServer* server() const;
  // Whether a request of so many bytes would fit now; so that what will not is not copied.
  bool HasRoom(int64_t bytes) const;
  // False: no room, the request is dropped. The listener is kept alive.
  bool Offer(std::shared_ptr<ShadowListener> listener, ShadowRequest request);

  // The same for `work`, which holds `bytes`.
  bool OfferWork(int64_t bytes, std::function<void()> work);

  // Begins to run requests. `server` is borrowed until Stop has returned. Call each once.
  void Start(ShadowServer& server);
  // Forgets what waits; returns when the one that runs is done.
  void Stop();
  // As Start, but without a thread: the caller runs what waits.
  void StartWithoutThread(ShadowServer& server);
  // Runs what waited longest, on this thread. False when none waits.
  bool RunOne();

 private:
  struct Waiting {
    std::shared_ptr<ShadowListener> listener;  // null: `work`
    ShadowRequest request;
    std::function<void()> work;
    int64_t bytes = 0;
  };
  bool Enqueue(Waiting waiting);
  void Work();

  const Limits limits_;
  mutable Mutex mutex_;
  CondVar changed_;
  ShadowServer* server_ ABSL_GUARDED_BY(mutex_) = nullptr;
  bool stopped_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<Waiting> queue_ ABSL_GUARDED_BY(mutex_);
  int64_t queued_bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace bitmill
