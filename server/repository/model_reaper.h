// Destroys versions that nobody uses any more, on a thread of its own: the last handle is often
// dropped by the thread that answers requests, or by a worker inside the very batcher that would be
// destroyed, and freeing a large model takes milliseconds.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <set>
#include <thread>

#include "base/mutex.h"
#include "server/repository/repository.h"

namespace bitmill {

class ModelReaper {
 public:
  ModelReaper();
  // Waits up to `kStopSeconds` for handles that are still held; a version whose handle is dropped
  // after that is destroyed by whoever drops it.
  ~ModelReaper();
  ModelReaper(const ModelReaper&) = delete;
  ModelReaper& operator=(const ModelReaper&) = delete;

  struct Owned {
    ModelHandle handle;
    int64_t id = 0;
  };
  // Takes the version over: it is drained and destroyed here, soon after the last handle is gone.
  Owned Adopt(std::unique_ptr<const ServedModel> model);

  // True once the version is destroyed and its memory freed; false after `seconds`.
  bool WaitUntilGone(int64_t id, double seconds);

  static constexpr double kStopSeconds = 10;

 private:
  struct State;
  static void Run(State& state);

  const std::shared_ptr<State> state_;
  std::thread thread_;
};

}  // namespace bitmill
