// What the analysis sees of the models that are served, and changes about them: the repository and
// the engine, as server/analysis wants them.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/analysis/analyzer.h"
#include "server/engine/engine.h"
#include "server/metrics/metrics.h"
#include "server/repository/repository.h"

namespace bitmill {

class ServedVersionsOfRepository final : public ServedVersions {
 public:
  // Borrows both. `limits`: of one core, by the key of kernels/roofline; empty: not measured.
  ServedVersionsOfRepository(const ModelRepository& repository, Engine& engine,
                             const std::vector<MachineLimit>& limits);

  std::vector<ObservedModel> Ready() const override;
  // NotFound when the version is not served any more.
  absl::Status Apply(absl::string_view model, int64_t version,
                     const ModelControls& controls) override;
  void PreferEnergy(absl::string_view model, int64_t version, double cpu_watts,
                    double device_watts) override;

 private:
  ObservedModel Observe(const ServedModel& model) const;
  std::vector<OperationReport> Operations(const ServedModel& model) const;
  double LimitOf(const std::string& key) const;  // 0: not measured

  const ModelRepository& repository_;
  Engine& engine_;
  const std::vector<MachineLimit> limits_;
};

// Of the limits by name, those that the analysis reads.
MachineLimits ToMachineLimits(const std::vector<MachineLimit>& limits);

}  // namespace bitmill
