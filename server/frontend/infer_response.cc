#include "server/frontend/infer_response.h"

#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/checked_math.h"

namespace bitmill {
namespace {

// Field numbers of ModelInferResponse, InferOutputTensor and ModelStreamInferResponse.
enum : uint32_t {
  kModelName = 1,
  kModelVersion = 2,
  kId = 3,
  kOutputs = 5,
  kRawOutputContents = 6,
  kTensorName = 1,
  kTensorDatatype = 2,
  kTensorShape = 3,
  kErrorMessage = 1,
  kInferResponse = 2,
};

// Everything here is a length-delimited field with a number below 16: one byte of tag.
constexpr char TagOf(uint32_t field) { return static_cast<char>(field << 3 | 2); }

int64_t VarintBytes(uint64_t value) {
  int64_t bytes = 1;
  for (; value >= 0x80; value >>= 7) ++bytes;
  return bytes;
}

int64_t FieldBytes(int64_t length) {
  return 1 + VarintBytes(static_cast<uint64_t>(length)) + length;
}

int64_t TextBytes(absl::string_view text) {
  return text.empty() ? 0 : FieldBytes(static_cast<int64_t>(text.size()));
}

int64_t ShapeBytes(const ResponseParts& parts, const TensorSpec& spec) {
  int64_t bytes = parts.signature->batchable ? VarintBytes(static_cast<uint64_t>(parts.rows)) : 0;
  for (const int64_t size : spec.row_shape) bytes += VarintBytes(static_cast<uint64_t>(size));
  return bytes;
}

int64_t TensorHeaderBytes(const ResponseParts& parts, const TensorSpec& spec) {
  const int64_t shape = ShapeBytes(parts, spec);
  return TextBytes(spec.name) + TextBytes(DTypeName(spec.dtype)) +
         (shape == 0 ? 0 : FieldBytes(shape));
}

const TensorSpec& Output(const ResponseParts& parts, int index) {
  return parts.signature->outputs[static_cast<size_t>(index)];
}

// Of the ModelInferResponse itself.
std::optional<int64_t> MessageBytes(const ResponseParts& parts) {
  int64_t bytes =
      TextBytes(parts.model_name) + TextBytes(parts.model_version) + TextBytes(parts.id);
  for (const int index : parts.outputs) {
    const TensorSpec& spec = Output(parts, index);
    const std::optional<int64_t> data = CheckedMul(parts.rows, spec.row_bytes);
    if (!data || *data > std::numeric_limits<int32_t>::max()) return std::nullopt;
    bytes += FieldBytes(TensorHeaderBytes(parts, spec)) + FieldBytes(*data);
    if (bytes > std::numeric_limits<int32_t>::max()) return std::nullopt;
  }
  return bytes;
}

class Writer {
 public:
  explicit Writer(char* at) : at_(at) {}
  char* at() const { return at_; }

  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) *at_++ = static_cast<char>(value | 0x80);
    *at_++ = static_cast<char>(value);
  }
  void Header(uint32_t field, int64_t length) {
    *at_++ = TagOf(field);
    Varint(static_cast<uint64_t>(length));
  }
  void Text(uint32_t field, absl::string_view text) {
    if (text.empty()) return;
    Header(field, static_cast<int64_t>(text.size()));
    std::memcpy(at_, text.data(), text.size());
    at_ += text.size();
  }
  char* Reserve(int64_t bytes) {
    char* const place = at_;
    at_ += bytes;
    return place;
  }

 private:
  char* at_;
};

void WriteTensorHeader(const ResponseParts& parts, const TensorSpec& spec, Writer& writer) {
  writer.Header(kOutputs, TensorHeaderBytes(parts, spec));
  writer.Text(kTensorName, spec.name);
  writer.Text(kTensorDatatype, DTypeName(spec.dtype));
  const int64_t shape_bytes = ShapeBytes(parts, spec);
  if (shape_bytes == 0) return;
  writer.Header(kTensorShape, shape_bytes);
  if (parts.signature->batchable) writer.Varint(static_cast<uint64_t>(parts.rows));
  for (const int64_t size : spec.row_shape) writer.Varint(static_cast<uint64_t>(size));
}

}  // namespace

std::optional<int64_t> ResponseBytes(const ResponseParts& parts) {
  const std::optional<int64_t> bytes = MessageBytes(parts);
  if (!bytes || !parts.in_stream) return bytes;
  return FieldBytes(*bytes);
}

void EncodeResponse(const ResponseParts& parts, absl::Span<std::byte> buffer,
                    absl::Span<std::byte*> tensors) {
  Writer writer(reinterpret_cast<char*>(buffer.data()));
  if (parts.in_stream) writer.Header(kInferResponse, *MessageBytes(parts));
  writer.Text(kModelName, parts.model_name);
  writer.Text(kModelVersion, parts.model_version);
  writer.Text(kId, parts.id);
  for (const int index : parts.outputs) WriteTensorHeader(parts, Output(parts, index), writer);
  for (size_t k = 0; k < parts.outputs.size(); ++k) {
    const int64_t bytes = parts.rows * Output(parts, parts.outputs[k]).row_bytes;
    writer.Header(kRawOutputContents, bytes);
    tensors[k] = reinterpret_cast<std::byte*>(writer.Reserve(bytes));
  }
  BITMILL_CHECK(reinterpret_cast<std::byte*>(writer.at()) == buffer.data() + buffer.size());
}

std::string EncodeStreamError(absl::string_view message, absl::string_view model_name,
                              absl::string_view id) {
  const int64_t response = TextBytes(model_name) + TextBytes(id);
  std::string bytes(static_cast<size_t>(TextBytes(message) + FieldBytes(response)), '\0');
  Writer writer(bytes.data());
  writer.Text(kErrorMessage, message);
  writer.Header(kInferResponse, response);
  writer.Text(kModelName, model_name);
  writer.Text(kId, id);
  return bytes;
}

}  // namespace bitmill
