#include "server/analysis/quality/read_answer.h"

#include <cmath>
#include <cstring>
#include <vector>

#include "base/half.h"

namespace bitmill {
namespace {

constexpr float kLargestClass = 1e6F;

template <typename T>
T Load(const std::byte* data, int64_t index) {
  T value;
  std::memcpy(&value, data + index * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

bool IsFloat(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16 || dtype == DType::kFloat32 ||
         dtype == DType::kFloat64;
}

int32_t ClassOf(float value) {
  return value >= 0 && value <= kLargestClass ? static_cast<int32_t>(value) : -1;
}

LargestScore LargestOf(const AnswerMeaning& meaning, const std::byte* row, ScoreShare share) {
  if (meaning.dtype == DType::kFloat32) return FindLargestScore(row, meaning.elements, share);
  std::vector<float> scores(static_cast<size_t>(meaning.elements));
  for (size_t i = 0; i < scores.size(); ++i) {
    scores[i] = ReadElement(meaning.dtype, row, static_cast<int64_t>(i));
  }
  return FindLargestScore(reinterpret_cast<const std::byte*>(scores.data()), meaning.elements,
                          share);
}

}  // namespace

float ReadElement(DType dtype, const std::byte* data, int64_t index) {
  switch (dtype) {
    case DType::kBool:
    case DType::kUInt8:
      return Load<uint8_t>(data, index);
    case DType::kUInt16:
      return Load<uint16_t>(data, index);
    case DType::kUInt32:
      return static_cast<float>(Load<uint32_t>(data, index));
    case DType::kUInt64:
      return static_cast<float>(Load<uint64_t>(data, index));
    case DType::kInt8:
      return Load<int8_t>(data, index);
    case DType::kInt16:
      return Load<int16_t>(data, index);
    case DType::kInt32:
      return static_cast<float>(Load<int32_t>(data, index));
    case DType::kInt64:
      return static_cast<float>(Load<int64_t>(data, index));
    case DType::kFloat16:
      return HalfToFloat(Load<uint16_t>(data, index));
    case DType::kBFloat16:
      return BFloat16ToFloat(Load<uint16_t>(data, index));
    case DType::kFloat32:
      return Load<float>(data, index);
    case DType::kFloat64:
      return static_cast<float>(Load<double>(data, index));
    case DType::kInvalid:
    case DType::kBytes:
    case DType::kBit1:
      break;
  }
  return 0;
}

AnswerMeaning MeaningOf(absl::Span<const TapPort> outputs, WatchTask task) {
  using Kind = AnswerMeaning::Kind;
  AnswerMeaning meaning;
  if (outputs.empty() || DTypeSize(outputs[0].dtype) == 0) return meaning;
  const TapPort& first = outputs[0];
  meaning.dtype = first.dtype;
  meaning.elements = 1;
  int long_dimensions = 0;
  for (const int64_t size : first.row_shape) {
    meaning.elements *= size;
    long_dimensions += size > 1 ? 1 : 0;
  }
  const bool is_float = IsFloat(first.dtype);
  if (meaning.elements == 1) {
    const bool value = task == WatchTask::kValue || (task == WatchTask::kAuto && is_float);
    meaning.kind = value ? Kind::kValue : is_float ? Kind::kBinary : Kind::kIndex;
    meaning.classes = meaning.kind == Kind::kBinary ? 2 : 0;
  } else if (task != WatchTask::kValue && long_dimensions == 1 &&
             (is_float || task == WatchTask::kClasses)) {
    meaning.kind = Kind::kScores;
    meaning.classes = meaning.elements;
  }
  return meaning;
}

Prediction ReadPrediction(const AnswerMeaning& meaning, const std::byte* row, ScoreShare share) {
  using Kind = AnswerMeaning::Kind;
  Prediction prediction;
  switch (meaning.kind) {
    case Kind::kNone:
      break;
    case Kind::kScores: {
      const LargestScore largest = LargestOf(meaning, row, share);
      prediction.index = largest.index;
      prediction.score = largest.share;
      break;
    }
    case Kind::kBinary: {
      const float probability = ReadElement(meaning.dtype, row, 0);
      if (std::isnan(probability)) break;
      prediction.index = probability >= 0.5F ? 1 : 0;
      if (probability >= 0 && probability <= 1) {
        prediction.score = prediction.index == 1 ? probability : 1 - probability;
      }
      break;
    }
    case Kind::kIndex:
      prediction.index = ClassOf(ReadElement(meaning.dtype, row, 0));
      break;
    case Kind::kValue:
      prediction.value = meaning.dtype == DType::kFloat64 ? Load<double>(row, 0)
                                                          : ReadElement(meaning.dtype, row, 0);
      break;
  }
  return prediction;
}

}  // namespace bitmill
