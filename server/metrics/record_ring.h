// A bounded queue of small records from many threads to one reader, without locks: a writer takes a
// ticket with one compare-and-swap and copies its record. A full queue drops the record and counts
// it; nobody ever waits for the reader. (The bounded queue of Dmitry Vyukov, 1024cores.net.)
#pragma once

#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "absl/functional/function_ref.h"
#include "base/aligned_buffer.h"

namespace bitmill {

template <typename Record>
class RecordRing {
 public:
  // Holds `records`, rounded up to a power of two.
  explicit RecordRing(size_t records)
      : mask_(std::bit_ceil(records) - 1), slots_(std::make_unique<Slot[]>(mask_ + 1)) {
    for (size_t i = 0; i <= mask_; ++i) slots_[i].turn.store(i, std::memory_order_relaxed);
  }

  // Thread-safe.
  void Add(const Record& record) {
    size_t ticket = head_.load(std::memory_order_relaxed);
    for (;;) {
      Slot& slot = slots_[ticket & mask_];
      const size_t turn = slot.turn.load(std::memory_order_acquire);
      if (turn == ticket) {
        if (head_.compare_exchange_weak(ticket, ticket + 1, std::memory_order_relaxed)) {
          slot.record = record;
          slot.turn.store(ticket + 1, std::memory_order_release);
          return;
        }
      } else if (static_cast<ptrdiff_t>(turn - ticket) < 0) {
        dropped_.fetch_add(1, std::memory_order_relaxed);
        return;
      } else {
        ticket = head_.load(std::memory_order_relaxed);
      }
    }
  }

  // Hands over what is complete, in the order of the tickets. One thread at a time.
  void Drain(absl::FunctionRef<void(const Record&)> take) {
    for (;; ++tail_) {
      Slot& slot = slots_[tail_ & mask_];
      if (slot.turn.load(std::memory_order_acquire) != tail_ + 1) return;
      take(slot.record);
      slot.turn.store(tail_ + mask_ + 1, std::memory_order_release);
    }
  }

  int64_t dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  struct alignas(kCacheLineBytes) Slot {
    std::atomic<size_t> turn{0};  // ticket: free for it; ticket + 1: holds its record
    Record record{};
  };

  const size_t mask_;
  const std::unique_ptr<Slot[]> slots_;
  alignas(kCacheLineBytes) std::atomic<size_t> head_{0};
  alignas(kCacheLineBytes) std::atomic<int64_t> dropped_{0};
  alignas(kCacheLineBytes) size_t tail_ = 0;  // the reader's
};

}  // namespace bitmill
