#include "tools/cmd_probe.h"

#include <cstdio>
#include <memory>

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "proto/health.grpc.pb.h"
#include "tools/address_option.h"
#include "tools/cli.h"

namespace bitmill {
namespace {

// "500ms", "1.5s", "2m", or a number of seconds.
bool ParseTimeout(const std::string& text, absl::Duration& timeout) {
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds)) {
    timeout = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &timeout)) {
    return false;
  }
  return timeout > absl::ZeroDuration() && timeout <= absl::Hours(1);
}

}  // namespace

void AddProbeOptions(CLI::App& command, ProbeOptions& options) {
  CheckAddresses(*command.add_option("address,--address", options.address, "Server")
                      ->type_name("HOST:PORT")
                      ->capture_default_str());
  command
      .add_option("--service", options.service,
                  "readiness, liveness, the name of a model, or '' for the server as a whole")
      ->type_name("NAME")
      ->capture_default_str();
  command.add_option("--timeout", options.timeout, "How long to wait, as 500ms or 2s")
      ->type_name("TIME")
      ->capture_default_str();
  command.add_flag("-q,--quiet", options.quiet, "Print nothing when serving");
}

int RunProbe(const ProbeOptions& options) {
  absl::Duration timeout;
  if (!ParseTimeout(options.timeout, timeout)) {
    return PrintError(absl::StrCat("timeout '", options.timeout, "' is no time"),
                      "write it as 500ms or 2s, at most an hour", kExitMisuse);
  }
  grpc::ChannelArguments arguments;
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);  // a health check is about this very address
  const std::shared_ptr<grpc::Channel> channel =
      grpc::CreateCustomChannel(options.address, grpc::InsecureChannelCredentials(), arguments);
  const std::unique_ptr<grpc::health::v1::Health::Stub> stub =
      grpc::health::v1::Health::NewStub(channel);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  grpc::health::v1::HealthCheckRequest request;
  request.set_service(options.service);
  grpc::health::v1::HealthCheckResponse response;
  const grpc::Status status = stub->Check(&context, request, &response);

  const std::string who =
      absl::StrCat(options.address, " ", options.service.empty() ? "server" : options.service);
  switch (status.error_code()) {
    case grpc::StatusCode::OK:
      break;
    case grpc::StatusCode::UNAVAILABLE:
      return PrintError(
          absl::StrCat(options.address, " cannot be reached: ", status.error_message()),
          "check the address and that the server runs");
    case grpc::StatusCode::DEADLINE_EXCEEDED:
      return PrintError(absl::StrCat(who, ": no answer within ", options.timeout),
                        "check the address, or give more --timeout");
    case grpc::StatusCode::NOT_FOUND:
      return PrintError(absl::StrCat(who, " is not known to the server"),
                        "ask for readiness, liveness or the name of a model");
    case grpc::StatusCode::UNIMPLEMENTED:
      return PrintError(absl::StrCat(options.address, " has no health service"),
                        "check that the address is a gRPC server with grpc.health.v1");
    default:
      return PrintError(absl::StrCat(who, ": ", status.error_message()), "");
  }
  const std::string word =
      grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status());
  if (response.status() != grpc::health::v1::HealthCheckResponse::SERVING) {
    return PrintError(absl::StrCat(who, ": ", word), "it may be loading or draining");
  }
  if (!options.quiet) std::printf("%s: %s\n", who.c_str(), word.c_str());
  return kExitOk;
}

}  // namespace bitmill
