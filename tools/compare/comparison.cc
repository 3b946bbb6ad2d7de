#include "tools/compare/comparison.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <set>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/check.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "tools/compare/setting_gains.h"
#include "tools/text/display_text.h"

namespace bitmill {
namespace {

// Batch, mode, clock, precision, tuned.
using CaseKey = std::tuple<int64_t, std::string, std::string, std::string, bool>;

CaseKey KeyOf(const PlatformRun& run) {
  return {run.batch, run.mode, run.clock, run.precision, run.tune_seconds > 0.0};
}

std::string Describe(const CaseKey& key) {
  const auto& [batch, mode, clock, precision, tuned] = key;
  return absl::StrCat("batch ", batch, ", ", mode, ", ", clock, " time, ", precision,
                      tuned ? ", tuned" : "");
}

const PlatformModel* FindModel(const PlatformReport& report, const std::string& name) {
  for (const PlatformModel& model : report.models) {
    if (model.name == name) return &model;
  }
  return nullptr;
}

std::map<CaseKey, const PlatformRun*> FastestRuns(const PlatformModel& model) {
  std::map<CaseKey, const PlatformRun*> fastest;
  for (const PlatformRun& run : model.runs) {
    const PlatformRun*& best = fastest[KeyOf(run)];
    if (best == nullptr || run.rows_per_s > best->rows_per_s) best = &run;
  }
  return fastest;
}

CaseEntry EntryOf(const PlatformRun& run, const PlatformRun& first) {
  CaseEntry entry;
  entry.backend = run.backend;
  entry.isa = run.isa;
  entry.threads = run.threads;
  entry.latency = run.latency;
  entry.rows_per_s = run.rows_per_s;
  entry.share = run.share;
  entry.machine_share = run.machine_share;
  entry.speed = run.rows_per_s / first.rows_per_s;
  if (run.machine_share > 0.0 && first.machine_share > 0.0) {
    entry.relative = run.machine_share / first.machine_share;
  }
  entry.energy = run.energy;
  // An estimate and a measurement have nothing to say about each other.
  if (run.energy && first.energy && run.energy->source == first.energy->source &&
      first.energy->joules_per_row > 0.0) {
    entry.energy_ratio = run.energy->joules_per_row / first.energy->joules_per_row;
  }
  entry.weight_bytes = run.weight_bytes;
  entry.operations = run.operations;
  return entry;
}

// The names that all files have with the same contents; notes say what the others are.
std::vector<std::string> CommonModels(const std::vector<ComparedFile>& files,
                                      std::vector<std::string>& notes) {
  std::set<std::string> names;
  for (const ComparedFile& file : files) {
    for (const PlatformModel& model : file.report.models) names.insert(model.name);
  }
  std::vector<std::string> common;
  for (const std::string& name : names) {
    std::vector<std::string> without;
    std::set<std::string> hashes;
    for (const ComparedFile& file : files) {
      const PlatformModel* const model = FindModel(file.report, name);
      model == nullptr ? without.push_back(file.label)
                       : static_cast<void>(hashes.insert(model->file_hash));
    }
    if (!without.empty()) {
      notes.push_back(absl::StrCat("left out: ", name, ", not in ", absl::StrJoin(without, ", ")));
    } else if (hashes.size() > 1) {
      notes.push_back(absl::StrCat("left out: ", name, ", another file in each report"));
    } else {
      common.push_back(name);
    }
  }
  return common;
}

void AddCases(const std::vector<ComparedFile>& files, const std::string& name,
              std::vector<ComparedCase>& cases,
              std::map<std::string, std::set<std::string>>& missing) {
  std::vector<std::map<CaseKey, const PlatformRun*>> runs;
  std::set<CaseKey> keys;
  for (const ComparedFile& file : files) {
    runs.push_back(FastestRuns(*FindModel(file.report, name)));
    for (const auto& [key, run] : runs.back()) keys.insert(key);
  }
  for (const CaseKey& key : keys) {
    ComparedCase one;
    one.model = name;
    std::tie(one.batch, one.mode, one.clock, one.precision, one.tuned) = key;
    for (size_t i = 0; i < files.size(); ++i) {
      const auto run = runs[i].find(key);
      if (run == runs[i].end()) {
        missing[absl::StrCat(Describe(key), ", not in ", files[i].label)].insert(name);
        continue;
      }
      const auto first = runs[0].find(key);
      if (first != runs[0].end()) one.entries.push_back(EntryOf(*run->second, *first->second));
    }
    if (one.entries.size() == files.size()) cases.push_back(std::move(one));
  }
}

double MostSpeed(const ComparedCase& one) {
  double most = 0.0;
  for (const CaseEntry& entry : one.entries) most = std::max(most, entry.speed);
  return most;
}
double LeastShare(const ComparedCase& one) {
  double least = HUGE_VAL;
  for (const CaseEntry& entry : one.entries) least = std::min(least, entry.machine_share);
  return least;
}

std::vector<PlatformRank> RanksOf(const Comparison& comparison) {
  std::vector<PlatformRank> ranks;
  const auto count = static_cast<double>(comparison.cases.size());
  if (comparison.cases.empty()) return ranks;
  for (size_t i = 0; i < comparison.files.size(); ++i) {
    PlatformRank rank;
    rank.label = comparison.files[i].label;
    rank.least_speed = HUGE_VAL;
    rank.most_speed = 0.0;
    double speed_logs = 0.0, share_logs = 0.0, shares = 0.0;
    for (const ComparedCase& one : comparison.cases) {
      const CaseEntry& entry = one.entries[i];
      speed_logs += std::log(entry.speed);
      rank.least_speed = std::min(rank.least_speed, entry.speed);
      rank.most_speed = std::max(rank.most_speed, entry.speed);
      if (entry.machine_share <= 0.0) continue;
      share_logs += std::log(entry.machine_share);
      shares += 1.0;
    }
    rank.speed = std::exp(speed_logs / count);
    if (shares > 0.0) rank.machine_share = std::exp(share_logs / shares);
    ranks.push_back(rank);
  }
  std::stable_sort(ranks.begin(), ranks.end(),
                   [](const PlatformRank& a, const PlatformRank& b) { return a.speed > b.speed; });
  return ranks;
}

// One thread, then all threads of each machine (as many as that may be).
std::vector<CeilingRow> CeilingRows(const std::vector<ComparedFile>& files) {
  std::map<std::pair<bool, std::string>, CeilingRow> rows;
  for (size_t i = 0; i < files.size(); ++i) {
    const std::vector<std::string>& levels = files[i].report.machine.isa_levels;
    std::map<bool, std::ptrdiff_t> best;  // the highest level measured
    for (const PlatformCeilings& ceilings : files[i].report.ceilings) {
      const bool many = ceilings.threads > 1;
      const auto level = std::find(levels.begin(), levels.end(), ceilings.isa) - levels.begin();
      const auto [known, is_new] = best.try_emplace(many, level);
      if (!is_new && level < known->second) continue;
      known->second = level;
      for (const auto& [key, per_s] : ceilings.per_s) {
        CeilingRow& row = rows[{many, key}];
        row.key = key;
        row.threads = std::max(row.threads, ceilings.threads);
        row.per_s.resize(files.size());
        row.per_s[i] = per_s;
      }
    }
  }
  std::vector<CeilingRow> sorted;
  sorted.reserve(rows.size());
  for (auto& [key, row] : rows) sorted.push_back(std::move(row));
  return sorted;
}

void AddWarnings(const Comparison& comparison, std::vector<std::string>& notes) {
  std::vector<std::string> quick;
  std::set<std::string> versions, sources;
  for (const ComparedFile& file : comparison.files) {
    if (file.report.quick) quick.push_back(file.label);
    versions.insert(file.report.program_version);
  }
  for (const ComparedCase& one : comparison.cases) {
    for (const CaseEntry& entry : one.entries) {
      if (entry.energy) sources.insert(entry.energy->source);
    }
  }
  if (!quick.empty()) {
    notes.push_back(
        absl::StrCat("measured with --quick, a tenth of the time: ", absl::StrJoin(quick, ", ")));
  }
  if (versions.size() > 1) {
    notes.push_back(
        absl::StrCat("different versions of the program: ", absl::StrJoin(versions, ", ")));
  }
  if (sources.size() > 1) {
    notes.emplace_back(
        "energy was measured (rapl) in some and estimated (model) in others: no "
        "ratio between them");
  }
  if (comparison.cases.empty()) notes.emplace_back("nothing is in every file");
}

}  // namespace

Comparison Compare(std::vector<ComparedFile> files, CaseOrder order) {
  BITMILL_CHECK(!files.empty());
  Comparison comparison;
  comparison.files = std::move(files);
  std::map<std::string, std::set<std::string>> missing;
  for (const std::string& name : CommonModels(comparison.files, comparison.notes)) {
    AddCases(comparison.files, name, comparison.cases, missing);
  }
  constexpr size_t kMostKinds = 8;
  size_t kinds = 0;
  for (const auto& [what, models] : missing) {
    if (++kinds > kMostKinds) {
      comparison.notes.push_back(absl::StrCat("left out: ", missing.size() - kMostKinds,
                                              " more kinds of runs that are not in every file"));
      break;
    }
    comparison.notes.push_back(absl::StrCat("left out: ", what, " (", models.size(),
                                            models.size() == 1 ? " model)" : " models)"));
  }
  std::stable_sort(comparison.cases.begin(), comparison.cases.end(),
                   [order](const ComparedCase& a, const ComparedCase& b) {
                     if (order == CaseOrder::kSpeed) return MostSpeed(a) > MostSpeed(b);
                     return order == CaseOrder::kShare && LeastShare(a) < LeastShare(b);
                   });
  comparison.ceilings = CeilingRows(comparison.files);
  comparison.ranks = RanksOf(comparison);
  for (const ComparedFile& file : comparison.files) {
    for (SettingGain& gain : GainsOf(file)) comparison.gains.push_back(std::move(gain));
  }
  AddWarnings(comparison, comparison.notes);
  return comparison;
}

absl::StatusOr<std::vector<ComparedFile>> ReadComparedFiles(const std::vector<std::string>& paths) {
  constexpr int64_t kMaxBytes = int64_t{64} << 20;
  constexpr size_t kMaxLabel = 32;
  std::vector<ComparedFile> files;
  std::map<std::string, int> used;
  for (const std::string& path : paths) {
    BITMILL_ASSIGN_OR_RETURN(const std::string json, ReadFile(path, kMaxBytes));
    absl::StatusOr<PlatformReport> report = ParsePlatformReport(json);
    if (!report.ok()) {
      return absl::Status(report.status().code(),
                          absl::StrCat(path, ": ", report.status().message()));
    }
    std::string label = Cut(Printable(std::filesystem::path(path).stem().string()), kMaxLabel);
    for (const std::string stem = label; !used.emplace(label, 0).second;) {
      label = absl::StrCat(stem, "#", ++used[stem] + 1);
    }
    files.push_back({std::move(label), *std::move(report)});
  }
  return files;
}

}  // namespace bitmill
