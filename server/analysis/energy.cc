#include "server/analysis/energy.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/analysis/nvml.h"

namespace bitmill {
namespace {

constexpr char kFolder[] = "/sys/class/powercap/intel-rapl:";  // AMD's processors have it too
constexpr int kMaxPackages = 64;
constexpr int kMaxParts = 8;  // of a package
constexpr double kRaplUncertainty = 0.05;
constexpr double kNvmlUncertainty = 0.05;  // as NVML's documentation says of power readings

}  // namespace

std::optional<EnergyReading> EnergyOfGpus(const std::vector<GpuReading>& gpus) {
  EnergyReading sum{.source = EnergySource::kNvml};
  bool counted = false;
  for (const GpuReading& gpu : gpus) {
    if (gpu.joules < 0) continue;
    counted = true;
    sum.joules += gpu.joules;
  }
  if (!counted) return std::nullopt;
  sum.uncertainty = sum.joules * kNvmlUncertainty;
  return sum;
}

EnergyMeter::EnergyMeter(const std::string& filesystem_root, EnergyModel model) : model_(model) {
  // "psys" holds the packages again, and the parts "core" and "uncore" are in their package: only
  // packages and the memory beside them are added up.
  for (int package = 0; package < kMaxPackages; ++package) {
    const std::string folder = absl::StrCat(filesystem_root, kFolder, package);
    if (!ReadPseudoFile(folder + "/name")) break;
    AddZone(folder, "package");
    for (int part = 0; part < kMaxParts; ++part) {
      AddZone(absl::StrCat(folder, ":", part), "dram");
    }
  }
}

void EnergyMeter::AddZone(const std::string& folder, const std::string& name_prefix) {
  const std::optional<std::string> name = ReadPseudoFile(folder + "/name");
  if (!name || !absl::StartsWith(*name, name_prefix)) return;
  const auto range = ReadPseudoFile(folder + "/max_energy_range_uj");
  const auto energy = ReadPseudoFile(folder + "/energy_uj");
  if (!energy || !ParseOnlyCount(*energy)) return;
  zones_.push_back({.energy = PseudoFile(folder + "/energy_uj"),
                    .range_uj = range ? ParseOnlyCount(*range).value_or(0) : 0,
                    .last_uj = std::nullopt});
}

void EnergyMeter::UpdateRapl(absl::Span<char> buffer) {
  for (Zone& zone : zones_) {
    const std::optional<absl::string_view> text = zone.energy.Read(buffer);
    const std::optional<int64_t> now = text ? ParseOnlyCount(*text) : std::nullopt;
    if (!now) continue;  // what was used meanwhile is in the next reading
    const int64_t last = std::exchange(zone.last_uj, now).value_or(*now);
    int64_t used_uj = *now - last;
    if (used_uj < 0) used_uj = last <= zone.range_uj ? zone.range_uj - last + *now : 0;
    joules_ += static_cast<double>(used_uj) * 1e-6;
  }
}

void EnergyMeter::Update(MonotonicNanos now, double busy_cores, double cores,
                         absl::Span<char> buffer) {
  const MonotonicNanos last_ns = std::exchange(last_ns_, now).value_or(now);
  if (!zones_.empty()) {
    UpdateRapl(buffer);
    return;
  }
  if (busy_cores < 0 || now <= last_ns) return;
  const double busy = std::min(busy_cores, cores);
  const double watts = model_.idle_watts * (cores - busy) + model_.busy_watts * busy;
  joules_ += watts * static_cast<double>(now - last_ns) * 1e-9;
}

EnergyReading EnergyMeter::reading() const {
  const bool rapl = !zones_.empty();
  return {.source = rapl ? EnergySource::kRapl : EnergySource::kModel,
          .joules = joules_,
          .uncertainty = joules_ * (rapl ? kRaplUncertainty : model_.relative_uncertainty)};
}

}  // namespace bitmill
