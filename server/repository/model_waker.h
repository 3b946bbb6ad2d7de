// Brings evicted models back: requests that want one wait here together, without a thread of
// their own, and one load serves them all.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "base/clock.h"
#include "base/mutex.h"
#include "server/repository/repository.h"

namespace bitmill {

class ModelWaker {
 public:
  // Loads the model unless it is there, and returns its versions, which are held while those who
  // waited are told. Called by a thread of the waker.
  using Reload = std::function<absl::StatusOr<std::vector<ModelHandle>>(const std::string& name)>;

  // Borrows the clock. Threads are started when they are needed, so many at most.
  ModelWaker(Reload reload, int threads, const Clock& clock);
  ~ModelWaker() { Stop(); }
  ModelWaker(const ModelWaker&) = delete;
  ModelWaker& operator=(const ModelWaker&) = delete;

  // `then` is called once, by a thread of the waker, or here once it is stopped. After a load that
  // failed, those who come within a second get its status without another. Thread-safe.
  void Wake(const std::string& name, ModelRepository::Woken then);
  // Tells those who wait Unavailable; waits for loads that run.
  void Stop();

 private:
  struct Failure {
    absl::Status status;
    MonotonicNanos until_ns = 0;
  };
  void Run();
  absl::StatusOr<std::vector<ModelHandle>> LoadOrFail(const std::string& name);

  const Reload reload_;
  const size_t max_threads_;
  const Clock& clock_;
  Mutex mutex_;
  CondVar changed_;
  std::deque<std::string> names_ ABSL_GUARDED_BY(mutex_);  // to be loaded, each once
  std::map<std::string, std::vector<ModelRepository::Woken>> waiting_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Failure> failures_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_ ABSL_GUARDED_BY(mutex_);
  size_t idle_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stop_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace bitmill
