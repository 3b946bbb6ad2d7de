#include "server/analysis/quality/answer_memory.h"

#include <algorithm>
#include <bit>

#include "base/hash.h"

namespace bitmill {
namespace {

constexpr int64_t kWholeRowBytes = 4096;
constexpr int64_t kPieces = 64;
constexpr int64_t kPieceBytes = kWholeRowBytes / kPieces;
constexpr size_t kLeastEntries = 16;  // of a shard

uint64_t NotZero(uint64_t key) { return key == 0 ? 1 : key; }

// An input and an id of the same bytes are different keys.
constexpr uint64_t kInputSalt = 0x9E3779B97F4A7C15U;

}  // namespace

uint64_t AnswerKeyOfId(absl::string_view request_id, int64_t row) {
  Hasher hasher;
  hasher.Add(request_id.data(), request_id.size());
  hasher.Add(&row, sizeof row);
  return NotZero(hasher.Finish());
}

uint64_t AnswerKeyOfInput(const void* data, int64_t bytes) {
  if (bytes <= kWholeRowBytes) {
    return NotZero(HashBytes(data, static_cast<size_t>(bytes)) ^ kInputSalt);
  }
  const auto* const start = static_cast<const std::byte*>(data);
  Hasher hasher;
  for (int64_t piece = 0; piece < kPieces; ++piece) {
    // The first piece starts at the first byte, the last one ends at the last.
    const auto place = static_cast<int64_t>(static_cast<double>(bytes - kPieceBytes) *
                                            static_cast<double>(piece) / (kPieces - 1));
    hasher.Add(start + place, kPieceBytes);
  }
  hasher.Add(&bytes, sizeof bytes);
  return NotZero(hasher.Finish() ^ kInputSalt);
}

AnswerMemory::AnswerMemory(const Limits& limits) : max_age_ns_(limits.max_age_ns) {
  // Buckets are a power of two, at least half as many as entries.
  const auto shard_bytes = static_cast<size_t>(std::max<int64_t>(0, limits.max_bytes)) / kShards;
  size_t entries = shard_bytes / (sizeof(Entry) + sizeof(int32_t));
  entries = std::clamp(entries, kLeastEntries, size_t{1} << 30);
  const size_t buckets = std::bit_floor(entries);
  shard_entries_ = entries;
  bucket_mask_ = buckets - 1;
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mutex);
    shard.ring.resize(entries);
    shard.buckets.assign(buckets, -1);
  }
}

int64_t AnswerMemory::capacity() const { return static_cast<int64_t>(shard_entries_ * kShards); }

int64_t AnswerMemory::bytes() const {
  const size_t shard = shard_entries_ * sizeof(Entry) + (bucket_mask_ + 1) * sizeof(int32_t);
  return static_cast<int64_t>(shard * kShards);
}

void AnswerMemory::Remember(MonotonicNanos now, uint64_t id_key, uint64_t input_key,
                            const Prediction& prediction) {
  if (id_key != 0) Insert(now, id_key, prediction);
  if (input_key != 0) Insert(now, input_key, prediction);
}

void AnswerMemory::Insert(MonotonicNanos now, uint64_t key, const Prediction& prediction) {
  Shard& shard = ShardOf(key);
  MutexLock lock(&shard.mutex);
  const size_t slot = shard.next_slot;
  shard.next_slot = slot + 1 == shard.ring.size() ? 0 : slot + 1;
  if (shard.ring[slot].key != 0) Unlink(shard, slot);
  int32_t& head = shard.buckets[key & (shard.buckets.size() - 1)];
  shard.ring[slot] = {key, now, prediction, head, false};
  head = static_cast<int32_t>(slot);
}

void AnswerMemory::Unlink(Shard& shard, size_t slot) {
  const Entry& entry = shard.ring[slot];
  int32_t* link = &shard.buckets[entry.key & (shard.buckets.size() - 1)];
  while (*link != static_cast<int32_t>(slot)) link = &shard.ring[static_cast<size_t>(*link)].next;
  *link = entry.next;
}

std::optional<Prediction> AnswerMemory::Take(MonotonicNanos now, uint64_t key) {
  Shard& shard = ShardOf(key);
  MutexLock lock(&shard.mutex);
  int32_t slot = shard.buckets[key & (shard.buckets.size() - 1)];
  while (slot >= 0) {
    Entry& entry = shard.ring[static_cast<size_t>(slot)];
    if (entry.key == key) {
      if (entry.taken || now - entry.at_ns > max_age_ns_) return std::nullopt;
      entry.taken = true;
      return entry.prediction;
    }
    slot = entry.next;
  }
  return std::nullopt;
}

}  // namespace bitmill
