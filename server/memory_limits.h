// How much memory this process may use.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "server/app.h"
#include "server/repository/memory_ledger.h"

namespace bitmill {

// The machine's, or the least limit of its control groups where that is lower. Files are looked for
// below `filesystem_root`; 0: not known.
int64_t HostMemoryBytes(const std::string& filesystem_root);

// The budgets of the options. InvalidArgument naming the value seen and what is allowed.
absl::StatusOr<MemoryLimits> ReadMemoryLimits(const ServeOptions& options, int64_t host_bytes);
void LogMemoryLimits(const MemoryLimits& limits, const ServeOptions& options);

}  // namespace bitmill
