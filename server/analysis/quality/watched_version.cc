#include "server/analysis/quality/watched_version.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/analysis/quality/reference_file.h"

namespace bitmill {
namespace {

constexpr int64_t kNanosPerSecond = 1'000'000'000;
constexpr int64_t kLargestUnknownClass = 1'000'000;
constexpr int64_t kReferenceRowsUsed = 20'000;  // of a file
constexpr size_t kLatencies = 1024;
constexpr uint64_t kOdd = 0x9E3779B97F4A7C15U;

int64_t Nanos(double seconds) {
  return static_cast<int64_t>(seconds * static_cast<double>(kNanosPerSecond));
}

int64_t RowElements(const TapPort& port) {
  const int64_t size = DTypeSize(port.dtype);
  return size == 0 ? 0 : port.row_bytes / size;
}

int64_t AllElements(const std::vector<TapPort>& ports) {
  int64_t sum = 0;
  for (const TapPort& port : ports) sum += RowElements(port);
  return sum;
}

DistributionDrift::Limits DriftLimits(const WatchSettings& settings) {
  return {settings.reference_rows, settings.window_rows, Nanos(settings.window_seconds)};
}

WindowLimits LabelLimits(const WatchSettings& settings) {
  return {.max_samples = std::max<int64_t>(1, settings.window_labels)};
}

int64_t BucketCount(const AnswerMeaning& meaning) {
  if (!meaning.has_classes()) return 0;
  if (meaning.classes == 0) return WatchedVersion::kMaxClassBuckets;
  return std::min(meaning.classes, WatchedVersion::kMaxClassBuckets);
}

}  // namespace

WatchedVersion::WatchedVersion(const TappedModel& model, const Clock& clock,
                               std::shared_ptr<ShadowRuns> shadows)
    : model_(model),
      meaning_(MeaningOf(model.outputs, model.settings.task)),
      clock_(clock),
      shadows_(std::move(shadows)),
      buckets_(BucketCount(meaning_)),
      memory_({model.settings.memory_bytes, Nanos(model.settings.memory_seconds)}),
      input_drift_(static_cast<size_t>(std::min(AllElements(model.inputs), kMaxFeatures)), 0,
                   DriftLimits(model.settings)),
      prediction_drift_(1, static_cast<size_t>(buckets_), DriftLimits(model.settings)),
      class_labels_(LabelLimits(model.settings), meaning_.classes),
      value_labels_(LabelLimits(model.settings)) {
  size_t input = 0;
  int64_t first = 0;
  for (const int64_t place : SpreadEvenly(AllElements(model_.inputs), kMaxFeatures)) {
    while (place - first >= RowElements(model_.inputs[input])) {
      first += RowElements(model_.inputs[input]);
      ++input;
    }
    features_.push_back({input, place - first});
  }
}

absl::StatusOr<std::shared_ptr<WatchedVersion>> WatchedVersion::Create(
    const TappedModel& model, const Clock& clock, std::shared_ptr<ShadowRuns> shadows) {
  std::shared_ptr<WatchedVersion> version(new WatchedVersion(model, clock, std::move(shadows)));
  if (!model.reference_file.empty()) BITMILL_RETURN_IF_ERROR(version->InstallFromFile());
  return version;
}

absl::Status WatchedVersion::InstallFromFile() {
  BITMILL_ASSIGN_OR_RETURN(const ReferenceFile file,
                           ReadReferenceFile(model_, kLeastReferenceRows));
  std::vector<float> values, predictions;
  std::vector<int64_t> buckets(static_cast<size_t>(buckets_), 0);
  for (const int64_t row : SpreadEvenly(file.rows, kReferenceRowsUsed)) {
    for (const Feature& feature : features_) {
      const TapPort& port = model_.inputs[feature.input];
      const auto* const data = static_cast<const std::byte*>(file.inputs[feature.input].data());
      values.push_back(ReadElement(port.dtype, data + row * port.row_bytes, feature.element));
    }
    if (file.output.empty() || meaning_.kind == AnswerMeaning::Kind::kNone) continue;
    const auto* const data = static_cast<const std::byte*>(file.output[0].data());
    const Prediction prediction =
        ReadPrediction(meaning_, data + row * model_.outputs[0].row_bytes);
    predictions.push_back(NumberOf(prediction));
    const int64_t bucket = BucketOf(prediction);
    if (bucket >= 0) ++buckets[static_cast<size_t>(bucket)];
  }
  MutexLock lock(&report_mutex_);
  input_drift_.Install(
      std::make_shared<RowsReference>(values, features_.size(), std::vector<int64_t>{}));
  if (!predictions.empty()) {
    prediction_drift_.Install(std::make_shared<RowsReference>(predictions, 1, std::move(buckets)));
  }
  return absl::OkStatus();
}

int64_t WatchedVersion::BucketOf(const Prediction& prediction) const {
  if (!meaning_.has_classes() || prediction.index < 0) return -1;
  if (meaning_.classes > buckets_) return prediction.index * buckets_ / meaning_.classes;
  return std::min<int64_t>(prediction.index, buckets_ - 1);
}

float WatchedVersion::NumberOf(const Prediction& prediction) const {
  if (meaning_.kind == AnswerMeaning::Kind::kValue) return static_cast<float>(prediction.value);
  if (meaning_.kind == AnswerMeaning::Kind::kIndex) return static_cast<float>(prediction.index);
  return prediction.score < 0 ? std::numeric_limits<float>::quiet_NaN() : prediction.score;
}

// ------------------------------------------------------------------------------------ request path

void WatchedVersion::OnAnswer(const Answer& answer) {
  const bool predicts = meaning_.kind != AnswerMeaning::Kind::kNone;
  for (int64_t row = 0; predicts && row < answer.rows; ++row) {
    const Prediction prediction = ReadPrediction(
        meaning_, answer.outputs[0] + row * model_.outputs[0].row_bytes, ShareOfNextRow());
    if (meaning_.has_classes() && prediction.index < 0) continue;  // scores that are no numbers
    const uint64_t id_key = answer.request_id.empty() ? 0 : AnswerKeyOfId(answer.request_id, row);
    const int64_t bytes = model_.inputs[0].row_bytes;
    const uint64_t input_key = AnswerKeyOfInput(answer.inputs[0] + row * bytes, bytes);
    memory_.Remember(answer.answered_ns, id_key, input_key, prediction);
  }
  const int64_t count = SampleAllowance(answer.answered_ns, answer.rows);
  if (count > 0) SampleRows(answer, count);
  if (count > 0 && model_.margin != nullptr && shadows_ != nullptr) OfferMargin(answer);
  if (!answer.shadow && model_.settings.shadow && shadows_ != nullptr) OfferToShadow(answer);
}

// Spread evenly, but not periodically, as traffic may be (multiples of an odd number).
ScoreShare WatchedVersion::ShareOfNextRow() {
  if (meaning_.kind != AnswerMeaning::Kind::kScores || meaning_.elements < kManyClasses) {
    return ScoreShare::kTake;
  }
  const uint64_t turn = scored_.fetch_add(1, std::memory_order_relaxed) * kOdd;
  return turn < UINT64_MAX / kScoreEvery ? ScoreShare::kTake : ScoreShare::kLeave;
}

int64_t WatchedVersion::SampleAllowance(MonotonicNanos now, int64_t rows) {
  MonotonicNanos until = sampled_until_ns_.load(std::memory_order_relaxed);
  const int64_t allowed = (now - until) / kSampleSpacingNs;
  if (allowed <= 0) return 0;
  // What was not used is lost; of threads that ask at once one samples.
  if (!sampled_until_ns_.compare_exchange_strong(until, now, std::memory_order_relaxed)) return 0;
  return std::min({allowed, rows, kMaxSampledRows});
}

void WatchedVersion::SampleRows(const Answer& answer, int64_t count) {
  std::vector<float> values;
  std::vector<SampledRow> rows;
  values.reserve(static_cast<size_t>(count) * features_.size());
  for (const int64_t row : SpreadEvenly(answer.rows, count)) {
    for (const Feature& feature : features_) {
      const TapPort& port = model_.inputs[feature.input];
      values.push_back(ReadElement(port.dtype, answer.inputs[feature.input] + row * port.row_bytes,
                                   feature.element));
    }
    SampledRow sampled{answer.answered_ns, -1, std::numeric_limits<float>::quiet_NaN()};
    if (meaning_.kind != AnswerMeaning::Kind::kNone) {
      const Prediction prediction =
          ReadPrediction(meaning_, answer.outputs[0] + row * model_.outputs[0].row_bytes);
      sampled.bucket = BucketOf(prediction);
      sampled.prediction = NumberOf(prediction);
    }
    rows.push_back(sampled);
  }
  MutexLock lock(&pending_mutex_);
  if (static_cast<int64_t>(pending_rows_.size()) >= kMaxPendingRows) return;
  pending_rows_.insert(pending_rows_.end(), rows.begin(), rows.end());
  pending_values_.insert(pending_values_.end(), values.begin(), values.end());
}

void WatchedVersion::OfferMargin(const Answer& answer) {
  MonotonicNanos due = next_margin_ns_.load(std::memory_order_relaxed);
  const MonotonicNanos next = answer.answered_ns + kMarginSpacingNs;
  if (answer.answered_ns < due || !next_margin_ns_.compare_exchange_strong(due, next)) return;
  std::vector<std::vector<std::byte>> row;
  int64_t bytes = 0;
  for (size_t i = 0; i < model_.inputs.size(); ++i) {
    bytes += model_.inputs[i].row_bytes;
    row.emplace_back(answer.inputs[i], answer.inputs[i] + model_.inputs[i].row_bytes);
  }
  static_cast<void>(shadows_->OfferWork(
      bytes, [self = shared_from_this(), row = std::move(row)] { self->MeasureMargin(row); }));
}

void WatchedVersion::MeasureMargin(const std::vector<std::vector<std::byte>>& row) {
  std::vector<const std::byte*> inputs;
  inputs.reserve(row.size());
  for (const auto& input : row) inputs.push_back(input.data());
  const MonotonicNanos start = clock_.Now();
  const absl::StatusOr<RowMargin> margin = model_.margin->Measure(inputs);
  const MonotonicNanos end = clock_.Now();
  next_margin_ns_ = end + std::max(kMarginSpacingNs, (end - start) * kMarginShare);
  if (!margin.ok()) return;  // a row that means nothing to the model
  MutexLock lock(&shadow_mutex_);
  margins_.push_back(*margin);
  if (margins_.size() > kMarginRows) margins_.pop_front();
}

void WatchedVersion::OfferToShadow(const Answer& answer) {
  // Every request gets its own fixed place in 0 .. 1 (multiples of an odd number spread evenly).
  const uint64_t turn = requests_.fetch_add(1, std::memory_order_relaxed) * kOdd;
  constexpr double kTwoTo64 = 18446744073709551616.0;
  if (static_cast<double>(turn) >= model_.settings.shadow_share * kTwoTo64) return;
  const ShadowServer* const server = shadows_->server();
  if (server == nullptr || server->ShadowOf(model_.name, model_.version) == 0) return;
  int64_t bytes = 0;
  for (const TapPort& port : model_.inputs) bytes += port.row_bytes * answer.rows;
  for (const TapPort& port : model_.outputs) bytes += port.row_bytes * answer.rows;
  bool accepted = false;
  if (shadows_->HasRoom(bytes)) {
    ShadowRequest request{
        model_.name, model_.version, std::string(answer.request_id), answer.rows, {},
        {},          answer.serve_ns};
    for (size_t i = 0; i < model_.inputs.size(); ++i) {
      const std::byte* const data = answer.inputs[i];
      request.inputs.emplace_back(data, data + model_.inputs[i].row_bytes * answer.rows);
    }
    for (size_t i = 0; i < model_.outputs.size(); ++i) {
      const std::byte* const data = answer.outputs[i];
      request.outputs.emplace_back(data, data + model_.outputs[i].row_bytes * answer.rows);
    }
    accepted = shadows_->Offer(shared_from_this(), std::move(request));
  }
  if (accepted) return;
  MutexLock lock(&shadow_mutex_);
  ++shadow_.dropped;
}

// --------------------------------------------------------------------------------- labels, shadows

LabelFate WatchedVersion::Label(MonotonicNanos now, const QualityLabel& label) {
  const bool fits =
      label.is_class ? meaning_.has_classes() && label.class_index >= 0 &&
                           label.class_index <
                               (meaning_.classes == 0 ? kLargestUnknownClass : meaning_.classes)
                     : meaning_.kind == AnswerMeaning::Kind::kValue && std::isfinite(label.value);
  if (!fits || label.row < 0 || label.key.empty()) return LabelFate::kInvalid;
  const auto key_bytes = static_cast<int64_t>(label.key.size());
  if (label.by_input && key_bytes != model_.inputs[0].row_bytes) return LabelFate::kInvalid;
  const uint64_t key = label.by_input ? AnswerKeyOfInput(label.key.data(), key_bytes)
                                      : AnswerKeyOfId(label.key, label.row);
  const std::optional<Prediction> prediction = memory_.Take(now, key);
  if (!prediction) return LabelFate::kUnmatched;
  MutexLock lock(&label_mutex_);
  if (label.is_class) {
    class_labels_.Add(
        now, {static_cast<int32_t>(label.class_index), prediction->index, prediction->score});
  } else {
    value_labels_.Add(now, {label.value, prediction->value});
  }
  return LabelFate::kMatched;
}

void WatchedVersion::OnShadow(const ShadowRequest& request, const ShadowOutcome& outcome) {
  if (outcome.version == 0) return;
  int64_t agreed = 0;
  if (outcome.status.ok()) {
    std::vector<const std::byte*> live, shadow;
    for (const auto& output : request.outputs) live.push_back(output.data());
    for (const auto& output : outcome.outputs) shadow.push_back(output.data());
    agreed = CountAgreeing(meaning_, model_.outputs, request.rows, live, shadow,
                           model_.settings.shadow_tolerance);
  }
  MutexLock lock(&shadow_mutex_);
  if (shadow_.version != outcome.version) {
    const int64_t dropped = shadow_.version == 0 ? shadow_.dropped : 0;  // before the first ran
    shadow_ = {};
    shadow_.version = outcome.version;
    shadow_.dropped = dropped;
    next_latency_ = 0;
  }
  ++shadow_.requests;
  if (!outcome.status.ok()) {
    ++shadow_.failed;
    return;
  }
  shadow_.compared += request.rows;
  shadow_.agreed += agreed;
  if (shadow_.live_ns.size() < kLatencies) {
    shadow_.live_ns.push_back(request.serve_ns);
    shadow_.shadow_ns.push_back(outcome.serve_ns);
    return;
  }
  shadow_.live_ns[next_latency_] = request.serve_ns;
  shadow_.shadow_ns[next_latency_] = outcome.serve_ns;
  next_latency_ = (next_latency_ + 1) % kLatencies;
}

ShadowCounts WatchedVersion::shadow() const {
  MutexLock lock(&shadow_mutex_);
  return shadow_;
}

ClassificationScores WatchedVersion::classification(MonotonicNanos now) {
  MutexLock lock(&label_mutex_);
  return class_labels_.Scores(now);
}

}  // namespace bitmill
