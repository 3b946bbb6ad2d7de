#include "server/analysis/quality/answer_memory.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <utility>

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
  // The first piece starts at the first byte, the last one ends at the last. They are gathered
  // before they are hashed: the row is seldom in a cache, and copies wait for memory all at once.
  const int64_t step = (bytes - kPieceBytes) / (kPieces - 1);
  const int64_t rest = (bytes - kPieceBytes) % (kPieces - 1);
  std::array<std::byte, kWholeRowBytes + sizeof bytes> pieces;
  for (int64_t piece = 0; piece < kPieces; ++piece) {
    std::memcpy(pieces.data() + piece * kPieceBytes,
                start + piece * step + piece * rest / (kPieces - 1), kPieceBytes);
  }
  std::memcpy(pieces.data() + kWholeRowBytes, &bytes, sizeof bytes);
  return NotZero(HashBytes(pieces.data(), pieces.size()) ^ kInputSalt);
}

AnswerMemory::AnswerMemory(const Limits& limits) : max_age_ns_(limits.max_age_ns) {
  // Buckets and claims are a power of two, at least half as many as entries: rows with two keys.
  const auto shard_bytes = static_cast<size_t>(std::max<int64_t>(0, limits.max_bytes)) / kShards;
  size_t entries = shard_bytes / (sizeof(Entry) + sizeof(int32_t) + sizeof(uint32_t));
  entries = std::clamp(entries, kLeastEntries, size_t{1} << 26);
  const size_t buckets = std::bit_floor(entries);
  shard_entries_ = entries;
  bucket_mask_ = buckets - 1;
  claim_mask_ = buckets * kShards - 1;
  claims_ = std::make_unique<std::atomic<uint32_t>[]>(claim_mask_ + 1);
  for (Shard& shard : shards_) {
    MutexLock lock(&shard.mutex);
    shard.ring.resize(entries);
    shard.buckets.assign(buckets, -1);
  }
}

int64_t AnswerMemory::capacity() const { return static_cast<int64_t>(shard_entries_ * kShards); }

int64_t AnswerMemory::bytes() const {
  const size_t shard = shard_entries_ * sizeof(Entry) + (bucket_mask_ + 1) * sizeof(int32_t);
  return static_cast<int64_t>(shard * kShards + (claim_mask_ + 1) * sizeof(uint32_t));
}

void AnswerMemory::Remember(MonotonicNanos now, uint64_t id_key, uint64_t input_key,
                            const Prediction& prediction) {
  const uint32_t claim = id_key != 0 && input_key != 0 ? NewClaim() : kFree;
  if (id_key != 0) Insert(now, id_key, prediction, claim);
  if (input_key != 0) Insert(now, input_key, prediction, claim);
}

uint32_t AnswerMemory::NewClaim() {
  uint32_t claim = kFree;
  while (claim == kFree) claim = 2 * next_claim_.fetch_add(1, std::memory_order_relaxed);
  claims_[claim / 2 & claim_mask_].store(claim, std::memory_order_relaxed);
  return claim;
}

bool AnswerMemory::Claim(Entry& entry) {
  if (entry.claim == kFree || entry.claim == kTaken) {
    return std::exchange(entry.claim, kTaken) == kFree;
  }
  // It also fails where a newer row has come to the same place of the ring.
  uint32_t expected = entry.claim;
  return claims_[entry.claim / 2 & claim_mask_].compare_exchange_strong(
      expected, entry.claim + kTaken, std::memory_order_relaxed);
}

// The slot that is used again stays linked to in its old chain, at whose end it was: to take it out
// would mean to walk all of the chain, which is long where everybody asks for the same input.
void AnswerMemory::Insert(MonotonicNanos now, uint64_t key, const Prediction& prediction,
                          uint32_t claim) {
  Shard& shard = ShardOf(key);
  MutexLock lock(&shard.mutex);
  const size_t slot = shard.next_slot;
  shard.next_slot = slot + 1 == shard.ring.size() ? 0 : slot + 1;
  int32_t& head = shard.buckets[key & bucket_mask_];
  shard.ring[slot] = {key, now, prediction, head, claim};
  head = static_cast<int32_t>(slot);
}

// Links lead from younger entries to older ones of the same bucket. One that does not leads to a
// slot that was used again, and so ends the chain.
AnswerMemory::Entry* AnswerMemory::Newest(Shard& shard, uint64_t key) const {
  const size_t entries = shard.ring.size();
  int64_t age = -1;
  for (int32_t next = shard.buckets[key & bucket_mask_]; next >= 0;) {
    const auto slot = static_cast<size_t>(next);
    Entry& entry = shard.ring[slot];
    const auto its_age = static_cast<int64_t>((shard.next_slot + entries - 1 - slot) % entries);
    if (its_age <= age || ((entry.key ^ key) & bucket_mask_) != 0) return nullptr;
    if (entry.key == key) return &entry;
    age = its_age;
    next = entry.next;
  }
  return nullptr;
}

std::optional<Prediction> AnswerMemory::Take(MonotonicNanos now, uint64_t key) {
  Shard& shard = ShardOf(key);
  MutexLock lock(&shard.mutex);
  Entry* const entry = Newest(shard, key);
  if (entry == nullptr || now - entry->at_ns > max_age_ns_ || !Claim(*entry)) return std::nullopt;
  return entry->prediction;
}

}  // namespace bitmill
