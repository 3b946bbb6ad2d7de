#include "tests/server/frontend/differential.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <type_traits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/stubs/logging.h"
#include "proto/inference.pb.h"
#include "server/frontend/infer_request.h"
#include "server/frontend/typed_contents.h"

namespace bitmill {
namespace {

using inference::InferParameter;
using inference::InferTensorContents;
using inference::ModelInferRequest;

// "" or what differs.
using Difference = std::string;

Difference CompareParameter(const char* name, const ParameterView& ours,
                            const google::protobuf::Map<std::string, InferParameter>& theirs) {
  using Kind = ParameterView::Kind;
  const auto found = theirs.find(name);
  Kind kind = Kind::kNone;
  uint64_t bits = 0;
  std::string text;
  if (found != theirs.end()) {
    const InferParameter& value = found->second;
    switch (value.parameter_choice_case()) {
      case InferParameter::kBoolParam:
        kind = Kind::kBool;
        bits = value.bool_param() ? 1 : 0;
        break;
      case InferParameter::kInt64Param:
        kind = Kind::kInt64;
        bits = static_cast<uint64_t>(value.int64_param());
        break;
      case InferParameter::kStringParam:
        kind = Kind::kString;
        text = value.string_param();
        break;
      case InferParameter::kDoubleParam:
        kind = Kind::kDouble;
        bits = std::bit_cast<uint64_t>(value.double_param());
        break;
      case InferParameter::kUint64Param:
        kind = Kind::kUInt64;
        bits = value.uint64_param();
        break;
      case InferParameter::PARAMETER_CHOICE_NOT_SET:
        break;
    }
  }
  const uint64_t our_bits = ours.kind == Kind::kBool ? (ours.bits != 0 ? 1 : 0) : ours.bits;
  const bool same = ours.kind == kind && our_bits == bits && ours.text == text;
  return same ? "" : absl::StrCat("parameter ", name);
}

template <typename T, typename Values>
Difference ComparePacked(const ContentsView& ours, DType dtype, const Values& values) {
  bool fits = true;
  std::vector<T> wanted;
  for (const auto value : values) {
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      fits = fits && std::in_range<T>(value);
    }
    wanted.push_back(static_cast<T>(value));
  }
  const absl::StatusOr<PackedContents> packed =
      PackContents(ours, dtype, static_cast<int64_t>(wanted.size()));
  if (packed.ok() != fits) return absl::StrCat("packing as ", DTypeName(dtype));
  for (size_t i = 0; fits && i < wanted.size(); ++i) {
    const T value = wanted[i];
    if (std::memcmp(packed->data + i * sizeof(T), &value, sizeof(T)) != 0) {
      return absl::StrCat("element ", i, " as ", DTypeName(dtype));
    }
  }
  return "";
}

Difference CompareContents(const ContentsView& ours, const InferTensorContents& theirs) {
  const std::array<int, kContentsFields> counts = {0,
                                                   theirs.bool_contents_size(),
                                                   theirs.int_contents_size(),
                                                   theirs.int64_contents_size(),
                                                   theirs.uint_contents_size(),
                                                   theirs.uint64_contents_size(),
                                                   theirs.fp32_contents_size(),
                                                   theirs.fp64_contents_size(),
                                                   theirs.bytes_contents_size()};
  int fields = 0;
  for (size_t i = 0; i < kContentsFields; ++i) {
    if (ours.counts[i] != static_cast<uint64_t>(counts[i])) {
      return absl::StrCat("count of contents field ", i);
    }
    fields += counts[i] != 0 ? 1 : 0;
  }
  if (fields != 1) return "";
  Difference difference;
  const auto check = [&difference](Difference found) {
    if (difference.empty()) difference = std::move(found);
  };
  if (counts[1] != 0) check(ComparePacked<bool>(ours, DType::kBool, theirs.bool_contents()));
  if (counts[2] != 0) {
    check(ComparePacked<int8_t>(ours, DType::kInt8, theirs.int_contents()));
    check(ComparePacked<int16_t>(ours, DType::kInt16, theirs.int_contents()));
    check(ComparePacked<int32_t>(ours, DType::kInt32, theirs.int_contents()));
  }
  if (counts[3] != 0) check(ComparePacked<int64_t>(ours, DType::kInt64, theirs.int64_contents()));
  if (counts[4] != 0) {
    check(ComparePacked<uint8_t>(ours, DType::kUInt8, theirs.uint_contents()));
    check(ComparePacked<uint16_t>(ours, DType::kUInt16, theirs.uint_contents()));
    check(ComparePacked<uint32_t>(ours, DType::kUInt32, theirs.uint_contents()));
  }
  if (counts[5] != 0) {
    check(ComparePacked<uint64_t>(ours, DType::kUInt64, theirs.uint64_contents()));
  }
  if (counts[6] != 0) check(ComparePacked<float>(ours, DType::kFloat32, theirs.fp32_contents()));
  if (counts[7] != 0) check(ComparePacked<double>(ours, DType::kFloat64, theirs.fp64_contents()));
  return difference;
}

std::string RegionOf(const google::protobuf::Map<std::string, InferParameter>& parameters) {
  const auto found = parameters.find("shared_memory_region");
  return found == parameters.end() ? "" : found->second.string_param();
}

Difference CompareInput(const InputView& ours, const ModelInferRequest::InferInputTensor& theirs) {
  if (ours.name != theirs.name()) return "input name";
  if (ours.datatype != theirs.datatype()) return "datatype";
  if (!std::equal(ours.shape.begin(), ours.shape.end(), theirs.shape().begin(),
                  theirs.shape().end())) {
    return "shape";
  }
  if (ours.shared_memory_region != RegionOf(theirs.parameters())) return "shared memory region";
  return CompareContents(ours.contents, theirs.contents());
}

Difference Compare(const InferRequestView& ours, const ModelInferRequest& theirs) {
  if (ours.model_name != theirs.model_name()) return "model_name";
  if (ours.model_version != theirs.model_version()) return "model_version";
  if (ours.id != theirs.id()) return "id";
  for (const auto& [name, value] :
       {std::pair{"priority", ours.priority}, std::pair{"timeout", ours.timeout}}) {
    Difference difference = CompareParameter(name, value, theirs.parameters());
    if (!difference.empty()) return difference;
  }
  if (ours.inputs.size() != static_cast<size_t>(theirs.inputs_size())) return "number of inputs";
  for (int i = 0; i < theirs.inputs_size(); ++i) {
    Difference difference = CompareInput(ours.inputs[static_cast<size_t>(i)], theirs.inputs(i));
    if (!difference.empty()) return absl::StrCat("input ", i, ": ", difference);
  }
  if (ours.outputs.size() != static_cast<size_t>(theirs.outputs_size())) {
    return "number of outputs";
  }
  for (int i = 0; i < theirs.outputs_size(); ++i) {
    const RequestedOutputView& output = ours.outputs[static_cast<size_t>(i)];
    if (output.name != theirs.outputs(i).name()) return "output name";
    if (output.shared_memory_region != RegionOf(theirs.outputs(i).parameters())) {
      return "output region";
    }
  }
  if (!std::equal(ours.raw_inputs.begin(), ours.raw_inputs.end(),
                  theirs.raw_input_contents().begin(), theirs.raw_input_contents().end())) {
    return "raw_input_contents";
  }
  return "";
}

}  // namespace

std::string DifferenceFromGenerated(const std::string& bytes) {
  InferRequestView ours;
  const absl::Status status = ParseInferRequest(bytes, ours);
  ModelInferRequest theirs;
  const google::protobuf::LogSilencer silencer;  // it has something to say about bad UTF-8
  const bool accepted = theirs.ParseFromString(bytes);
  if (!status.ok()) {
    const bool limit = status.message().find("more than") != absl::string_view::npos;
    return accepted && !limit ? absl::StrCat("only ours refuses: ", status.message()) : "";
  }
  return accepted ? Compare(ours, theirs) : "only the generated class refuses";
}

}  // namespace bitmill
