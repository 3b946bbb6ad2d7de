// A ModelInferRequest decoded straight from the received bytes: names, shapes and tensors are views
// into them. The generated class would copy every tensor once more.
//
// The rules are protobuf's: of a repeated scalar field the last counts, messages merge, repeated
// numbers come packed or not, unknown fields are passed over, strings are valid UTF-8. In addition
// the number of tensors, dimensions and parts is limited, so that a small message cannot turn into
// a large structure.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "absl/container/inlined_vector.h"
#include "absl/status/status.h"

namespace bitmill {

inline constexpr size_t kMaxTensors = 1024;      // inputs, outputs and raw buffers of a request
inline constexpr size_t kMaxDimensions = 32;     // of a tensor
inline constexpr size_t kMaxContentsParts = 64;  // `contents` messages of one tensor

// The value of a parameter that the server acts on.
struct ParameterView {
  enum class Kind : uint8_t { kNone, kBool, kInt64, kString, kDouble, kUInt64 };
  Kind kind = Kind::kNone;
  uint64_t bits = 0;      // kBool, kInt64, kUInt64; kDouble as its bits
  std::string_view text;  // kString
};

// Fields of InferTensorContents, by number.
enum class ContentsField : uint8_t {
  kBool = 1,
  kInt = 2,
  kInt64 = 3,
  kUInt = 4,
  kUInt64 = 5,
  kFloat = 6,
  kDouble = 7,
  kBytes = 8,
};
inline constexpr size_t kContentsFields = 9;
extern const std::array<std::string_view, kContentsFields> kContentsFieldNames;

// Typed contents: checked and counted, not yet converted (typed_contents.h).
struct ContentsView {
  absl::InlinedVector<std::string_view, 1> parts;  // serialized InferTensorContents, to be merged
  std::array<uint64_t, kContentsFields> counts{};  // elements by field number
  bool empty() const {
    for (const uint64_t count : counts) {
      if (count != 0) return false;
    }
    return true;
  }
};

struct InputView {
  std::string_view name;
  std::string_view datatype;
  absl::InlinedVector<int64_t, 6> shape;
  ContentsView contents;
  std::string_view shared_memory_region;
};

struct RequestedOutputView {
  std::string_view name;
  std::string_view shared_memory_region;
  bool classification = false;
};

struct InferRequestView {
  std::string_view model_name;
  std::string_view model_version;
  std::string_view id;
  ParameterView priority;
  ParameterView timeout;  // microseconds
  absl::InlinedVector<InputView, 1> inputs;
  absl::InlinedVector<RequestedOutputView, 2> outputs;
  absl::InlinedVector<std::string_view, 2> raw_inputs;
};

// Decodes into `view`, which must be new. InvalidArgument when the bytes are not such a message or
// a limit is passed; `view.id` is then what had been read of it.
absl::Status ParseInferRequest(std::string_view bytes, InferRequestView& view);

}  // namespace bitmill
