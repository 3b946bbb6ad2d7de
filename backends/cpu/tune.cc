#include "backends/cpu/tune.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int kFewestRounds = 5;
constexpr int kMostRounds = 101;
constexpr int kRoundsToHope = 9;  // after so many a way without any faster step is given up

// A step must be faster by this with one row and with many taken together, and slower with neither.
constexpr double kMinGain = 1.05;
constexpr double kMinKeptGain = 1.03;  // when all choices are measured once more
constexpr double kMaxLoss = 0.97;
// What a choice saves must be worth mentioning: of the time of all steps.
constexpr double kMinSavedShare = 0.001;

constexpr int32_t kBlockShifts[] = {2, 1};

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<int64_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Two plans, run in turn with so many rows.
class Duel {
 public:
  Duel(const TuneParts& parts, const Plan& usual, const Plan& other, int64_t rows)
      : usual_(parts.timer(usual, rows)),
        other_(parts.timer(other, rows)),
        usual_micros_(usual.steps.size()),
        other_micros_(usual.steps.size()) {}

  // `kept`: false to warm up.
  absl::Status Round(bool usual_first, bool kept) {
    std::vector<double> usual, other;
    if (usual_first) BITMILL_RETURN_IF_ERROR(usual_(usual));
    BITMILL_RETURN_IF_ERROR(other_(other));
    if (!usual_first) BITMILL_RETURN_IF_ERROR(usual_(usual));
    for (size_t i = 0; kept && i < usual.size(); ++i) {
      usual_micros_[i].push_back(usual[i]);
      other_micros_[i].push_back(other[i]);
    }
    return absl::OkStatus();
  }

  double UsualMicros(size_t step) const { return Median(usual_micros_[step]); }
  // Without what other load on the machine adds.
  double FastestUsual(size_t step) const { return Fastest(usual_micros_[step]); }
  double FastestOther(size_t step) const { return Fastest(other_micros_[step]); }
  double TotalMicros() const {
    double sum = 0.0;
    for (const std::vector<double>& micros : usual_micros_) sum += Median(micros);
    return sum;
  }
  // Of the other plan: how many times as fast the step is.
  double Gain(size_t step) const {
    std::vector<double> ratios;
    for (size_t i = 0; i < usual_micros_[step].size(); ++i) {
      constexpr double kLeastMicros = 1e-3;
      ratios.push_back(std::max(usual_micros_[step][i], kLeastMicros) /
                       std::max(other_micros_[step][i], kLeastMicros));
    }
    return Median(std::move(ratios));
  }

 private:
  static double Fastest(const std::vector<double>& micros) {
    return *std::min_element(micros.begin(), micros.end());
  }

  TimeSteps usual_, other_;
  std::vector<std::vector<double>> usual_micros_, other_micros_;  // [step][round]
};

struct Outcome {
  std::vector<double> gains;  // of each step; 1 where there is no gain to speak of
  std::vector<double> usual_micros, other_micros;  // of one row, the fastest run
};

class Tuner {
 public:
  Tuner(const TuneParts& parts, int64_t max_rows, double seconds)
      : parts_(parts), max_rows_(max_rows), nanos_(static_cast<int64_t>(seconds * 1e9)) {}

  absl::StatusOr<KernelChoices> Run() {
    BITMILL_ASSIGN_OR_RETURN(usual_, parts_.build({}));
    end_ = parts_.clock.Now() + nanos_;
    size_t forms = 0;
    for (const auto& [node, list] : usual_.forms) forms = std::max(forms, list.size());
    shares_ = static_cast<int>(forms + std::size(kBlockShifts)) + 2;  // and two to confirm
    BITMILL_RETURN_IF_ERROR(TryForms(forms));
    BITMILL_RETURN_IF_ERROR(TryBlocks());
    return Confirm();
  }

 private:
  // What is left of the time, divided by what is left to do.
  int64_t NextShare() {
    const int64_t left = std::max<int64_t>(end_ - parts_.clock.Now(), 0);
    return left / std::max(shares_--, 1);
  }

  absl::Status TryForms(size_t forms) {
    std::vector<double> best(usual_.steps.size(), kMinGain);
    for (size_t k = 0; k < forms; ++k) {
      KernelChoices choices;
      for (const auto& [node, list] : usual_.forms) {
        if (k < list.size()) choices.layers[node] = list[k];
      }
      BITMILL_ASSIGN_OR_RETURN(const std::optional<Outcome> outcome,
                               Compare(usual_, choices, NextShare()));
      if (outcome.has_value()) Take(*outcome, choices, best);
    }
    return absl::OkStatus();
  }

  // Blocks of other sizes, for the forms that won.
  absl::Status TryBlocks() {
    const KernelChoices forms = chosen_;
    absl::StatusOr<Plan> plan = parts_.build(forms);
    if (!plan.ok()) return absl::OkStatus();
    std::vector<double> best(usual_.steps.size(), kMinGain);
    for (const int32_t shift : kBlockShifts) {
      KernelChoices choices = forms;
      bool any = false;
      for (const StepPtr& step : usual_.steps) {
        for (const int32_t node : step->info().nodes) {
          if (!step->info().blocked) continue;
          choices.layers[node].block_shift = shift;
          any = true;
        }
      }
      const int64_t share = NextShare();
      if (!any) continue;
      BITMILL_ASSIGN_OR_RETURN(const std::optional<Outcome> outcome,
                               Compare(*plan, choices, share));
      if (outcome.has_value()) Take(*outcome, choices, best);
    }
    return absl::OkStatus();
  }

  // Of the steps that gained more than `best`: their layers as in `choices`.
  void Take(const Outcome& outcome, const KernelChoices& choices, std::vector<double>& best) {
    for (size_t i = 0; i < usual_.steps.size(); ++i) {
      if (outcome.gains[i] <= best[i]) continue;
      best[i] = outcome.gains[i];
      for (const int32_t node : usual_.steps[i]->info().nodes) {
        const auto layer = choices.layers.find(node);
        if (layer != choices.layers.end()) chosen_.layers[node] = layer->second;
      }
    }
  }

  // All choices against none; those that do not win again are dropped.
  absl::StatusOr<KernelChoices> Confirm() {
    BITMILL_ASSIGN_OR_RETURN(const std::optional<Outcome> outcome,
                             Compare(usual_, chosen_, 2 * NextShare()));
    KernelChoices kept;
    for (size_t i = 0; i < usual_.steps.size(); ++i) {
      MeasuredStep& step = kept.steps.emplace_back();
      step.micros = outcome.has_value() ? outcome->usual_micros[i] : usual_.step_micros[i];
      if (!outcome.has_value() || outcome->gains[i] < kMinKeptGain) continue;
      for (const int32_t node : usual_.steps[i]->info().nodes) {
        const auto layer = chosen_.layers.find(node);
        if (layer == chosen_.layers.end()) continue;
        kept.layers.insert(*layer);
        step = {outcome->other_micros[i], outcome->gains[i]};
      }
    }
    return kept;
  }

  // Runs both plans in turn for about `nanos`. Nothing when there is no time for it, or `choices`
  // are not possible.
  absl::StatusOr<std::optional<Outcome>> Compare(const Plan& usual, const KernelChoices& choices,
                                                 int64_t nanos) {
    const int64_t fewest_nanos = (kFewestRounds + 1) * round_nanos_;  // by what was seen so far
    if (parts_.clock.Now() + fewest_nanos > end_) return std::nullopt;
    const absl::StatusOr<Plan> other = parts_.build(choices);
    if (!other.ok() || other->steps.size() != usual.steps.size()) return std::nullopt;
    std::vector<Duel> duels;
    duels.emplace_back(parts_, usual, *other, 1);
    const int64_t rows = std::min(max_rows_, usual.chunk_rows);
    if (rows > 1) duels.emplace_back(parts_, usual, *other, rows);
    const int64_t start = parts_.clock.Now();
    for (Duel& duel : duels) BITMILL_RETURN_IF_ERROR(duel.Round(true, false));
    round_nanos_ = parts_.clock.Now() - start;
    if (start + (kFewestRounds + 1) * round_nanos_ > end_) return std::nullopt;
    for (int round = 0; round < kMostRounds; ++round) {
      if (round >= kFewestRounds && parts_.clock.Now() - start > nanos) break;
      if (round == kRoundsToHope && !AnyGain(duels, usual.steps.size())) break;
      for (Duel& duel : duels) BITMILL_RETURN_IF_ERROR(duel.Round(round % 2 == 0, true));
    }
    return Judge(duels, usual.steps.size());
  }

  static bool AnyGain(const std::vector<Duel>& duels, size_t steps) {
    const Outcome outcome = Judge(duels, steps);
    return std::any_of(outcome.gains.begin(), outcome.gains.end(),
                       [](double gain) { return gain > 1.0; });
  }

  static Outcome Judge(const std::vector<Duel>& duels, size_t steps) {
    Outcome outcome;
    std::vector<double> totals;
    totals.reserve(duels.size());
    for (const Duel& duel : duels) totals.push_back(duel.TotalMicros());
    for (size_t i = 0; i < steps; ++i) {
      double product = 1.0, least = kMinGain, saved = 0.0;
      for (size_t d = 0; d < duels.size(); ++d) {
        const double gain = duels[d].Gain(i);
        product *= gain;
        least = std::min(least, gain);
        saved = std::max(saved, duels[d].UsualMicros(i) * (1.0 - 1.0 / gain) / totals[d]);
      }
      const bool counts = least >= kMaxLoss && saved >= kMinSavedShare;
      outcome.gains.push_back(counts ? std::pow(product, 1.0 / static_cast<double>(duels.size()))
                                     : 1.0);
      outcome.usual_micros.push_back(duels[0].FastestUsual(i));
      outcome.other_micros.push_back(duels[0].FastestOther(i));
    }
    return outcome;
  }

  const TuneParts& parts_;
  const int64_t max_rows_;
  const int64_t nanos_;
  int64_t end_ = 0;
  int64_t round_nanos_ = 0;
  int shares_ = 1;
  Plan usual_;
  KernelChoices chosen_;
};

}  // namespace

absl::StatusOr<KernelChoices> TuneKernels(const TuneParts& parts, int64_t max_rows,
                                          double seconds) {
  return Tuner(parts, max_rows, seconds).Run();
}

}  // namespace bitmill
