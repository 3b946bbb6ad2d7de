// From rows of data to requests that are ready to send.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "tools/input/fit_rows.h"
#include "tools/load/load_runner.h"

namespace bitmill {

struct ModelName {
  std::string name, version;  // an empty version is the server's choice
};

// Cuts the rows of all inputs (one RowSet an input of the signature, equally many rows) into
// requests of `batch` rows; rows that do not fill the last one are left out, unless they are all
// there is. `labels` is empty or one a row. A model that does not batch takes a row a request and
// wants batch 1. InvalidArgument says what does not fit.
absl::StatusOr<std::vector<PreparedRequest>> PrepareRequests(const ModelName& model,
                                                             const Signature& signature,
                                                             const std::vector<RowSet>& inputs,
                                                             const std::vector<int64_t>& labels,
                                                             int64_t batch);

}  // namespace bitmill
