#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/analysis/host_sampler.h"

namespace bitmill {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;

// Collects points; a value below 0 cannot be read, and is left out.
class Points {
 public:
  void Counter(absl::string_view name, absl::string_view help, double value, Labels labels = {}) {
    Add(name, help, MetricType::kCounter, value, std::move(labels));
  }
  void Gauge(absl::string_view name, absl::string_view help, double value, Labels labels = {}) {
    Add(name, help, MetricType::kGauge, value, std::move(labels));
  }
  std::vector<MetricPoint> Take() { return std::move(points_); }

 private:
  void Add(absl::string_view name, absl::string_view help, MetricType type, double value,
           Labels labels) {
    if (value < 0) return;
    points_.push_back({std::string(name), std::string(help), type, std::move(labels), value});
  }

  std::vector<MetricPoint> points_;
};

double Count(int64_t count) { return static_cast<double>(count); }
// -1 stays below 0.
double Seconds(int64_t nanos) { return static_cast<double>(nanos) * 1e-9; }

void AddPressure(const HostWindow& window, Points& points) {
  const struct {
    const char* scope;
    const char* resource;
    const char* kind;
    double share;
  } shares[] = {
      {"machine", "cpu", "some", window.psi_cpu_some},
      {"machine", "memory", "some", window.psi_memory_some},
      {"machine", "memory", "full", window.psi_memory_full},
      {"machine", "io", "some", window.psi_io_some},
      {"group", "cpu", "some", window.psi_group_cpu_some},
      {"group", "memory", "some", window.psi_group_memory_some},
      {"group", "memory", "full", window.psi_group_memory_full},
      {"group", "io", "some", window.psi_group_io_some},
  };
  for (const auto& each : shares) {
    points.Gauge("bitmill_pressure_share",
                 "Share of time in which some, or all, tasks of the machine or of the server's "
                 "control group waited for a resource.",
                 each.share,
                 {{"scope", each.scope}, {"resource", each.resource}, {"kind", each.kind}});
  }
}

void AddPerf(const PerfReading& perf, Points& points) {
  const std::pair<const char*, int64_t> counts[] = {{"cycles", perf.cycles},
                                                    {"instructions", perf.instructions},
                                                    {"cache_misses", perf.cache_misses},
                                                    {"branch_misses", perf.branch_misses}};
  for (const auto& [event, count] : counts) {
    points.Counter("bitmill_perf_events_total",
                   "Events that the processor counted for the server in user mode.", Count(count),
                   {{"event", event}});
  }
}

// A source of its own for each way to know: series of different sources are never to be mixed.
void AddEnergy(const EnergyReading& energy, const std::optional<EnergyReading>& gpus,
               Points& points) {
  std::vector<EnergyReading> readings = {energy};
  if (gpus) readings.push_back(*gpus);
  for (const EnergyReading& reading : readings) {
    points.Counter("bitmill_energy_joules_total",
                   "Energy of the whole machine's processors, measured (rapl) or estimated from "
                   "how busy they were (model), and of its GPUs (nvml).",
                   reading.joules, {{"source", EnergySourceName(reading.source)}});
  }
  for (const EnergyReading& reading : readings) {
    points.Gauge("bitmill_energy_uncertainty_joules",
                 "By how much bitmill_energy_joules_total may be off, either way.",
                 reading.uncertainty, {{"source", EnergySourceName(reading.source)}});
  }
}

struct GpuFamily {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const GpuReading& gpu);
};

constexpr GpuFamily kGpuFamilies[] = {
    {"bitmill_gpu_memory_total_bytes", "Memory of the GPU.", MetricType::kGauge,
     [](const GpuReading& gpu) { return Count(gpu.memory_total_bytes); }},
    {"bitmill_gpu_memory_used_bytes", "Memory of the GPU in use, by anybody.", MetricType::kGauge,
     [](const GpuReading& gpu) { return Count(gpu.memory_used_bytes); }},
    {"bitmill_gpu_busy_share", "Share of the time in which a kernel ran on the GPU.",
     MetricType::kGauge, [](const GpuReading& gpu) { return gpu.busy_share; }},
    {"bitmill_gpu_memory_busy_share", "Share of the time in which the GPU's memory was accessed.",
     MetricType::kGauge, [](const GpuReading& gpu) { return gpu.memory_busy_share; }},
    {"bitmill_gpu_power_watts", "Power that the GPU draws.", MetricType::kGauge,
     [](const GpuReading& gpu) { return gpu.watts; }},
    {"bitmill_gpu_energy_joules_total", "Energy that the GPU has used since the server's start.",
     MetricType::kCounter, [](const GpuReading& gpu) { return gpu.joules; }},
    {"bitmill_gpu_sm_clock_mhz", "Clock of the GPU's multiprocessors.", MetricType::kGauge,
     [](const GpuReading& gpu) { return Count(gpu.sm_clock_mhz); }},
    {"bitmill_gpu_memory_clock_mhz", "Clock of the GPU's memory.", MetricType::kGauge,
     [](const GpuReading& gpu) { return Count(gpu.memory_clock_mhz); }},
    {"bitmill_gpu_temperature_celsius", "Temperature of the GPU.", MetricType::kGauge,
     [](const GpuReading& gpu) { return Count(gpu.temperature_celsius); }},
};

void AddGpus(const std::vector<GpuReading>& gpus, Points& points) {
  for (const GpuFamily& family : kGpuFamilies) {
    for (const GpuReading& gpu : gpus) {
      const Labels labels = {{"gpu", absl::StrCat(gpu.index)}, {"uuid", gpu.uuid}};
      if (family.type == MetricType::kCounter) {
        points.Counter(family.name, family.help, family.value(gpu), labels);
      } else {
        points.Gauge(family.name, family.help, family.value(gpu), labels);
      }
    }
  }
}

}  // namespace

std::vector<MetricPoint> HostMetrics(const HostSample& newest, const HostWindow& window) {
  const HostTotals& totals = newest.totals;
  Points points;
  points.Counter("bitmill_cgroup_throttled_seconds_total",
                 "Time for which the control group's CPU quota held the server back, summed over "
                 "CPUs.",
                 Seconds(totals.throttled_ns));
  points.Counter("bitmill_cgroup_periods_total",
                 "Enforcement periods of the control group's CPU quota.", Count(totals.periods));
  points.Counter("bitmill_cgroup_throttled_periods_total",
                 "Enforcement periods in which the quota held the server back.",
                 Count(totals.throttled_periods));
  AddPressure(window, points);
  points.Counter("bitmill_run_queue_wait_seconds_total",
                 "Time for which threads of the server were ready to run and had no CPU.",
                 Seconds(totals.run_queue_wait_ns));
  points.Counter(
      "bitmill_starved_wait_seconds_total",
      "The part of that in which threads hardly got a CPU while others of the server did.",
      Seconds(totals.starved_wait_ns));
  points.Gauge("bitmill_steal_share",
               "Share of the CPUs' time that the hypervisor gave to others while it was wanted.",
               window.steal_share);
  points.Gauge("bitmill_machine_busy_cores", "CPU seconds of everything on the machine, a second.",
               window.machine_busy_cores);
  points.Counter("bitmill_page_faults_total", "Page faults of the server.",
                 Count(totals.minor_faults), {{"kind", "minor"}});
  points.Counter("bitmill_page_faults_total", "Page faults of the server.",
                 Count(totals.major_faults), {{"kind", "major"}});
  if (newest.memory_limit_bytes > 0) {
    points.Gauge("bitmill_memory_limit_bytes",
                 "Memory that the control group may use, of those with a limit the one with the "
                 "least room left.",
                 Count(newest.memory_limit_bytes));
    points.Gauge("bitmill_memory_used_bytes", "Memory that this control group uses.",
                 Count(newest.memory_used_bytes));
  }
  points.Counter("bitmill_memory_limit_hits_total",
                 "Times that the control group ran into its memory limit.",
                 Count(totals.memory_limit_hits));
  points.Gauge("bitmill_pending_write_bytes",
               "Bytes sent to clients that they have not acknowledged.",
               Count(newest.pending_write_bytes));
  AddEnergy(newest.energy, newest.gpus ? EnergyOfGpus(*newest.gpus) : std::nullopt, points);
  if (newest.gpus) AddGpus(*newest.gpus, points);
  AddPerf(newest.perf, points);
  return points.Take();
}

}  // namespace bitmill
