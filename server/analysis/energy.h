// Energy of the machine since the meter was made: measured by the processor where that can be read,
// else estimated from how busy its CPUs were. A meter is one or the other for its whole life, so
// that the two are never added up in one series.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "base/clock.h"
#include "base/pseudo_file.h"

namespace bitmill {

enum class EnergySource : uint8_t { kRapl, kModel, kNvml };
inline const char* EnergySourceName(EnergySource source) {
  if (source == EnergySource::kNvml) return "nvml";
  return source == EnergySource::kRapl ? "rapl" : "model";
}

struct GpuReading;

struct EnergyReading {
  EnergySource source = EnergySource::kModel;
  double joules = 0;
  double uncertainty = 0;  // joules, either way; most of it is one unknown factor, not noise
};

// The sum over those that count energy; none: no GPU does.
std::optional<EnergyReading> EnergyOfGpus(const std::vector<GpuReading>& gpus);

// Watts of one hardware thread with its share of the rest of the server, idle and busy: the means
// over the servers of a large cloud provider in the SPECpower_ssj2008 results, as published by the
// Cloud Carbon Footprint project (methodology, "Compute": 0.74 and 3.5). Its figures for processors
// since 2015 lie from 0.43 to 1.06 and from 1.7 to 4.3: hence the uncertainty. Power is taken to
// grow with the busy share in a straight line; clock, vector width and memory traffic are not seen.
struct EnergyModel {
  double idle_watts = 0.74;
  double busy_watts = 3.5;
  double relative_uncertainty = 0.6;
};

// Packages and their memory by the counters of Linux's powercap (RAPL). What the processor reports
// is within about 5 % of a meter at its supply; fans, disks and the power supply are not in it.
// Used by one thread.
class EnergyMeter {
 public:
  explicit EnergyMeter(const std::string& filesystem_root, EnergyModel model = {});

  // To be called every few seconds at most: the counters wrap around within an hour under load.
  // `busy_cores` is the mean since the last call; below 0: not known, nothing is added by the
  // model.
  void Update(MonotonicNanos now, double busy_cores, double cores, absl::Span<char> buffer);
  EnergyReading reading() const;

 private:
  struct Zone {
    PseudoFile energy;
    int64_t range_uj = 0;  // where it starts again from 0
    std::optional<int64_t> last_uj;
  };
  void AddZone(const std::string& folder, const std::string& name_prefix);
  void UpdateRapl(absl::Span<char> buffer);

  const EnergyModel model_;
  std::vector<Zone> zones_;  // empty: the model
  std::optional<MonotonicNanos> last_ns_;
  double joules_ = 0;
};

}  // namespace bitmill
