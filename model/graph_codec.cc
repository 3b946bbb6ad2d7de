#include "model/graph_codec.h"

#include <map>
#include <type_traits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/byte_codec.h"
#include "base/status_macros.h"
#include "model/ops/op_support.h"
#include "model/passes/check_lowered.h"
#include "model/verify.h"

namespace bitmill {

constexpr DType LastOf(DType) { return DType::kBit1; }
constexpr CodeKind LastOf(CodeKind) { return CodeKind::kUInt8; }
constexpr ChainOp LastOf(ChainOp) { return ChainOp::kNeg; }
constexpr Rounding LastOf(Rounding) { return Rounding::kTowardZero; }
constexpr Padding LastOf(Padding) { return Padding::kMinusOne; }
constexpr LowBitConvOp::Epilogue LastOf(LowBitConvOp::Epilogue) {
  return LowBitConvOp::Epilogue::kRequantize;
}

namespace {

// Where the elements of a tensor are.
enum class Elements : uint8_t { kNoTensor, kBlob, kAbsent };
constexpr Elements LastOf(Elements) { return Elements::kAbsent; }

class GraphEncoder final : public ByteEncoder<GraphEncoder> {
 public:
  explicit GraphEncoder(const std::function<bool(const Tensor*)>& without) : without_(without) {}

  void Tensors(SharedTensor& tensor) {
    Elements elements = tensor == nullptr                                   ? Elements::kNoTensor
                        : !tensor->has_elements() || without_(tensor.get()) ? Elements::kAbsent
                                                                            : Elements::kBlob;
    (*this)(elements);
    if (tensor == nullptr) return;
    DType dtype = tensor->dtype();
    Shape shape = tensor->shape();
    (*this)(dtype, shape);
    if (elements == Elements::kAbsent) return;
    auto number = static_cast<uint32_t>(blobs_.size());
    (*this)(number);
    blobs_.push_back(tensor);
  }
  std::vector<SharedTensor>& blobs() { return blobs_; }

 private:
  const std::function<bool(const Tensor*)>& without_;
  std::vector<SharedTensor> blobs_;
};

class GraphDecoder final : public ByteDecoder<GraphDecoder> {
 public:
  GraphDecoder(absl::string_view bytes, const BlobReader& read) : ByteDecoder(bytes), read_(read) {}

  void Tensors(SharedTensor& tensor) {
    absl::StatusOr<SharedTensor> made = Read();
    if (made.ok()) {
      tensor = *std::move(made);
      return;
    }
    if (status_.ok()) status_ = made.status();
    Fail();
  }
  // The first error of a tensor.
  const absl::Status& status() const { return status_; }

 private:
  absl::StatusOr<SharedTensor> Read() {
    Elements elements{};
    (*this)(elements);
    if (!ok() || elements == Elements::kNoTensor) return nullptr;
    DType dtype{};
    Shape shape;
    (*this)(dtype, shape);
    if (!ok()) return nullptr;
    BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::WithoutElements(dtype, shape));
    if (elements == Elements::kBlob) {
      uint32_t number = 0;
      (*this)(number);
      if (!ok()) return nullptr;
      BITMILL_ASSIGN_OR_RETURN(std::shared_ptr<const std::byte> blob,
                               read_(number, tensor.bytes()));
      BITMILL_ASSIGN_OR_RETURN(tensor, Tensor::Over(dtype, shape, std::move(blob)));
    }
    return std::make_shared<const Tensor>(std::move(tensor));
  }

  const BlobReader& read_;
  absl::Status status_;
};

// ------------------------------------------------------------------ the fields, for both
// directions

template <typename Codec>
void Fields(Codec& codec, SharedTensor& tensor) {
  codec.Tensors(tensor);
}

template <typename Codec>
void Fields(Codec& codec, Shape& shape) {
  std::vector<int64_t> dims(shape.begin(), shape.end());
  codec(dims);
  if constexpr (Codec::kReads) {
    if (!IsSaneShape(dims)) return codec.Fail();
    shape.assign(dims.begin(), dims.end());
  }
}

// The alternative's number, then the alternative.
template <typename Codec, typename... T>
void Fields(Codec& codec, std::variant<T...>& value) {
  auto index = static_cast<uint8_t>(value.index());
  codec(index);
  if constexpr (Codec::kReads) {
    bool known = false;
    uint8_t i = 0;
    const auto choose = [&]<typename Alternative>(std::type_identity<Alternative>) {
      if (i++ != index) return;
      known = true;
      Alternative chosen{};
      if constexpr (!std::same_as<Alternative, std::monostate>) codec(chosen);
      value = std::move(chosen);
    };
    (choose(std::type_identity<T>{}), ...);
    if (!known) codec.Fail();
  } else {
    std::visit(
        [&](auto& chosen) {
          if constexpr (!std::same_as<std::decay_t<decltype(chosen)>, std::monostate>) {
            codec(chosen);
          }
        },
        value);
  }
}

template <typename Codec>
void Fields(Codec& codec, std::map<std::string, Attribute>& attributes) {
  auto count = static_cast<uint64_t>(attributes.size());
  codec(count);
  if constexpr (Codec::kReads) {
    for (uint64_t i = 0; i < count && codec.ok(); ++i) {
      std::string name;
      codec(name);
      codec(attributes[name]);
    }
  } else {
    for (auto& [name, attribute] : attributes) {
      std::string copy = name;
      codec(copy, attribute);
    }
  }
}

template <typename Codec>
void Fields(Codec& codec, CodeInfo& info) {
  codec(info.kind, info.scale, info.zero_point, info.levels);
}

template <typename Codec>
void Fields(Codec& codec, ChainStep& step) {
  codec(step.op, step.operand, step.operand2);
}

template <typename Codec>
void Fields(Codec& codec, Quantizer& quantizer) {
  codec(quantizer.code, quantizer.offset, quantizer.rounding, quantizer.clamp_first);
}

template <typename Codec>
void Fields(Codec& codec, QuantizeOp& op) {
  codec(op.chain, op.quantizer, op.bit_thresholds, op.bit_invert, op.level_thresholds,
        op.level_channels, op.uniform);
}

template <typename Codec>
void Fields(Codec&, DequantizeOp&) {}

template <typename Codec>
void Fields(Codec& codec, LowBitConvOp& op) {
  codec(op.weights, op.weight_bits, op.ternary, op.groups, op.stride_h, op.stride_w, op.dilation_h,
        op.dilation_w, op.pad_top, op.pad_left, op.pad_bottom, op.pad_right, op.padding,
        op.epilogue, op.scale, op.bias, op.chain, op.quantizer, op.thresholds, op.flip);
}

template <typename Codec>
void Fields(Codec& codec, LowBitMaxPoolOp& op) {
  codec(op.kernel_h, op.kernel_w, op.stride_h, op.stride_w, op.dilation_h, op.dilation_w,
        op.pad_top, op.pad_left, op.pad_bottom, op.pad_right, op.minimum);
}

template <typename Codec>
void Fields(Codec&, LowBitTransposeOp&) {}

template <typename Codec>
void Fields(Codec& codec, ElementwiseOp& op) {
  codec(op.chain);
}

template <typename Codec>
void Fields(Codec& codec, FloatConvOp& op) {
  codec(op.weights, op.bias, op.groups, op.stride_h, op.stride_w, op.dilation_h, op.dilation_w,
        op.pad_top, op.pad_left, op.pad_bottom, op.pad_right, op.chain);
}

template <typename Codec>
void Fields(Codec& codec, FloatDenseOp& op) {
  codec(op.weights, op.bias, op.chain);
}

template <typename Codec>
void Fields(Codec& codec, Value& value) {
  codec(value.name, value.dtype, value.shape, value.constant, value.code);
}

template <typename Codec>
void Fields(Codec& codec, Node& node) {
  codec(node.name, node.domain, node.op, node.inputs, node.outputs, node.attributes, node.lowered);
}

template <typename Codec>
void Fields(Codec& codec, GraphPort& port) {
  codec(port.value, port.name, port.dtype, port.declared_shape);
}

template <typename Codec>
void Fields(Codec& codec, Graph& graph) {
  codec(graph.name, graph.source, graph.opset, graph.values, graph.nodes, graph.inputs,
        graph.outputs, graph.batchable);
}

}  // namespace

EncodedGraph EncodeGraph(const Graph& graph, const std::function<bool(const Tensor*)>& without) {
  GraphEncoder encoder(without);
  Graph copy = graph;  // the fields serve both directions; tensors are shared
  encoder(copy);
  EncodedGraph encoded;
  encoded.blobs = std::move(encoder.blobs());
  encoded.bytes = encoder.Take();
  return encoded;
}

absl::StatusOr<Graph> DecodeGraph(absl::string_view bytes, const BlobReader& blobs) {
  GraphDecoder decoder(bytes, blobs);
  Graph graph;
  decoder(graph);
  BITMILL_RETURN_IF_ERROR(decoder.status());
  if (!decoder.AtEnd()) return absl::DataLossError("the graph is not whole");
  for (const auto& check : {VerifyGraph, CheckLowered}) {
    if (absl::Status status = check(graph); !status.ok()) {
      return absl::DataLossError(absl::StrCat("a graph that is none: ", status.message()));
    }
  }
  return graph;
}

}  // namespace bitmill
