// Divided models beside whole ones, for tests.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "backends/parallel/build_stages.h"
#include "backends/parallel/parallel_options.h"
#include "base/fork_join.h"
#include "model/graph.h"
#include "tests/backends/cpu/plan_runner.h"

namespace bitmill {

// `count` rows of normal numbers for float inputs.
std::vector<RowBytes> NormalRows(const Signature& signature, size_t count, std::mt19937& random);

// Parts on the CPU backend, one thread each.
CompilePart CompileOnCpu(const Backend& cpu);

// The lowered graph in stages that are cut at `cuts`, or whose layers are divided.
absl::StatusOr<std::unique_ptr<Executable>> PipelineAt(const Graph& lowered,
                                                       absl::Span<const size_t> cuts,
                                                       int64_t max_rows, ForkJoin* team);
absl::StatusOr<std::unique_ptr<Executable>> TensorOf(const Graph& lowered, int parts,
                                                     int64_t max_rows, ForkJoin* team);

// Every cut of the graph, some cut several times, and every layer that can be divided, in 2 to 4
// parts, give the bits of the whole graph: with helpers, without, and in a bad order. gtest
// failures say which do not.
void CheckDivisions(const Graph& lowered, std::mt19937& random);

}  // namespace bitmill
