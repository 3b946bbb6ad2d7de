// What watching a model costs an answer (docs/analysis_quality.md): CPU time of the tap that shows
// it to the watch, one row each, without and with a row sampled for drift.
//
//   bitmill_watch_cost
//
// A server has just read and written the rows: once they come in turn from 64 KiB of them, and once
// from 8 MiB, more than a core's own caches hold, as if another core had.
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/analysis/cost.h"
#include "server/analysis/quality/answer_memory.h"
#include "server/analysis/quality/quality_watch.h"
#include "server/analysis/quality/read_answer.h"

namespace bitmill {
namespace {

constexpr int kRounds = 21, kAnswers = 1'000;
constexpr int64_t kNear = int64_t{64} << 10, kFar = int64_t{8} << 20;

struct Shape {
  const char* what;
  std::vector<int64_t> input;
  int64_t classes;
};

int64_t ElementsOf(const std::vector<int64_t>& shape) {
  int64_t elements = 1;
  for (const int64_t size : shape) elements *= size;
  return elements;
}

std::vector<float> RandomFloats(int64_t count, std::mt19937& random) {
  std::vector<float> values(static_cast<size_t>(count));
  std::normal_distribution<float> draw(0, 4);
  std::ranges::generate(values, [&] { return draw(random); });
  return values;
}

// Rows in turn.
class Pool {
 public:
  Pool(int64_t row_elements, int64_t bytes, std::mt19937& random)
      : row_elements_(row_elements),
        rows_(std::clamp<int64_t>(bytes / 4 / row_elements, 1, kAnswers)),
        values_(RandomFloats(rows_ * row_elements, random)) {}
  std::byte* Row(int64_t i) {
    return reinterpret_cast<std::byte*>(values_.data() + i % rows_ * row_elements_);
  }
  int64_t row_bytes() const { return row_elements_ * 4; }

 private:
  const int64_t row_elements_, rows_;
  std::vector<float> values_;
};

void Print(const std::string& what, const Cost& cost) {
  std::printf("%-48s %8.0f %8.0f\n", what.c_str(), cost.median, cost.least);
}

void CostsOf(const Shape& shape, int64_t pool_bytes) {
  std::mt19937 random(11);
  Pool inputs(ElementsOf(shape.input), pool_bytes, random);
  Pool outputs(shape.classes, pool_bytes, random);
  TappedModel model;
  model.name = "m";
  model.version = 1;
  model.inputs = {{"x", DType::kFloat32, shape.input, inputs.row_bytes()}};
  model.outputs = {{"y", DType::kFloat32, {shape.classes}, outputs.row_bytes()}};
  model.settings.on = true;
  const SystemClock clock;
  QualityWatch watch(clock);
  const std::shared_ptr<AnswerTap> tap = *watch.Watch(model);
  std::vector<std::string> ids;
  ids.reserve(kAnswers);
  for (int i = 0; i < kAnswers; ++i) ids.push_back(absl::StrCat("request-", i));
  MonotonicNanos now = clock.Now();
  const auto answers = [&](MonotonicNanos apart_ns) {
    return CostOf(
        kRounds, kAnswers,
        [&] {
          for (int i = 0; i < kAnswers; ++i) {
            now += apart_ns;
            const std::byte* const input = inputs.Row(i);
            std::byte* const output = outputs.Row(i);
            tap->OnAnswer({.request_id = ids[static_cast<size_t>(i)],
                           .rows = 1,
                           .inputs = {&input, 1},
                           .outputs = {&output, 1},
                           .answered_ns = now});
          }
        },
        [&] { Keep(watch.Reports()); });
  };
  Print(shape.what, answers(0));
  Print(absl::StrCat(shape.what, ", sampled"), answers(WatchedVersion::kSampleSpacingNs));
  const AnswerMeaning meaning = MeaningOf(model.outputs, WatchTask::kAuto);
  Print("  of it the key of the input", CostOf(kRounds, kAnswers, [&] {
          for (int i = 0; i < kAnswers; ++i) {
            Keep(AnswerKeyOfInput(inputs.Row(i), inputs.row_bytes()));
          }
        }));
  Print("  of it the prediction and its softmax", CostOf(kRounds, kAnswers, [&] {
          for (int i = 0; i < kAnswers; ++i) Keep(ReadPrediction(meaning, outputs.Row(i)));
        }));
}

void MemoryCost() {
  AnswerMemory memory({});
  uint64_t key = 0;
  Print("remembering a row under two keys", CostOf(kRounds, kAnswers, [&] {
          for (int i = 0; i < kAnswers; ++i) {
            key += 0x9E3779B97F4A7C15U;
            memory.Remember(0, key, ~key, {});
          }
        }));
  Print("the key of an id", CostOf(kRounds, kAnswers, [&] {
          for (int i = 0; i < kAnswers; ++i) Keep(AnswerKeyOfId("request-1234", i));
        }));
}

}  // namespace
}  // namespace bitmill

int main() {
  std::printf("%-48s %8s %8s\n", "CPU time, nanoseconds an answer", "median", "least");
  for (const int64_t pool_bytes : {bitmill::kNear, bitmill::kFar}) {
    std::printf("rows from %lld KiB of them\n", static_cast<long long>(pool_bytes >> 10));
    for (const bitmill::Shape& shape :
         {bitmill::Shape{"784 floats, 10 classes", {784}, 10},
          bitmill::Shape{"3 x 32 x 32 floats, 10 classes", {3, 32, 32}, 10},
          bitmill::Shape{"3 x 224 x 224 floats, 1000 classes", {3, 224, 224}, 1000}}) {
      bitmill::CostsOf(shape, pool_bytes);
    }
  }
  bitmill::MemoryCost();
  return 0;
}
