#include "server/frontend/reflection.h"

#include <array>
#include <set>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "grpcpp/support/status.h"
#include "proto/analysis.pb.h"
#include "proto/health.pb.h"
#include "proto/inference.pb.h"
#include "proto/orca_service.pb.h"
#include "proto/reflection.pb.h"
#include "server/frontend/bind_request.h"

namespace bitmill {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;
using google::protobuf::FileDescriptorProto;
using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;

constexpr std::array<const char*, 6> kServices = {"inference.GRPCInferenceService",
                                                  "bitmill.analysis.v1.AnalysisService",
                                                  "grpc.health.v1.Health",
                                                  "xds.service.orca.v3.OpenRcaService",
                                                  "grpc.reflection.v1.ServerReflection",
                                                  "grpc.reflection.v1alpha.ServerReflection"};

// Touching the messages makes sure that their files are registered, however the program is linked.
const DescriptorPool& Pool() {
  static_cast<void>(inference::ModelInferRequest::descriptor());
  static_cast<void>(analysis::v1::GetReportRequest::descriptor());
  static_cast<void>(xds::service::orca::v3::OrcaLoadReportRequest::descriptor());
  static_cast<void>(grpc::health::v1::HealthCheckRequest::descriptor());
  static_cast<void>(ServerReflectionRequest::descriptor());
  return *DescriptorPool::generated_pool();
}

void SetError(grpc::StatusCode code, const std::string& message,
              ServerReflectionResponse& response) {
  response.mutable_error_response()->set_error_code(code);
  response.mutable_error_response()->set_error_message(message);
}

// The file and all that it imports, each once.
void AddFiles(const FileDescriptor& file, std::set<std::string>& seen,
              ServerReflectionResponse& response) {
  if (!seen.insert(std::string(file.name())).second) return;
  FileDescriptorProto proto;
  file.CopyTo(&proto);
  response.mutable_file_descriptor_response()->add_file_descriptor_proto(proto.SerializeAsString());
  for (int i = 0; i < file.dependency_count(); ++i) AddFiles(*file.dependency(i), seen, response);
}

void AddFile(const FileDescriptor* file, const std::string& wanted,
             ServerReflectionResponse& response) {
  if (file == nullptr) {
    SetError(grpc::StatusCode::NOT_FOUND, absl::StrCat("there is no ", Quoted(wanted)), response);
    return;
  }
  std::set<std::string> seen;
  AddFiles(*file, seen, response);
}

const FileDescriptor* FileOfExtension(const std::string& type, int number) {
  const Descriptor* const message = Pool().FindMessageTypeByName(type);
  if (message == nullptr) return nullptr;
  const FieldDescriptor* const field = Pool().FindExtensionByNumber(message, number);
  return field == nullptr ? nullptr : field->file();
}

void ListExtensions(const std::string& type, ServerReflectionResponse& response) {
  const Descriptor* const message = Pool().FindMessageTypeByName(type);
  if (message == nullptr) {
    SetError(grpc::StatusCode::NOT_FOUND, absl::StrCat("there is no type ", Quoted(type)),
             response);
    return;
  }
  std::vector<const FieldDescriptor*> extensions;
  Pool().FindAllExtensions(message, &extensions);
  auto& answer = *response.mutable_all_extension_numbers_response();
  answer.set_base_type_name(type);
  for (const FieldDescriptor* const field : extensions) {
    answer.add_extension_number(field->number());
  }
}

// All state is the loop's thread's: one message is read, answered, and then the next.
class ReflectionStream final : public CallHandler {
 public:
  explicit ReflectionStream(GenericCall& call) : call_(call) {}

  void OnStart() override { call_.Read(); }
  void OnMessage(grpc::ByteBuffer& message) override {
    if (finished_) return;
    call_.Write(ToByteBuffer(AnswerReflection(ToString(message))));
  }
  void OnHalfClose() override { Finish(absl::OkStatus()); }
  void OnWritten(bool ok) override {
    if (!ok) {
      Finish(absl::CancelledError("the client is gone"));
    } else if (!finished_) {
      call_.Read();
    }
  }
  void OnShutdown() override { Finish(absl::UnavailableError("the server is shutting down")); }

 private:
  void Finish(const absl::Status& status) {
    if (finished_) return;
    finished_ = true;
    call_.Finish(status);
  }

  GenericCall& call_;
  bool finished_ = false;
};

}  // namespace

std::string AnswerReflection(const std::string& bytes) {
  ServerReflectionRequest request;
  ServerReflectionResponse response;
  if (!request.ParseFromString(bytes)) {
    SetError(grpc::StatusCode::INVALID_ARGUMENT, "the bytes are not a ServerReflectionRequest",
             response);
    return response.SerializeAsString();
  }
  response.set_valid_host(request.host());
  *response.mutable_original_request() = request;
  switch (request.message_request_case()) {
    case ServerReflectionRequest::kFileByFilename:
      AddFile(Pool().FindFileByName(request.file_by_filename()), request.file_by_filename(),
              response);
      break;
    case ServerReflectionRequest::kFileContainingSymbol:
      AddFile(Pool().FindFileContainingSymbol(request.file_containing_symbol()),
              request.file_containing_symbol(), response);
      break;
    case ServerReflectionRequest::kFileContainingExtension: {
      const auto& extension = request.file_containing_extension();
      AddFile(FileOfExtension(extension.containing_type(), extension.extension_number()),
              extension.containing_type(), response);
      break;
    }
    case ServerReflectionRequest::kAllExtensionNumbersOfType:
      ListExtensions(request.all_extension_numbers_of_type(), response);
      break;
    case ServerReflectionRequest::kListServices:
      for (const char* const service : kServices) {
        response.mutable_list_services_response()->add_service()->set_name(service);
      }
      break;
    case ServerReflectionRequest::MESSAGE_REQUEST_NOT_SET:
      SetError(grpc::StatusCode::INVALID_ARGUMENT, "the request asks for nothing", response);
      break;
  }
  return response.SerializeAsString();
}

std::unique_ptr<CallHandler> CreateReflectionStream(GenericCall& call) {
  return std::make_unique<ReflectionStream>(call);
}

}  // namespace bitmill
