// Watts of late, from counters of joules, and the parts of the models in them.
#pragma once

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "server/analysis/energy.h"
#include "server/analysis/host_window.h"

namespace bitmill {

// Each source by itself.
struct SourceWatts {
  EnergySource source = EnergySource::kModel;
  double watts = 0;
  double uncertainty = 0;  // watts, either way
};

// Means over the last seconds. Used by one thread.
class PowerMeter {
 public:
  // `trust_model`: its watts were declared for this machine.
  PowerMeter(MonotonicNanos window_ns, bool trust_model)
      : window_ns_(window_ns), trust_model_(trust_model) {}

  // A sample; one that was given already is passed over.
  void Add(const HostSample& sample);
  // Of the sources that can be relied on; empty: nothing can be read, or not yet.
  std::vector<SourceWatts> Watts() const;
  // Processors and GPUs; -1: as above.
  double TotalWatts() const;
  // Whether a source that can be relied on is there at all.
  bool readable() const { return readable_; }

 private:
  struct Reading {
    MonotonicNanos at_ns = 0;
    std::vector<EnergyReading> energy;
  };
  const MonotonicNanos window_ns_;
  const bool trust_model_;
  bool readable_ = false;
  std::deque<Reading> readings_;
};

// The part of a model in the machine's watts: the busy time of its workers over that of all CPUs,
// so that what the machine draws when idle is paid for by those who use it. -1: not known.
double ModelWatts(double machine_watts, double model_busy_cores, double all_models_busy_cores,
                  double machine_busy_cores);

}  // namespace bitmill
