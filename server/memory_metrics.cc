#include "server/memory_metrics.h"

#include <map>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

using Labels = std::vector<std::pair<std::string, std::string>>;
using Evictions = MemoryReport::Evictions;

double Number(int64_t value) { return static_cast<double>(value); }

struct EvictionFamily {
  const char* name;
  const char* help;
  MetricType type;
  double (*value)(const Evictions& model);
};

constexpr EvictionFamily kEvictionFamilies[] = {
    {"bitmill_model_evicted", "1 while the model is served but not in memory.", MetricType::kGauge,
     [](const Evictions& model) { return model.evicted ? 1.0 : 0.0; }},
    {"bitmill_evictions_total", "Times that the model was taken out of memory to make room.",
     MetricType::kCounter, [](const Evictions& model) { return Number(model.evictions); }},
    {"bitmill_reloads_total", "Times that the evicted model was loaded again for a request.",
     MetricType::kCounter, [](const Evictions& model) { return Number(model.reloads); }},
    {"bitmill_failed_reloads_total", "Times that the evicted model could not be loaded again.",
     MetricType::kCounter, [](const Evictions& model) { return Number(model.failed_reloads); }},
    {"bitmill_reload_seconds_total", "Time that reloads took, the making of room included.",
     MetricType::kCounter, [](const Evictions& model) { return Number(model.reload_ns) * 1e-9; }},
    {"bitmill_reload_waits_total", "Requests that waited for the evicted model.",
     MetricType::kCounter, [](const Evictions& model) { return Number(model.waited); }},
};

}  // namespace

std::vector<MetricPoint> MemoryMetrics(const MemoryReport& report) {
  std::vector<MetricPoint> points;
  for (const MemoryLedger::Device& device : report.devices) {
    if (device.budget_bytes == 0) continue;
    points.push_back({.name = "bitmill_memory_budget_bytes",
                      .help = "What models may hold of the device's memory, where that is limited.",
                      .labels = {{"device", device.name}},
                      .value = Number(device.budget_bytes)});
  }
  for (const MemoryLedger::Device& device : report.devices) {
    points.push_back({.name = "bitmill_memory_held_bytes",
                      .help = "Weights and arenas that models hold of the device's memory.",
                      .labels = {{"device", device.name}},
                      .value = Number(device.held_bytes)});
  }
  // A version that is being replaced is there twice.
  std::map<Labels, int64_t> held;
  for (const MemoryLedger::Holder& holder : report.holders) {
    for (const MemoryUse& use : holder.uses) {
      held[{{"model", holder.who.model},
            {"version", absl::StrCat(holder.who.version)},
            {"device", use.device}}] += use.bytes;
    }
  }
  for (const auto& [labels, bytes] : held) {
    points.push_back({.name = "bitmill_model_memory_bytes",
                      .help = "Weights and arenas that the model's version holds.",
                      .labels = labels,
                      .value = Number(bytes)});
  }
  for (const EvictionFamily& family : kEvictionFamilies) {
    for (const Evictions& model : report.models) {
      points.push_back({.name = family.name,
                        .help = family.help,
                        .type = family.type,
                        .labels = {{"model", model.model}},
                        .value = family.value(model)});
    }
  }
  return points;
}

}  // namespace bitmill
