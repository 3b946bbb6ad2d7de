// The metrics of Triton Inference Server under its names and labels, so that dashboards and alerts
// made for it go on working. Each one is what `bitmill_*` has under a better name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "base/mutex.h"
#include "server/metrics/metric_page.h"
#include "server/metrics/model_families.h"

namespace bitmill {

// How busy the machine's CPUs are, 0 to 1, between two looks at least a second apart; at first,
// since it was started. Thread-safe.
class MachineCpuShare {
 public:
  // Reads /proc/stat below `filesystem_root` ("" in production); 0 where it cannot be read.
  double Read(const std::string& filesystem_root = "");

 private:
  Mutex mutex_;
  int64_t busy_ ABSL_GUARDED_BY(mutex_) = 0;  // ticks of all CPUs together
  int64_t total_ ABSL_GUARDED_BY(mutex_) = 0;
  double share_ ABSL_GUARDED_BY(mutex_) = 0;
};

// Appends nv_inference_* of the models, nv_cpu_* of the machine.
void AddTritonFamilies(const std::vector<ModelSeries>& models, MachineCpuShare& cpu_share,
                       std::vector<prometheus::MetricFamily>& families);

}  // namespace bitmill
