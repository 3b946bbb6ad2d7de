// The models that have golden files, with their golden inputs as rows.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/graph.h"
#include "tests/backends/cpu/plan_runner.h"

namespace bitmill {

struct GoldenModel {
  std::string name, model_path, golden_path;
};

// Those of the repository, and the others of the larger collection beside it when it is there
// ("shared_...").
std::vector<GoldenModel> FindGoldenModels();

struct GoldenRows {
  std::vector<RowBytes> inputs;
  double tolerance = 0.0;  // of outputs, where there are float layers
};

absl::StatusOr<Graph> ReadGoldenGraph(const GoldenModel& model);
absl::StatusOr<GoldenRows> ReadGoldenRows(const GoldenModel& model);

// A shipped model by its name.
struct GoldenCase {
  Graph graph;
  std::vector<RowBytes> rows;
};
absl::StatusOr<GoldenCase> ReadGoldenCase(const std::string& name);

// The largest distance of two rows' float outputs; infinity when their sizes differ.
double LargestGap(const RowBytes& a, const RowBytes& b);

}  // namespace bitmill
