#include "server/schedule/helper_board.h"

#include <algorithm>
#include <thread>

#include "base/pause.h"

namespace bitmill {
namespace {

constexpr uint64_t kOffered = uint64_t{1} << 63;
constexpr uint64_t kOneSlot = uint64_t{1} << 16;
constexpr uint64_t kSixteenBits = 0xffff;
constexpr int kMaxWidth = 0x7fff;
// Helpers are in the middle of a piece of work, tens of microseconds at most; one that was
// preempted needs the core that is spinning here.
constexpr int kSpins = 2000;

uint64_t WidthOf(uint64_t state) { return state >> 32 & kSixteenBits; }
uint64_t NextSlotOf(uint64_t state) { return state >> 16 & kSixteenBits; }
uint64_t InsideOf(uint64_t state) { return state & kSixteenBits; }

}  // namespace

int HelperBoard::Enter() {
  for (int i = 0; i < count_; ++i) {
    std::atomic<bool>& taken = places_[size_t(i)].taken;
    if (!taken.load(std::memory_order_relaxed) && !taken.exchange(true)) {
      occupied_.fetch_add(1, std::memory_order_relaxed);
      return i;
    }
  }
  return -1;
}

void HelperBoard::Leave(int place) {
  if (place < 0) return;
  occupied_.fetch_sub(1, std::memory_order_relaxed);
  places_[size_t(place)].taken.store(false);
}

void HelperBoard::Run(int place, int width, Work work) {
  if (place < 0 || width < 2) return work(0);
  Place& here = places_[size_t(place)];
  here.work = &work;
  const auto wide = static_cast<uint64_t>(std::min(width, kMaxWidth));
  here.state.store(kOffered | wide << 32 | kOneSlot, std::memory_order_release);
  work(0);
  // From here on nobody comes in.
  uint64_t state = here.state.fetch_and(~kOffered, std::memory_order_acquire);
  for (int spins = 0; InsideOf(state) != 0; ++spins) {
    if (spins < kSpins) {
      CpuPause();
    } else {
      std::this_thread::yield();
    }
    state = here.state.load(std::memory_order_acquire);
  }
}

bool HelperBoard::HelpAt(Place& place, absl::FunctionRef<void()> before,
                         absl::FunctionRef<void()> after) {
  uint64_t state = place.state.load(std::memory_order_acquire);
  do {
    if ((state & kOffered) == 0 || NextSlotOf(state) >= WidthOf(state)) return false;
  } while (
      !place.state.compare_exchange_weak(state, state + kOneSlot + 1, std::memory_order_acquire));
  before();
  (*place.work)(static_cast<int>(NextSlotOf(state)));
  after();
  // Nothing is left to take, for anybody.
  place.state.fetch_and(~kOffered, std::memory_order_relaxed);
  place.state.fetch_sub(1, std::memory_order_release);
  return true;
}

bool HelperBoard::Help(absl::FunctionRef<void()> before, absl::FunctionRef<void()> after) {
  for (int i = 0; i < count_; ++i) {
    if (HelpAt(places_[size_t(i)], before, after)) return true;
  }
  return false;
}

}  // namespace bitmill
