#include "tools/client/oip_client.h"

#include <chrono>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "grpcpp/grpcpp.h"
#include "proto/inference.grpc.pb.h"

namespace bitmill {
namespace {

using inference::GRPCInferenceService;
using std::chrono::milliseconds;
using std::chrono::system_clock;

constexpr milliseconds kCallTimeout{60'000};

// gRPC and Abseil number their codes alike.
absl::Status FromGrpc(const grpc::Status& status) {
  return absl::Status(static_cast<absl::StatusCode>(status.error_code()), status.error_message());
}

absl::StatusOr<RemoteTensor> FromMetadata(
    const inference::ModelMetadataResponse::TensorMetadata& metadata) {
  RemoteTensor tensor;
  tensor.name = metadata.name();
  const std::optional<DType> dtype = DTypeFromName(metadata.datatype());
  if (!dtype.has_value()) {
    return absl::UnimplementedError(absl::StrCat("tensor '", metadata.name(), "' has data type '",
                                                 metadata.datatype(),
                                                 "', which the protocol does not have"));
  }
  tensor.dtype = *dtype;
  tensor.shape.assign(metadata.shape().begin(), metadata.shape().end());
  return tensor;
}

// Copies typed contents into the tensor; false when the number of elements differs.
template <typename Element, typename Field>
bool CopyTyped(const Field& field, Tensor& tensor) {
  if (field.size() != tensor.elements()) return false;
  absl::Span<Element> elements = tensor.span<Element>();
  for (int i = 0; i < field.size(); ++i) {
    elements[static_cast<size_t>(i)] = static_cast<Element>(field.Get(i));
  }
  return true;
}

bool CopyContents(const inference::InferTensorContents& contents, Tensor& tensor) {
  switch (tensor.dtype()) {
    case DType::kBool:
      return CopyTyped<uint8_t>(contents.bool_contents(), tensor);
    case DType::kUInt8:
      return CopyTyped<uint8_t>(contents.uint_contents(), tensor);
    case DType::kUInt16:
      return CopyTyped<uint16_t>(contents.uint_contents(), tensor);
    case DType::kUInt32:
      return CopyTyped<uint32_t>(contents.uint_contents(), tensor);
    case DType::kUInt64:
      return CopyTyped<uint64_t>(contents.uint64_contents(), tensor);
    case DType::kInt8:
      return CopyTyped<int8_t>(contents.int_contents(), tensor);
    case DType::kInt16:
      return CopyTyped<int16_t>(contents.int_contents(), tensor);
    case DType::kInt32:
      return CopyTyped<int32_t>(contents.int_contents(), tensor);
    case DType::kInt64:
      return CopyTyped<int64_t>(contents.int64_contents(), tensor);
    case DType::kFloat32:
      return CopyTyped<float>(contents.fp32_contents(), tensor);
    case DType::kFloat64:
      return CopyTyped<double>(contents.fp64_contents(), tensor);
    default:
      return false;
  }
}

}  // namespace

struct OipClient::Impl {
  std::unique_ptr<GRPCInferenceService::Stub> stub;
};

OipClient::OipClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
OipClient::~OipClient() = default;

absl::StatusOr<std::unique_ptr<OipClient>> OipClient::Connect(const std::string& address,
                                                              int64_t timeout_ms) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(-1);
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
  if (!channel->WaitForConnected(system_clock::now() + milliseconds(timeout_ms))) {
    return absl::UnavailableError(
        absl::StrCat("no gRPC server answers at ", address, " within ", timeout_ms,
                     " ms; start one with 'bitmill serve', or check host and port"));
  }
  auto impl = std::make_unique<Impl>();
  impl->stub = GRPCInferenceService::NewStub(channel);
  return std::unique_ptr<OipClient>(new OipClient(std::move(impl)));
}

absl::StatusOr<RemoteModel> OipClient::Describe(const std::string& model,
                                                const std::string& version) const {
  grpc::ClientContext context;
  context.set_deadline(system_clock::now() + kCallTimeout);
  inference::ModelMetadataRequest request;
  request.set_name(model);
  request.set_version(version);
  inference::ModelMetadataResponse response;
  const grpc::Status status = impl_->stub->ModelMetadata(&context, request, &response);
  if (!status.ok()) return FromGrpc(status);
  RemoteModel described;
  described.name = response.name();
  described.platform = response.platform();
  described.versions.assign(response.versions().begin(), response.versions().end());
  for (const auto& input : response.inputs()) {
    BITMILL_ASSIGN_OR_RETURN(RemoteTensor tensor, FromMetadata(input));
    described.inputs.push_back(std::move(tensor));
  }
  for (const auto& output : response.outputs()) {
    BITMILL_ASSIGN_OR_RETURN(RemoteTensor tensor, FromMetadata(output));
    described.outputs.push_back(std::move(tensor));
  }
  return described;
}

absl::StatusOr<inference::ModelInferResponse> OipClient::Infer(
    const inference::ModelInferRequest& request) const {
  grpc::ClientContext context;
  context.set_deadline(system_clock::now() + kCallTimeout);
  inference::ModelInferResponse response;
  const grpc::Status status = impl_->stub->ModelInfer(&context, request, &response);
  if (!status.ok()) return FromGrpc(status);
  return response;
}

void AddRawInput(const std::string& name, DType dtype, absl::Span<const int64_t> shape,
                 std::string bytes, inference::ModelInferRequest* request) {
  auto* input = request->add_inputs();
  input->set_name(name);
  input->set_datatype(std::string(DTypeName(dtype)));
  for (const int64_t dim : shape) input->add_shape(dim);
  *request->add_raw_input_contents() = std::move(bytes);
}

absl::StatusOr<std::vector<NamedTensor>> ParseAnswer(
    const inference::ModelInferResponse& response) {
  const bool raw = response.raw_output_contents_size() > 0;
  if (raw && response.raw_output_contents_size() != response.outputs_size()) {
    return absl::InternalError(absl::StrCat("the answer has ", response.outputs_size(),
                                            " outputs and ", response.raw_output_contents_size(),
                                            " raw contents"));
  }
  std::vector<NamedTensor> outputs;
  for (int i = 0; i < response.outputs_size(); ++i) {
    const auto& output = response.outputs(i);
    const std::string label = absl::StrCat("output '", output.name(), "'");
    const std::optional<DType> dtype = DTypeFromName(output.datatype());
    if (!dtype.has_value() || DTypeSize(*dtype) == 0) {
      return absl::UnimplementedError(
          absl::StrCat(label, " has data type '", output.datatype(), "', which is not supported"));
    }
    const std::vector<int64_t> shape(output.shape().begin(), output.shape().end());
    const std::optional<int64_t> elements = CheckedProduct(shape);
    const std::optional<int64_t> bytes =
        elements.has_value() ? CheckedMul(*elements, DTypeSize(*dtype)) : std::nullopt;
    // Typed contents hold at least one byte an element on the wire, so the answer's own size bounds
    // what is allocated.
    const int64_t limit = raw ? static_cast<int64_t>(response.raw_output_contents(i).size())
                              : static_cast<int64_t>(response.ByteSizeLong()) * 8;
    if (!bytes.has_value() || *bytes > limit || (raw && *bytes != limit)) {
      return absl::InternalError(absl::StrCat(label, " has shape ", ShapeToString(shape), " of ",
                                              output.datatype(), ", which its ", limit,
                                              " bytes of contents do not fill"));
    }
    BITMILL_ASSIGN_OR_RETURN(Tensor tensor, Tensor::Create(*dtype, shape));
    if (raw) {
      std::memcpy(tensor.data(), response.raw_output_contents(i).data(),
                  static_cast<size_t>(*bytes));
    } else if (!CopyContents(output.contents(), tensor)) {
      return absl::InternalError(
          absl::StrCat(label, " has typed contents that do not fill its shape"));
    }
    outputs.push_back({output.name(), std::move(tensor)});
  }
  return outputs;
}

}  // namespace bitmill
