// How much memory the models of a server may hold: as a person writes it, and as bytes.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bitmill {

// Either a share of what there is, or bytes; neither: no limit.
struct MemoryBudget {
  double share = 0;
  int64_t bytes = 0;
};

// Of what there is: the rest is for requests, the code, and models while they are compiled.
inline constexpr double kAutomaticHostShare = 0.8;
// Drivers and other processes have their part of a device.
inline constexpr double kAutomaticDeviceShare = 0.9;

// "off"; "auto", which is `automatic_share`; a share, "0.75" (above 0, at most 1); or bytes,
// "512MiB", "1.5GB", "8589934592" (units B, kB, MB, GB, TB, KiB, MiB, GiB, TiB, in any case).
// InvalidArgument otherwise.
absl::StatusOr<MemoryBudget> ParseMemoryBudget(absl::string_view text, double automatic_share);

// Of a device with so many bytes (0: not known, when a share is no limit); 0: no limit.
int64_t BudgetBytes(const MemoryBudget& budget, int64_t device_bytes);

// For people: "1.50 GiB", "37 bytes".
std::string BytesText(int64_t bytes);

}  // namespace bitmill
