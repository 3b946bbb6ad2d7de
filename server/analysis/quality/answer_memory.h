// Remembers what was answered, so that a label which comes later finds it: by the request's id and
// row, or by the row's input.
//
// Keys are 64-bit hashes (base/hash.h): of the id and the row, of the input's bytes. A row of more
// than 4 KiB is hashed in 64 pieces of 64 bytes spread evenly over it: two rows that differ in none
// of them count as one. What is remembered is bounded in bytes and in age; the oldest goes first.
// Sixteen shards by key, each with a lock of its own that is held for a few table writes.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
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

  // Under each key that is not 0 (two independent copies, one a key).
  void Remember(MonotonicNanos now, uint64_t id_key, uint64_t input_key,
                const Prediction& prediction);
  // The newest answer under the key; nothing when there is none, when it is too old, or when it was
  // taken before (a label counts once).
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
    bool taken = false;
  };
  struct Shard {
    mutable Mutex mutex;
    std::vector<Entry> ring ABSL_GUARDED_BY(mutex);       // written at next_slot, the oldest
    std::vector<int32_t> buckets ABSL_GUARDED_BY(mutex);  // head of each chain, newest first; -1
    size_t next_slot ABSL_GUARDED_BY(mutex) = 0;
  };

  Shard& ShardOf(uint64_t key) { return shards_[key >> 60]; }
  void Insert(MonotonicNanos now, uint64_t key, const Prediction& prediction);
  static void Unlink(Shard& shard, size_t slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(shard.mutex);

  const int64_t max_age_ns_;
  size_t shard_entries_ = 0;
  size_t bucket_mask_ = 0;
  std::array<Shard, kShards> shards_;
};

}  // namespace bitmill
