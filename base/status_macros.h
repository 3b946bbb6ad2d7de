// Early return on a bad absl::Status; the two macros every fallible function uses.
#pragma once

#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define BITMILL_MACRO_CONCAT_INNER(a, b) a##b
#define BITMILL_MACRO_CONCAT(a, b) BITMILL_MACRO_CONCAT_INNER(a, b)

#define BITMILL_RETURN_IF_ERROR(expr)                                 \
  do {                                                                \
    if (absl::Status bitmill_status = (expr); !bitmill_status.ok()) { \
      return bitmill_status;                                          \
    }                                                                 \
  } while (false)

// BITMILL_ASSIGN_OR_RETURN(const Graph graph, ReadGraph(path));
#define BITMILL_ASSIGN_OR_RETURN(lhs, expr) \
  BITMILL_ASSIGN_OR_RETURN_INNER(BITMILL_MACRO_CONCAT(bitmill_statusor_, __LINE__), lhs, expr)
#define BITMILL_ASSIGN_OR_RETURN_INNER(statusor, lhs, expr) \
  auto statusor = (expr);                                   \
  if (!statusor.ok()) return std::move(statusor).status();  \
  lhs = *std::move(statusor)
