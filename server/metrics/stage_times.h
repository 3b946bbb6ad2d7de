// Where the time of a request went. The stages have the same names in metrics, statistics, docs.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace bitmill {

enum class Stage : uint8_t { kDecode, kQueue, kAssemble, kSchedule, kCompute, kSplit, kEncode };
inline constexpr int kStages = 7;
inline constexpr std::array<const char*, kStages> kStageNames = {
    "decode", "queue", "assemble", "schedule", "compute", "split", "encode"};

struct StageTimes {
  std::array<int64_t, kStages> ns{};  // nanoseconds
  int64_t& operator[](Stage stage) { return ns[static_cast<size_t>(stage)]; }
  int64_t operator[](Stage stage) const { return ns[static_cast<size_t>(stage)]; }
};

}  // namespace bitmill
