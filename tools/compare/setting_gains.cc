#include "tools/compare/setting_gains.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

constexpr const char* kSettings[] = {"backend", "instruction set", "precision",
                                     "tuning",  "threads",         "batch"};

// The place of `value` in `order`; behind them all when it is none.
int64_t PlaceIn(const std::vector<std::string>& order, const std::string& value) {
  return std::find(order.begin(), order.end(), value) - order.begin();
}

// What stands for a setting of a run: where it stands among the others, and its name.
std::pair<int64_t, std::string> ValueOf(const PlatformReport& report, const PlatformRun& run,
                                        size_t setting) {
  switch (setting) {
    case 0:
      return {PlaceIn(report.backends, run.backend), run.backend};
    case 1:
      return {PlaceIn(report.machine.isa_levels, run.isa), run.isa};
    case 2:
      return {run.precision == "exact" ? 0 : 1, run.precision};
    case 3:
      return {run.tune_seconds > 0.0, run.tune_seconds > 0.0 ? "tuned" : "by rules"};
    case 4:
      return {PlaceIn({"one thread", "side by side", "shared batch"}, run.mode),
              run.threads > 1 ? absl::StrCat(run.threads, " ", run.mode) : run.mode};
    default:
      return {run.batch, absl::StrCat(run.batch)};
  }
}

using Values = std::map<std::pair<int64_t, std::string>, double>;  // rows a second

// The runs of a model by everything but `setting`.
std::map<std::string, Values> Group(const PlatformReport& report, const PlatformModel& model,
                                    size_t setting) {
  std::map<std::string, Values> groups;
  for (const PlatformRun& run : model.runs) {
    std::string key = run.clock;
    for (size_t other = 0; other < std::size(kSettings); ++other) {
      if (other != setting) absl::StrAppend(&key, "\n", ValueOf(report, run, other).second);
    }
    double& best = groups[key][ValueOf(report, run, setting)];
    best = std::max(best, run.rows_per_s);
  }
  return groups;
}

struct Ratios {
  double log_sum = 0.0, least = HUGE_VAL, most = 0.0;
  int64_t cases = 0;
};

void AddGains(const ComparedFile& file, size_t setting, std::vector<SettingGain>& gains) {
  // In the order of the values.
  std::map<std::tuple<int64_t, int64_t, std::string, std::string>, Ratios> found;
  const bool to_the_one_before = setting == 1 || setting == 5;
  for (const PlatformModel& model : file.report.models) {
    for (const auto& [key, values] : Group(file.report, model, setting)) {
      auto from = values.begin();
      for (auto to = std::next(from); to != values.end(); ++to) {
        const double ratio = to->second / from->second;
        Ratios& ratios =
            found[{from->first.first, to->first.first, from->first.second, to->first.second}];
        ratios.log_sum += std::log(ratio);
        ratios.least = std::min(ratios.least, ratio);
        ratios.most = std::max(ratios.most, ratio);
        ++ratios.cases;
        if (to_the_one_before) from = to;
      }
    }
  }
  for (const auto& [change, ratios] : found) {
    gains.push_back({.label = file.label,
                     .setting = kSettings[setting],
                     .from = std::get<2>(change),
                     .to = std::get<3>(change),
                     .mean = std::exp(ratios.log_sum / static_cast<double>(ratios.cases)),
                     .least = ratios.least,
                     .most = ratios.most,
                     .cases = ratios.cases});
  }
}

}  // namespace

std::vector<SettingGain> GainsOf(const ComparedFile& file) {
  std::vector<SettingGain> gains;
  for (size_t setting = 0; setting < std::size(kSettings); ++setting) {
    AddGains(file, setting, gains);
  }
  std::stable_sort(gains.begin(), gains.end(),
                   [](const SettingGain& a, const SettingGain& b) { return a.mean > b.mean; });
  return gains;
}

}  // namespace bitmill
