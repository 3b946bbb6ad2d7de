// Counters and histograms of one model version.
//
// Every CPU has its own copy ("stripe") of all counters on its own cache lines, written with
// relaxed atomic additions, and a reader sums them. Recording a request costs about 20 uncontended
// additions, and no line moves between cores. A copy is 12 KiB, most of it for native buckets. A
// thread that is moved to another CPU between two additions only writes to two stripes. Sums taken
// while requests are recorded may be a request apart from one another; each of them only grows.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "base/aligned_buffer.h"
#include "base/clock.h"
#include "server/metrics/classic_histogram.h"
#include "server/metrics/duration_histogram.h"
#include "server/metrics/exemplar.h"
#include "server/metrics/metrics.h"

namespace bitmill {

// Upper bounds of the classic buckets; what is larger falls into one more.
inline constexpr std::array<int64_t, 21> kDurationBoundsNs = {
    25'000,        50'000,        100'000,       200'000,     350'000,     500'000,
    750'000,       1'000'000,     1'500'000,     2'500'000,   5'000'000,   10'000'000,
    25'000'000,    50'000'000,    100'000'000,   250'000'000, 500'000'000, 1'000'000'000,
    2'500'000'000, 5'000'000'000, 10'000'000'000};
// Seven stages a model: five models stay below 500 series.
inline constexpr std::array<int64_t, 12> kStageBoundsNs = {
    2'000,     10'000,    25'000,     50'000,      100'000,     250'000,
    1'000'000, 5'000'000, 25'000'000, 100'000'000, 500'000'000, 5'000'000'000};
inline constexpr std::array<int64_t, 13> kBatchRowBounds = {1,   2,   4,   8,    16,   32,  64,
                                                            128, 256, 512, 1024, 2048, 4096};

using RequestDurations = DurationHistogram<RequestBuckets, kDurationBoundsNs>;
using StageDurations = DurationHistogram<StageBuckets, kStageBoundsNs>;

inline constexpr int kStatusCodes = 17;  // canonical codes, OK is 0

// Everything that was counted, summed over the stripes.
struct ModelCounts {
  std::array<int64_t, kStatusCodes> requests{};  // by canonical code
  int64_t rows = 0;                              // of successful requests
  int64_t success_ns = 0;
  int64_t within_objective = 0, late = 0;  // successful requests while an objective was stated
  RequestDurations::Counts duration;       // of all requests
  std::array<StageDurations::Counts, kStages> stages;  // of successful ones
  HistogramCounts<kBatchRowBounds.size()> batch_rows;
};

class ModelRecorder final : public ModelMetrics {
 public:
  explicit ModelRecorder(uint32_t id = 0);
  ~ModelRecorder() override;
  ModelRecorder(const ModelRecorder&) = delete;
  ModelRecorder& operator=(const ModelRecorder&) = delete;

  void RecordRequest(absl::StatusCode code, int64_t total_ns, int64_t rows,
                     const StageTimes& stages) override;
  void RecordExecution(int64_t rows, int64_t compute_ns) override;
  void RecordExemplar(int64_t total_ns, const TraceId& trace) override;
  ModelStatisticsSnapshot Snapshot() const override;

  uint32_t id() const override { return id_; }
  ModelCounts Counts() const;
  // The newest request of a trace in this bucket of the duration; nothing if there was none.
  std::optional<Exemplar> DurationExemplar(size_t bucket) const {
    return exemplars_[bucket].Load();
  }

 private:
  struct alignas(kCacheLineBytes) Stripe {
    std::array<std::atomic<int64_t>, kStatusCodes> requests{};
    std::atomic<int64_t> rows{0};
    std::atomic<int64_t> success_ns{0};
    std::atomic<int64_t> within_objective{0}, late{0};
    RequestDurations duration;
    std::array<StageDurations, kStages> stages;
    AtomicHistogram<kBatchRowBounds.size()> batch_rows;
  };
  // Executions by exact number of rows, for ModelStatistics: pages of a sparse array, made when a
  // size first occurs. Sizes past the last page are counted as the largest one.
  struct Page {
    std::array<std::atomic<int64_t>, 64> executions{};
    std::array<std::atomic<int64_t>, 64> compute_ns{};
  };
  static constexpr size_t kPages = 1024;

  Stripe& MyStripe();
  Page& PageOf(size_t index);

  const uint32_t id_;
  const SystemClock clock_;
  std::vector<Stripe> stripes_;            // a power of two of them
  std::vector<std::atomic<Page*>> pages_;  // owned
  std::array<ExemplarSlot, kDurationBoundsNs.size() + 1> exemplars_;
  std::atomic<int64_t> last_inference_unix_ms_{0};
};

}  // namespace bitmill
