#include "model/onnx/import_tensor.h"

#include <cstring>
#include <limits>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/half.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int kMaxRank = 16;

// Copies a typed field, one number an element. `Source` may be wider than T: a number that does not
// fit is an error.
template <typename T, typename Source>
absl::Status CopyField(const google::protobuf::RepeatedField<Source>& field, Tensor& tensor) {
  const absl::Span<T> out = tensor.span<T>();
  if (static_cast<size_t>(field.size()) != out.size()) {
    return absl::InvalidArgumentError(absl::StrCat("holds ", field.size(), " elements, shape ",
                                                   ShapeToString(tensor.shape()), " needs ",
                                                   out.size()));
  }
  for (size_t i = 0; i < out.size(); ++i) {
    const Source value = field.Get(static_cast<int>(i));
    if constexpr (std::numeric_limits<T>::is_integer && sizeof(T) < sizeof(Source)) {
      if (value > static_cast<Source>(std::numeric_limits<T>::max()) ||
          (std::numeric_limits<Source>::is_signed &&
           value < static_cast<Source>(std::numeric_limits<T>::min()))) {
        return absl::InvalidArgumentError(
            absl::StrCat("element ", i, " is ", value, ", which does not fit its type"));
      }
    }
    out[i] = static_cast<T>(value);
  }
  return absl::OkStatus();
}

absl::Status CopyRaw(const std::string& raw, Tensor& tensor) {
  if (static_cast<int64_t>(raw.size()) != tensor.bytes()) {
    return absl::InvalidArgumentError(
        absl::StrCat("raw_data has ", raw.size(), " bytes, shape ", ShapeToString(tensor.shape()),
                     " of ", DTypeName(tensor.dtype()), " needs ", tensor.bytes()));
  }
  if (!raw.empty()) std::memcpy(tensor.data(), raw.data(), raw.size());
  return absl::OkStatus();
}

absl::Status CopyTyped(const onnx::TensorProto& proto, Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::kFloat32:
      return CopyField<float>(proto.float_data(), tensor);
    case DType::kFloat64:
      return CopyField<double>(proto.double_data(), tensor);
    case DType::kInt64:
      return CopyField<int64_t>(proto.int64_data(), tensor);
    case DType::kUInt64:
      return CopyField<uint64_t>(proto.uint64_data(), tensor);
    case DType::kUInt32:
      return CopyField<uint32_t>(proto.uint64_data(), tensor);
    case DType::kInt32:
      return CopyField<int32_t>(proto.int32_data(), tensor);
    case DType::kInt16:
      return CopyField<int16_t>(proto.int32_data(), tensor);
    case DType::kUInt16:
    case DType::kFloat16:
    case DType::kBFloat16:
      return CopyField<uint16_t>(proto.int32_data(), tensor);
    case DType::kInt8:
      return CopyField<int8_t>(proto.int32_data(), tensor);
    case DType::kUInt8:
    case DType::kBool:
      return CopyField<uint8_t>(proto.int32_data(), tensor);
    default:
      return absl::UnimplementedError("has an element type that is not supported");
  }
}

// How many elements the message holds, before its shape is believed.
int64_t HeldElements(const onnx::TensorProto& proto, DType dtype) {
  if (proto.has_raw_data()) {
    return static_cast<int64_t>(proto.raw_data().size()) / DTypeSize(dtype);
  }
  switch (dtype) {
    case DType::kFloat32:
      return proto.float_data_size();
    case DType::kFloat64:
      return proto.double_data_size();
    case DType::kInt64:
      return proto.int64_data_size();
    case DType::kUInt64:
    case DType::kUInt32:
      return proto.uint64_data_size();
    default:
      return proto.int32_data_size();
  }
}

}  // namespace

DType DTypeFromOnnx(int32_t data_type) {
  switch (data_type) {
    case onnx::TensorProto::FLOAT:
      return DType::kFloat32;
    case onnx::TensorProto::UINT8:
      return DType::kUInt8;
    case onnx::TensorProto::INT8:
      return DType::kInt8;
    case onnx::TensorProto::UINT16:
      return DType::kUInt16;
    case onnx::TensorProto::INT16:
      return DType::kInt16;
    case onnx::TensorProto::INT32:
      return DType::kInt32;
    case onnx::TensorProto::INT64:
      return DType::kInt64;
    case onnx::TensorProto::BOOL:
      return DType::kBool;
    case onnx::TensorProto::FLOAT16:
      return DType::kFloat16;
    case onnx::TensorProto::DOUBLE:
      return DType::kFloat64;
    case onnx::TensorProto::UINT32:
      return DType::kUInt32;
    case onnx::TensorProto::UINT64:
      return DType::kUInt64;
    case onnx::TensorProto::BFLOAT16:
      return DType::kBFloat16;
    default:
      return DType::kInvalid;
  }
}

DType ComputeType(DType dtype) {
  return dtype == DType::kFloat16 || dtype == DType::kBFloat16 ? DType::kFloat32 : dtype;
}

absl::StatusOr<Tensor> ImportTensor(const onnx::TensorProto& proto) {
  if (proto.data_location() == onnx::TensorProto::EXTERNAL || proto.external_data_size() > 0) {
    return absl::UnimplementedError("is stored in another file; external data is not read");
  }
  if (proto.has_segment()) return absl::UnimplementedError("is stored in segments");
  const DType dtype = DTypeFromOnnx(proto.data_type());
  if (dtype == DType::kInvalid) {
    return absl::UnimplementedError(
        absl::StrCat("has ONNX element type ", proto.data_type(), ", which is not supported"));
  }
  if (proto.dims_size() > kMaxRank) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", proto.dims_size(), " dimensions, at most ", kMaxRank, " are allowed"));
  }
  const Shape shape(proto.dims().begin(), proto.dims().end());
  const auto count = CheckedProduct(shape);
  if (!count || *count != HeldElements(proto, dtype)) {
    return absl::InvalidArgumentError(absl::StrCat("has shape ", ShapeToString(shape),
                                                   " but holds ", HeldElements(proto, dtype),
                                                   " elements of ", DTypeName(dtype)));
  }
  BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(dtype, shape));
  BITMILL_RETURN_IF_ERROR(proto.has_raw_data() ? CopyRaw(proto.raw_data(), tensor)
                                               : CopyTyped(proto, tensor));
  if (dtype == DType::kBool) {
    for (uint8_t& value : tensor.span<uint8_t>()) value = value != 0 ? 1 : 0;
  }
  if (ComputeType(dtype) == dtype) return tensor;

  BITMILL_ASSIGN_OR_RETURN(Tensor wide, Tensor::Create(DType::kFloat32, shape));
  const absl::Span<const uint16_t> halves = tensor.span<uint16_t>();
  for (size_t i = 0; i < halves.size(); ++i) {
    wide.span<float>()[i] =
        dtype == DType::kFloat16 ? HalfToFloat(halves[i]) : BFloat16ToFloat(halves[i]);
  }
  return wide;
}

}  // namespace bitmill
