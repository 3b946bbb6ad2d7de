// Runs compiled models in tests: rows at awkward addresses, every batch size, every instruction
// set.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "base/fork_join.h"
#include "model/graph.h"

namespace bitmill {

// "ref" and every level of this machine up to the best one.
std::vector<std::string> IsasToTest();

// Ports have a leading dimension, which is left out of rows.
Signature SignatureOfLowered(const Graph& graph);

// A lowered graph as an executable, without the passes.
absl::StatusOr<std::unique_ptr<Executable>> CompileLowered(const Graph& lowered,
                                                           const std::string& isa,
                                                           int64_t max_rows);

// The same for `team`, whose threads get a share of every step and batch, however small.
absl::StatusOr<std::unique_ptr<Executable>> CompileShared(const Graph& lowered,
                                                          const std::string& isa, int64_t max_rows,
                                                          ForkJoin& team);

// One row of every port: bytes as they cross the wire.
using RowBytes = std::vector<std::vector<std::byte>>;

// Runs `rows` in batches of `batch_rows`. Inputs and outputs lie at addresses that are aligned to
// `alignment` bytes and no more; a byte past an output that changes is an Internal error.
absl::StatusOr<std::vector<RowBytes>> RunRows(const Executable& executable,
                                              absl::Span<const RowBytes> rows, int64_t batch_rows,
                                              size_t alignment = 64);

}  // namespace bitmill
