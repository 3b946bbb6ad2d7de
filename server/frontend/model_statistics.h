// The counts of a model version in the shape of the statistics extension.
#pragma once

#include "server/metrics/metrics.h"
#include "server/repository/repository.h"

namespace inference {
class ModelStatistics;
}  // namespace inference

namespace bitmill {

// compute_input is decode + assemble, compute_output is split + encode, queue includes schedule.
void FillStatistics(const ModelDescription& model, const ModelStatisticsSnapshot& counts,
                    inference::ModelStatistics& statistics);

}  // namespace bitmill
