// A generic call on a completion queue that only the calling thread polls, so that tracing brings
// no thread of gRPC's own.
#include <chrono>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "base/hand_off.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"
#include "proto/otlp_trace.pb.h"
#include "server/tracing/trace_transport.h"

namespace bitmill {
namespace {

constexpr char kMethod[] = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
// How soon a stop is seen.
constexpr auto kLookEvery = std::chrono::milliseconds(50);

std::shared_ptr<grpc::Channel> Connect(const std::string& endpoint) {
  grpc::ChannelArguments arguments;
  arguments.SetUserAgentPrefix("bitmill/" BITMILL_VERSION);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // the endpoint is what was configured
  return grpc::CreateCustomChannel(endpoint, grpc::InsecureChannelCredentials(), arguments);
}

class OtlpTransport final : public TraceTransport {
 public:
  explicit OtlpTransport(const std::string& endpoint) : stub_(Connect(endpoint)) {}

  ~OtlpTransport() override {
    void* tag = nullptr;
    bool ok = false;
    queue_.Shutdown();
    while (queue_.Next(&tag, &ok)) {
    }
  }

  absl::StatusOr<int64_t> Send(const std::string& message, int64_t timeout_ns,
                               const std::atomic<bool>* stop) override {
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + std::chrono::nanoseconds(timeout_ns));
    const grpc::Slice slice(message);
    const auto call = stub_.PrepareUnaryCall(&context, kMethod, {&slice, 1}, &queue_);
    call->StartCall();
    grpc::ByteBuffer response;
    grpc::Status status;
    HandOff(this);
    call->Finish(&response, &status, this);
    WaitForAnswer(context, stop);
    if (!status.ok()) {
      return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                          status.error_message());
    }
    return SpansRefused(response);
  }

 private:
  void WaitForAnswer(grpc::ClientContext& context, const std::atomic<bool>* stop) {
    void* tag = nullptr;
    bool ok = false;
    while (queue_.AsyncNext(&tag, &ok, std::chrono::system_clock::now() + kLookEvery) ==
           grpc::CompletionQueue::TIMEOUT) {
      if (stop != nullptr && stop->load()) context.TryCancel();
    }
    TakeOver(tag);
  }

  static absl::StatusOr<int64_t> SpansRefused(const grpc::ByteBuffer& buffer) {
    grpc::Slice slice;
    otlp::ExportTraceServiceResponse response;
    if (!buffer.DumpToSingleSlice(&slice).ok() ||
        !response.ParseFromArray(slice.begin(), static_cast<int>(slice.size()))) {
      return absl::InternalError("the collector's answer is not an ExportTraceServiceResponse");
    }
    return response.partial_success().rejected_spans();
  }

  grpc::GenericStub stub_;
  grpc::CompletionQueue queue_;
};

}  // namespace

std::unique_ptr<TraceTransport> CreateOtlpTransport(const std::string& endpoint) {
  return std::make_unique<OtlpTransport>(endpoint);
}

}  // namespace bitmill
