// Reports of several machines, or of several settings, side by side.
//
// A case is one way to ask a model: its name, batch, mode, clock, precision, tuned or not. Each
// file answers a case by its fastest run, whatever backend and instruction set. Cases that every
// file has are compared; what is left out is said. Figures are absolute, as ratios to the first
// file, and as shares of what the machine itself could do at most.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "tools/compare/platform_report.h"

namespace bitmill {

struct ComparedFile {
  std::string label;  // distinct
  PlatformReport report;
};

struct CaseEntry {  // of one file
  std::string backend, isa;
  int64_t threads = 1;
  PlatformLatency latency;
  double rows_per_s = 0.0, share = 0.0, machine_share = 0.0;
  double speed = 1.0;              // rows_per_s over the first file's
  std::optional<double> relative;  // machine_share over the first file's; none: not known
  std::optional<PlatformEnergy> energy;
  std::optional<double> energy_ratio;  // to the first file's; none when the sources differ
  int64_t weight_bytes = 0;
  std::vector<PlatformOperation> operations;
};

struct ComparedCase {
  std::string model, mode, clock, precision;
  int64_t batch = 1;
  bool tuned = false;
  std::vector<CaseEntry> entries;  // in the order of the files
};

// Geometric means over all cases.
struct PlatformRank {
  std::string label;
  double speed = 1.0;  // of the first file's
  double least_speed = 1.0, most_speed = 1.0;
  std::optional<double> machine_share;
};

// What a change of one setting did in one file, everything else being equal.
struct SettingGain {
  std::string label, setting, from, to;
  double mean = 1.0, least = 1.0, most = 1.0;  // rows_per_s; the mean is geometric
  int64_t cases = 0;
};

struct CeilingRow {
  std::string key;  // of kernels/roofline
  int64_t threads = 1;
  std::vector<std::optional<double>> per_s;  // a file each, with its best instruction set
};

enum class CaseOrder { kModel, kSpeed, kShare };

struct Comparison {
  std::vector<ComparedFile> files;
  std::vector<CeilingRow> ceilings;
  std::vector<ComparedCase> cases;
  std::vector<PlatformRank> ranks;  // fastest first; none without cases
  std::vector<SettingGain> gains;   // of each file in turn, the largest first
  std::vector<std::string> notes;   // what is left out, and what to beware of
};

// At least one file. kModel: by name, then batch; kSpeed: cases whose fastest file gains most
// first; kShare: cases furthest from a machine's ceiling first.
Comparison Compare(std::vector<ComparedFile> files, CaseOrder order);

// Reads the files; labels are their names without folder and ".json". Errors name the file.
absl::StatusOr<std::vector<ComparedFile>> ReadComparedFiles(const std::vector<std::string>& paths);

}  // namespace bitmill
