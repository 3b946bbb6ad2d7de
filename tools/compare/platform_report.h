// What `bitmill bench --report` writes and `bitmill compare` reads: how fast models run on one
// machine, against what the machine can do. docs/analysis_compare.md describes the JSON.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bitmill {

inline constexpr char kPlatformFormat[] = "bitmill-platform-report";
inline constexpr int64_t kPlatformVersion = 1;

struct PlatformMachine {
  std::string cpu;
  int64_t cores = 0;                    // that may be used
  std::vector<std::string> isa_levels;  // plainest first; the last is the best
  std::optional<int64_t> memory_bytes;  // none: not known
  std::string os, kernel;
};

// The machine's limits with one instruction set on so many threads together.
struct PlatformCeilings {
  std::string isa;
  int64_t threads = 1;
  std::map<std::string, double> per_s;  // by the keys of kernels/roofline
};

struct PlatformOperation {
  std::string name, kernel;
  double us = 0.0;      // of a row, on one thread
  double share = 0.0;   // of the time of all operations
  std::string bound;    // "compute", "L1", "L2", "L3" or "memory": what allows the least here
  std::string ceiling;  // the key that its arithmetic is held against; empty: none
  int64_t macs = 0;     // of a row
  int64_t weight_bytes = 0;
};

// Of the machine while the model ran, idle cores included, divided by the rows.
struct PlatformEnergy {
  std::string source;  // "rapl": measured, "model": estimated; never compared with each other
  double joules_per_row = 0.0, uncertainty = 0.0;
};

struct PlatformLatency {  // of a batch
  double median_us = 0.0, p10_us = 0.0, p90_us = 0.0;
  int64_t repetitions = 0;
};

// One way to run a model.
struct PlatformRun {
  std::string backend, isa;
  std::string mode;  // "one thread"; "side by side": a batch on each; "shared batch": all at one
  int64_t threads = 1, batch = 1;
  std::string precision;
  double tune_seconds = 0.0;
  std::string clock;  // "cpu" or "wall"
  PlatformLatency latency;
  double rows_per_s = 0.0;
  // What the sum of the products allows at the ceilings of this instruction set and of the
  // machine's best, with these threads; 0: not known.
  double ceiling_rows_per_s = 0.0, machine_rows_per_s = 0.0;
  double share = 0.0, machine_share = 0.0;  // rows_per_s as a part of them
  int64_t weight_bytes = 0, arena_bytes = 0;
  std::optional<PlatformEnergy> energy;
  std::vector<PlatformOperation> operations;  // of runs on one thread
};

struct PlatformModel {
  std::string name;
  std::string file_hash;  // 16 hexadecimal digits (base/hash.h)
  int64_t file_bytes = 0, row_macs = 0;
  std::vector<PlatformRun> runs;
};

struct PlatformReport {
  std::string date;  // "2026-01-31T12:00:00Z"
  std::string program_version;
  bool quick = false;  // a tenth of the time was spent
  PlatformMachine machine;
  std::vector<std::string> backends;
  std::vector<PlatformCeilings> ceilings;
  std::vector<PlatformModel> models;
};

std::string PlatformReportJson(PlatformReport report);

// Strict: every member is there, none is unknown, numbers are in range. InvalidArgument names the
// line and the place ("models[2].runs[0].batch"); Unimplemented for another version.
absl::StatusOr<PlatformReport> ParsePlatformReport(absl::string_view json);

}  // namespace bitmill
