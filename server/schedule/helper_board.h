// Where computations offer a share of their work, and idle threads look for one.
//
// Offering and taking are a few atomic operations on one cache line: a step that is shared costs
// well under a microsecond when helpers are near. Nothing is allocated, nobody sleeps here, and the
// offering thread does nothing else while it waits for its helpers, so that no computation is
// delayed by a stranger's.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"

namespace bitmill {

class HelperBoard {
 public:
  explicit HelperBoard(int places) : count_(places), places_(new Place[size_t(places)]) {}

  // See ForkJoin. Thread-safe; a place is used by one thread at a time.
  int Enter();
  void Leave(int place);
  void Run(int place, int width, absl::FunctionRef<void(int slot)> work);

  // Whether any computation has a place.
  bool occupied() const { return occupied_.load(std::memory_order_relaxed) > 0; }
  // One look at all places: helps with the first work that is offered, and returns whether there
  // was any. `before` and `after` are called around it. Thread-safe.
  bool Help(absl::FunctionRef<void()> before, absl::FunctionRef<void()> after);

 private:
  using Work = absl::FunctionRef<void(int slot)>;

  struct alignas(64) Place {
    std::atomic<bool> taken{false};
    // Bit 63: work is offered; bits 32..47: the width; bits 16..31: the next slot; bits 0..15:
    // helpers inside. One word, so that a helper that comes in has seen all of it.
    std::atomic<uint64_t> state{0};
    const Work* work = nullptr;  // written before it is offered
  };

  static bool HelpAt(Place& place, absl::FunctionRef<void()> before,
                     absl::FunctionRef<void()> after);

  const int count_;
  const std::unique_ptr<Place[]> places_;
  std::atomic<int> occupied_{0};
};

}  // namespace bitmill
