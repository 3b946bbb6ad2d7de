// What config.pbtxt says about serving a model, as plain values with defaults filled in.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "server/metrics/adapt_mode.h"
#include "server/metrics/answer_tap.h"
#include "server/metrics/power_wish.h"

namespace bitmill {

struct BatchSettings {
  bool dynamic = true;                  // gather requests into batches
  int64_t max_rows = 1;                 // of an execution; 1 when the model does not batch
  std::vector<int64_t> preferred_rows;  // ascending; empty: none
  int64_t max_delay_us = 0;             // longest wait for more rows while a worker is idle
  int64_t max_queue_requests = 1024;    // more are refused with RESOURCE_EXHAUSTED
  int64_t default_timeout_us = 0;       // a request that waited longer is not run; 0: no limit
  bool allow_timeout_override = true;
};

struct VersionPolicy {
  enum class Kind : uint8_t { kLatest, kAll, kSpecific } kind = Kind::kLatest;
  int64_t latest = 1;             // kLatest: how many
  std::vector<int64_t> specific;  // kSpecific
};

struct ModelSettings {
  std::string name;
  std::string platform;  // "onnxruntime_onnx" in existing files is accepted; ours is "bitmill_onnx"
  int64_t max_batch_size = 0;  // 0: requests carry no batch dimension
  BatchSettings batch;
  VersionPolicy versions;
  int64_t instances = 0;  // concurrent executions; 0: as many as CPUs in the budget
  int threads = 0;        // that may share a batch; 0: as the server says
  int64_t warmup_requests = 1;
  double slo_p99_ms = 0;  // objective: of the time from received to answered; 0: none
  AdaptMode adapt = AdaptMode::kOff;
  WatchSettings watch;
  PowerWish power;
  bool evict = true;  // may be taken out of memory while idle
  std::map<std::string, std::string> parameters;
};

}  // namespace bitmill
