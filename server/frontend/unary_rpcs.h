// The calls that take one message and give one, but for ModelInfer: what each does, from serialized
// request to serialized answer. Here those of the inference service.
#pragma once

#include <map>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "server/frontend/frontend_context.h"

namespace bitmill {

struct UnaryRpc {
  // InvalidArgument when the bytes are not the request's message.
  absl::StatusOr<std::string> (*run)(FrontendContext& context,
                                     const std::string& request) = nullptr;
  bool may_take_long = false;  // loads a model, or computes for milliseconds
};
using UnaryRpcs = std::map<std::string, UnaryRpc, std::less<>>;

// A call on messages as a call on bytes, for UnaryRpc::run.
template <typename Request, typename Response,
          absl::Status (*Function)(FrontendContext&, const Request&, Response&)>
absl::StatusOr<std::string> RunOnBytes(FrontendContext& context, const std::string& bytes) {
  Request request;
  if (!request.ParseFromString(bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the bytes are not a ", Request::descriptor()->name()));
  }
  Response response;
  if (absl::Status status = Function(context, request, response); !status.ok()) return status;
  return response.SerializeAsString();
}

// By path, "/inference.GRPCInferenceService/ServerLive". Calls of extensions that are not offered
// are there too, and answer Unimplemented with the extension's name.
const UnaryRpcs& InferenceUnaryRpcs();

}  // namespace bitmill
