#include "server/analysis/power_meter.h"

#include <algorithm>

namespace bitmill {

void PowerMeter::Add(const HostSample& sample) {
  // Energy is read once a second: a sample in between says what the last one did.
  if (!readings_.empty() && sample.energy_at_ns <= readings_.back().at_ns) return;
  Reading reading{.at_ns = sample.energy_at_ns, .energy = {}};
  if (sample.energy.source != EnergySource::kModel || trust_model_) {
    reading.energy.push_back(sample.energy);
  }
  if (sample.gpus != nullptr) {
    if (const auto gpus = EnergyOfGpus(*sample.gpus)) reading.energy.push_back(*gpus);
  }
  readable_ = !reading.energy.empty();
  if (!readings_.empty() && readings_.back().energy.size() != reading.energy.size()) {
    readings_.clear();  // a source came or went
  }
  readings_.push_back(std::move(reading));
  while (readings_.size() > 2 && readings_[1].at_ns <= readings_.back().at_ns - window_ns_) {
    readings_.pop_front();
  }
}

std::vector<SourceWatts> PowerMeter::Watts() const {
  std::vector<SourceWatts> watts;
  if (readings_.size() < 2) return watts;
  const Reading& first = readings_.front();
  const Reading& last = readings_.back();
  const double seconds = static_cast<double>(last.at_ns - first.at_ns) * 1e-9;
  for (size_t i = 0; i < last.energy.size(); ++i) {
    const double joules = last.energy[i].joules - first.energy[i].joules;
    const double unsure = last.energy[i].uncertainty - first.energy[i].uncertainty;
    watts.push_back(
        {last.energy[i].source, std::max(joules, 0.0) / seconds, std::max(unsure, 0.0) / seconds});
  }
  return watts;
}

double PowerMeter::TotalWatts() const {
  const std::vector<SourceWatts> all = Watts();
  if (all.empty()) return -1;
  double sum = 0;
  for (const SourceWatts& source : all) sum += source.watts;
  return sum;
}

double ModelWatts(double machine_watts, double model_busy_cores, double all_models_busy_cores,
                  double machine_busy_cores) {
  const double all = std::max(all_models_busy_cores, machine_busy_cores);
  if (machine_watts < 0 || all <= 0) return -1;
  return machine_watts * std::clamp(model_busy_cores / all, 0.0, 1.0);
}

}  // namespace bitmill
