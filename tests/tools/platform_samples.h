// Reports of machines that do not exist.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "tools/compare/platform_report.h"

namespace bitmill {

// A run on one thread in CPU time, at 40 % of its ceilings.
inline PlatformRun SampleRun(int64_t batch, double rows_per_s, const std::string& isa = "avx2") {
  PlatformRun run;
  run.backend = "cpu";
  run.isa = isa;
  run.mode = "one thread";
  run.batch = batch;
  run.precision = "exact";
  run.clock = "cpu";
  const double median = static_cast<double>(batch) * 1e6 / rows_per_s;
  run.latency = {median, 0.9 * median, 1.5 * median, 20};
  run.rows_per_s = rows_per_s;
  run.ceiling_rows_per_s = run.machine_rows_per_s = rows_per_s / 0.4;
  run.share = run.machine_share = 0.4;
  run.weight_bytes = 1000;
  run.arena_bytes = 2000;
  run.energy = PlatformEnergy{"model", 2e-6, 1.2e-6};
  run.operations = {{"Conv_0", "bconv_avx2", 3.0, 0.75, "compute", "bit_macs_per_s", 1000, 1000},
                    {"Pool_1", "pool_ref", 1.0, 0.25, "L2", "", 0, 0}};
  return run;
}

inline PlatformReport SampleReport(
    const std::string& cpu, std::vector<std::pair<std::string, std::vector<PlatformRun>>> models) {
  PlatformReport report;
  report.date = "2026-01-31T12:00:00Z";
  report.program_version = "1.2.3";
  report.machine = {cpu, 4, {"ref", "avx2"}, int64_t{8} << 30, "Some Linux 1", "Linux 6.1 x86_64"};
  report.backends = {"cpu"};
  report.ceilings = {{"avx2", 1, {{"bit_macs_per_s", 1e12}, {"dram_bytes_per_s", 1e10}}}};
  for (auto& [name, runs] : models) {
    report.models.push_back({name, "00000000000000ab", 1234, 1000, std::move(runs)});
  }
  return report;
}

}  // namespace bitmill
