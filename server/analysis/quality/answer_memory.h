// Remembers what was answered, so that a label which comes later finds it: by the request's id and
// row, or by the row's input.
//
// Keys are 64-bit hashes (base/hash.h): of the id and the row, of the input's bytes. A row of more
// than 4 KiB is hashed in 64 pieces of 64 bytes spread evenly over it: two rows that differ in none
// of them count as one. What is remembered is bounded in bytes and in age; the oldest goes first.
// Sixteen shards by key, each with a lock of its own that is held for a few table writes.
//
// The two keys of a row lie in different shards. What makes its label count once is a claim that
// both entries name: a place in a ring of as many as rows are remembered, which the first label to
// come turns from free to taken with one compare-and-swap.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "base/mutex.h"

namespace bitmill {

// Of the first output of one row: a class and its score, or a value.
struct Prediction {
  double value = 0;    // of a regression
  int32_t index = -1;  // of the class; -1: there is none
  float score = -1;    // 0 to 1; below 0: not known
};

// Never 0, which stands for no key.
uint64_t AnswerKeyOfId(absl::string_view request_id, int64_t row);
uint64_t AnswerKeyOfInput(const void* data, int64_t bytes);

// Thread-safe.
class AnswerMemory {
 public:
  struct Limits {
    int64_t max_bytes = int64_t{16} << 20;
    int64_t max_age_ns = int64_t{3600} * 1'000'000'000;
  };
  explicit AnswerMemory(const Limits& limits);
  AnswerMemory(const AnswerMemory&) = delete;
  AnswerMemory& operator=(const AnswerMemory&) = delete;

  // Of one row, under each key that is not 0.
  void Remember(MonotonicNanos now, uint64_t id_key, uint64_t input_key,
                const Prediction& prediction);
  // The newest answer under the key; nothing when there is none, when it is too old, or when it was
  // taken before, by either of its keys (a label counts once).
  std::optional<Prediction> Take(MonotonicNanos now, uint64_t key);

  int64_t capacity() const;  // answers under a key, all shards together
  int64_t bytes() const;     // allocated, at most max_bytes (but for the least size)

 private:
  static constexpr size_t kShards = 16;
  struct Entry {
    uint64_t key = 0;
    MonotonicNanos at_ns = 0;
    Prediction prediction;
    int32_t next = -1;  // of the same bucket
    // Of a row with two keys: the ring's value while nobody has taken it, even and not 0. Of one
    // with a single key kFree or kTaken, right here.
    uint32_t claim = 0;
  };
  static constexpr uint32_t kFree = 0, kTaken = 1;
  struct Shard {
    mutable Mutex mutex;
    std::vector<Entry> ring ABSL_GUARDED_BY(mutex);       // written at next_slot, the oldest
    std::vector<int32_t> buckets ABSL_GUARDED_BY(mutex);  // head of each chain, newest first; -1
    size_t next_slot ABSL_GUARDED_BY(mutex) = 0;
  };

  Shard& ShardOf(uint64_t key) { return shards_[key >> 60]; }
  uint32_t NewClaim();
  // Whether the caller is the first who takes the entry's row.
  bool Claim(Entry& entry);
  void Insert(MonotonicNanos now, uint64_t key, const Prediction& prediction, uint32_t claim);
  // Null when there is none.
  Entry* Newest(Shard& shard, uint64_t key) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);

  const int64_t max_age_ns_;
  size_t shard_entries_ = 0;
  size_t bucket_mask_ = 0;
  size_t claim_mask_ = 0;
  std::unique_ptr<std::atomic<uint32_t>[]> claims_;  // at claim / 2: the claim, + 1 once taken
  std::atomic<uint32_t> next_claim_{0};
  std::array<Shard, kShards> shards_;
};

}  // namespace bitmill
