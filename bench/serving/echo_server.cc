// The floor that the frontend is measured against: a gRPC server that looks like an identity model
// of the Open Inference Protocol and does nothing else.
//
// ModelInfer is registered as a raw method: the request's bytes are never parsed. The first request
// of a size is parsed once to make its answer (a tensor of the same type, shape and contents);
// every later one of that size gets the same bytes. What is left is the cost of gRPC itself.
// ModelMetadata answers too, so that any client of the protocol can drive it.
//
//   bitmill_echo_server [--port P] [--api async|callback] [--elements N]
//
// async: one completion queue and one thread, the cheapest arrangement on few cores.
// callback: gRPC's own threads call back.
#include <signal.h>

#include <charconv>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/grpcpp.h"
#include "proto/inference.grpc.pb.h"

namespace bitmill {
namespace {

using inference::GRPCInferenceService;
using inference::ModelInferRequest;
using inference::ModelInferResponse;
using inference::ModelMetadataRequest;
using inference::ModelMetadataResponse;

struct EchoOptions {
  int port = 0;  // 0: any free one
  bool callback = false;
  int64_t elements = 1024;  // of a row, in the metadata
};

// Parses `request` and serializes what an identity model would answer. An unreadable request gives
// an empty answer.
grpc::ByteBuffer MakeAnswer(grpc::ByteBuffer request) {
  ModelInferRequest parsed;
  ModelInferResponse response;
  if (grpc::SerializationTraits<ModelInferRequest>::Deserialize(&request, &parsed).ok()) {
    response.set_model_name(parsed.model_name());
    response.set_model_version("1");
    for (int i = 0; i < parsed.inputs_size(); ++i) {
      auto* output = response.add_outputs();
      output->set_name(absl::StrCat("OUTPUT", i));
      output->set_datatype(parsed.inputs(i).datatype());
      *output->mutable_shape() = parsed.inputs(i).shape();
    }
    *response.mutable_raw_output_contents() = parsed.raw_input_contents();
  }
  grpc::Slice slice(response.SerializeAsString());
  return grpc::ByteBuffer(&slice, 1);
}

// The answer for the last seen request size. Not thread-safe.
class CannedAnswer {
 public:
  // Borrowed until the next call.
  const grpc::ByteBuffer& For(const grpc::ByteBuffer& request) {
    const size_t bytes = request.Length();
    if (bytes != request_bytes_) {
      answer_ = MakeAnswer(request);
      request_bytes_ = bytes;
    }
    return answer_;
  }

 private:
  size_t request_bytes_ = SIZE_MAX;
  grpc::ByteBuffer answer_;
};

void DescribeModel(const EchoOptions& options, const ModelMetadataRequest& request,
                   ModelMetadataResponse* response) {
  response->set_name(request.name());
  *response->add_versions() = std::string("1");
  response->set_platform("echo");
  for (auto* tensor : {response->add_inputs(), response->add_outputs()}) {
    tensor->set_datatype("FP32");
    tensor->add_shape(-1);
    tensor->add_shape(options.elements);
  }
  response->mutable_inputs(0)->set_name("INPUT0");
  response->mutable_outputs(0)->set_name("OUTPUT0");
}

// ---- completion queue, one thread ----

class AsyncService final
    : public GRPCInferenceService::WithRawMethod_ModelInfer<GRPCInferenceService::Service> {
 public:
  explicit AsyncService(const EchoOptions& options) : options_(options) {}
  grpc::Status ModelMetadata(grpc::ServerContext* /*context*/, const ModelMetadataRequest* request,
                             ModelMetadataResponse* response) override {
    DescribeModel(options_, *request, response);
    return grpc::Status::OK;
  }

 private:
  EchoOptions options_;
};

// Asks gRPC for calls until it is stopped; afterwards the queue may be shut down.
class Intake {
 public:
  Intake(AsyncService& service, grpc::ServerCompletionQueue& queue)
      : service_(service), queue_(queue) {}
  void Request(grpc::ServerContext* context, grpc::ByteBuffer* request,
               grpc::ServerAsyncResponseWriter<grpc::ByteBuffer>* writer, void* tag) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!stopped_) service_.RequestModelInfer(context, request, writer, &queue_, &queue_, tag);
  }
  void Stop() {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopped_ = true;
  }

 private:
  AsyncService& service_;
  grpc::ServerCompletionQueue& queue_;
  std::mutex mutex_;
  bool stopped_ = false;  // guarded by mutex_
};

// One call at a time, over and over: waiting for a request, then for its answer to leave.
class AsyncCall {
 public:
  explicit AsyncCall(Intake& intake) : intake_(intake) { Wait(); }

  // `ok` is false once the server shuts down, or when the client went away.
  void Proceed(bool ok, CannedAnswer& canned) {
    if (state_->waiting) {
      if (!ok) return;
      state_->waiting = false;
      state_->writer.Finish(canned.For(state_->request), grpc::Status::OK, this);
    } else {
      Wait();
    }
  }

 private:
  struct State {
    grpc::ServerContext context;
    grpc::ByteBuffer request;
    grpc::ServerAsyncResponseWriter<grpc::ByteBuffer> writer{&context};
    bool waiting = true;
  };

  void Wait() {
    state_ = std::make_unique<State>();
    intake_.Request(&state_->context, &state_->request, &state_->writer, this);
  }

  Intake& intake_;
  std::unique_ptr<State> state_;
};

// ---- callbacks ----

class CallbackService final
    : public GRPCInferenceService::WithRawCallbackMethod_ModelInfer<GRPCInferenceService::Service> {
 public:
  explicit CallbackService(const EchoOptions& options) : options_(options) {}
  grpc::Status ModelMetadata(grpc::ServerContext* /*context*/, const ModelMetadataRequest* request,
                             ModelMetadataResponse* response) override {
    DescribeModel(options_, *request, response);
    return grpc::Status::OK;
  }
  grpc::ServerUnaryReactor* ModelInfer(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* request,
                                       grpc::ByteBuffer* response) override {
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      *response = canned_.For(*request);
    }
    grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
    reactor->Finish(grpc::Status::OK);
    return reactor;
  }

 private:
  EchoOptions options_;
  std::mutex mutex_;  // guards canned_
  CannedAnswer canned_;
};

// ---- program ----

// Blocks until SIGINT or SIGTERM, which every thread of the program has blocked.
void WaitForSignal(const sigset_t& signals) {
  int signal_number = 0;
  sigwait(&signals, &signal_number);
}

std::unique_ptr<grpc::Server> Start(grpc::ServerBuilder& builder, grpc::Service& service,
                                    const EchoOptions& options) {
  int port = 0;
  builder.AddListeningPort(absl::StrCat("127.0.0.1:", options.port),
                           grpc::InsecureServerCredentials(), &port);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  builder.SetMaxReceiveMessageSize(-1);
  builder.RegisterService(&service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  if (server == nullptr || port == 0) {
    std::fprintf(stderr, "cannot listen on 127.0.0.1:%d; choose another --port\n", options.port);
    return nullptr;
  }
  std::printf("listening on 127.0.0.1:%d\n", port);
  std::fflush(stdout);
  return server;
}

int ServeAsync(const EchoOptions& options, const sigset_t& signals) {
  constexpr int kCallsWaiting = 64;
  AsyncService service(options);
  grpc::ServerBuilder builder;
  const std::unique_ptr<grpc::ServerCompletionQueue> queue = builder.AddCompletionQueue();
  const std::unique_ptr<grpc::Server> server = Start(builder, service, options);
  if (server == nullptr) return 1;

  Intake intake(service, *queue);
  std::vector<std::unique_ptr<AsyncCall>> calls;
  for (int i = 0; i < kCallsWaiting; ++i) calls.push_back(std::make_unique<AsyncCall>(intake));
  std::thread worker([&queue] {
    CannedAnswer canned;
    void* tag = nullptr;
    bool ok = false;
    while (queue->Next(&tag, &ok)) static_cast<AsyncCall*>(tag)->Proceed(ok, canned);
  });
  WaitForSignal(signals);
  intake.Stop();
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  queue->Shutdown();
  worker.join();
  return 0;
}

int ServeCallback(const EchoOptions& options, const sigset_t& signals) {
  CallbackService service(options);
  grpc::ServerBuilder builder;
  const std::unique_ptr<grpc::Server> server = Start(builder, service, options);
  if (server == nullptr) return 1;
  WaitForSignal(signals);
  server->Shutdown(std::chrono::system_clock::now() + std::chrono::milliseconds(100));
  return 0;
}

template <typename Int>
bool ParseInt(std::string_view text, Int low, Int high, Int* value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size() && *value >= low &&
         *value <= high;
}

bool ParseOptions(int argc, char** argv, EchoOptions* options) {
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i];
    const std::string_view value = argv[i + 1];
    if (name == "--port") {
      if (!ParseInt(value, 0, 65535, &options->port)) return false;
    } else if (name == "--elements") {
      if (!ParseInt(value, int64_t{1}, int64_t{1} << 30, &options->elements)) return false;
    } else if (name == "--api" && (value == "async" || value == "callback")) {
      options->callback = value == "callback";
    } else {
      return false;
    }
  }
  return argc % 2 == 1;
}

int Main(int argc, char** argv) {
  EchoOptions options;
  if (!ParseOptions(argc, argv, &options)) {
    std::fprintf(stderr, "usage: %s [--port P] [--api async|callback] [--elements N]\n", argv[0]);
    return 2;
  }
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  return options.callback ? ServeCallback(options, signals) : ServeAsync(options, signals);
}

}  // namespace
}  // namespace bitmill

int main(int argc, char** argv) { return bitmill::Main(argc, argv); }
