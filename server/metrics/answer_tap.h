// How the answers of a model that asks to be watched reach whoever watches it: the repository makes
// a tap when it loads such a version, the frontend calls it after each answer. Plain values and
// interfaces, so that neither knows the other.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/clock.h"
#include "base/dtype.h"

namespace bitmill {

// What the first output of a model means. kAuto: a vector of floats has one element a class, a
// single float is a value, a single integer is the class itself.
enum class WatchTask : uint8_t { kAuto, kClasses, kValue };

// What must hold for a version to be promoted; docs/analysis_quality.md.
struct PromotionGuards {
  double min_agreement = 0.95;  // lower end of the 95 % interval
  int64_t min_compared = 200;   // rows
  double max_accuracy_drop = 0.01;
  int64_t min_labels = 100;        // of both versions, for their accuracies to be compared
  double max_error_share = 0.01;   // of the requests that the shadow ran
  double max_latency_ratio = 2.0;  // p99 of the shadow over that of the version that answers
};

// What config.pbtxt asks for. All of it is off unless `on`.
struct WatchSettings {
  bool on = false;
  WatchTask task = WatchTask::kAuto;
  int64_t memory_bytes = int64_t{16} << 20;  // of remembered answers
  double memory_seconds = 3600;
  int64_t reference_rows = 2000;  // sampled first, where no file has a reference
  int64_t window_rows = 5000;     // sampled rows that drift is judged by
  double window_seconds = 600;
  int64_t window_labels = 10'000;  // labels that accuracy is judged by
  bool margin = false;             // how close thresholds are to flipping, of a row now and then
  bool shadow = false;             // the newest version is held back until it is promoted
  double shadow_share = 0.1;       // of the requests
  double shadow_tolerance = 0.01;  // of values: |a - b| <= tolerance * max(1, |a|)
  PromotionGuards guards;
};

struct TapPort {
  std::string name;
  DType dtype = DType::kInvalid;
  std::vector<int64_t> row_shape;  // of one row
  int64_t row_bytes = 0;
};

// Of a row, how many thresholds of low-bit layers it was compared with, and how many of them lie
// within one count (model/passes/sign_margin.h).
struct RowMargin {
  int64_t thresholds = 0, near = 0;
};
class MarginSource {
 public:
  virtual ~MarginSource() = default;
  // `inputs`: one packed row of each. Slow; thread-safe.
  virtual absl::StatusOr<RowMargin> Measure(absl::Span<const std::byte* const> inputs) const = 0;
};

struct TappedModel {
  std::string name;
  int64_t version = 0;
  std::vector<TapPort> inputs, outputs;
  WatchSettings settings;
  std::string reference_file;  // reference.npz of the version; empty: there is none
  std::shared_ptr<const MarginSource> margin = nullptr;  // null: not asked for, or no thresholds
};

// An answer that was given. Everything is borrowed for the call.
struct Answer {
  absl::string_view request_id;  // may be empty
  int64_t rows = 1;
  absl::Span<const std::byte* const> inputs;  // [input]: packed rows
  absl::Span<std::byte* const> outputs;       // [output]: packed rows; not to be changed
  MonotonicNanos answered_ns = 0;
  int64_t serve_ns = 0;  // from queued to computed
  bool shadow = false;   // computed, but nobody was given it
};

class AnswerTap {
 public:
  virtual ~AnswerTap() = default;
  // After the answer was handed to the transport. Thread-safe; quick, for other calls of the same
  // thread wait for it.
  virtual void OnAnswer(const Answer& answer) = 0;
};

class AnswerTaps {
 public:
  virtual ~AnswerTaps() = default;
  // Called once a version, before it becomes visible; `model.settings.on` holds. InvalidArgument
  // when the reference file does not fit the model. Thread-safe.
  virtual absl::StatusOr<std::shared_ptr<AnswerTap>> Watch(const TappedModel& model) = 0;
};

}  // namespace bitmill
