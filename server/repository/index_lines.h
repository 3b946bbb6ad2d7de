// What the index says of one model.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/repository/model_scan.h"
#include "server/repository/model_table.h"
#include "server/repository/repository.h"

namespace bitmill {

// A line for each version that is served, was tried or is on disk, ascending; one without a version
// when there is none.
std::vector<IndexEntry> IndexLines(const std::string& name, const ModelTable::Entry& entry,
                                   const absl::StatusOr<ModelOnDisk>& on_disk);

}  // namespace bitmill
