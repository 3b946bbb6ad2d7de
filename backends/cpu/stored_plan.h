// What a plan file of the CPU backend holds: the lowered graph and the constants that steps packed.
//
// The weights of a node that has packed constants are left out: its step made all it needs of them.
// Other large constants (those of float operators, of reference steps) are read where they lie.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "backends/cpu/kernel_choices.h"
#include "backends/cpu/plan_constants.h"
#include "model/graph.h"

namespace bitmill {

// Names and values, for messages and comparison.
using PlanKey = std::vector<std::pair<std::string, std::string>>;

struct StoredPlan {
  PlanKey key;
  PlanSource source;
  Graph graph;            // lowered
  std::string precision;  // what became of the float layers, for people
  PlanConstants constants;
  KernelChoices choices;  // measured, if they are
};

// Errors as for WritePlanFile.
absl::Status WriteStoredPlan(const std::string& path, const StoredPlan& plan,
                             const PlanSource& source);

// Constants lie in the mapped file, which lives as long as any of them. FailedPrecondition when the
// key is not `key`, naming the first value that differs; DataLoss when a part is damaged or the
// graph is none; otherwise errors of PlanFile::Open. Nothing is trusted before its hash is checked,
// and nothing that is read leads outside of the file.
absl::StatusOr<StoredPlan> ReadStoredPlan(const std::string& path, uint32_t model_owner,
                                          const PlanKey& key);

// A plan file of a model that several executables compute: the lowered graph with all weights, and
// what the prepared model of each part has packed.
struct StoredBundle {
  struct Part {
    PlanConstants constants;
    KernelChoices choices;
  };
  PlanKey key;
  PlanSource source;
  Graph graph;        // lowered
  std::string notes;  // for whoever divided it
  std::vector<Part> parts;
};

// `parts`: of each the plan, whose graph is not stored. Errors as for WritePlanFile.
absl::Status WriteStoredBundle(const std::string& path, const PlanKey& key,
                               const PlanSource& source, const Graph& lowered,
                               const std::string& notes, absl::Span<const StoredPlan* const> parts);

// As ReadStoredPlan; a part is good for the graph that it was packed from, and this program alone.
absl::StatusOr<StoredBundle> ReadStoredBundle(const std::string& path, uint32_t model_owner,
                                              const PlanKey& key);

}  // namespace bitmill
