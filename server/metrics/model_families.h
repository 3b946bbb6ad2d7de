// What is shown of each model version.
#pragma once

#include <vector>

#include "server/metrics/exposition.h"
#include "server/metrics/metric_page.h"
#include "server/metrics/model_recorder.h"

namespace bitmill {

struct ModelSeries {
  MetricLabels labels;  // model, version
  const ModelRecorder* recorder = nullptr;
};

// Appends the families of bitmill_requests_total and so on (metrics.h has the list) that have
// metrics, with what the format can carry.
void AddModelFamilies(const std::vector<ModelSeries>& models, MetricsFormat format,
                      MetricPage& page);

// A label more.
MetricLabels WithLabel(const MetricLabels& labels, const char* name, std::string value);

}  // namespace bitmill
