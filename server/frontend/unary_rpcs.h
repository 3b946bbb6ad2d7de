// The calls of the inference service that take one message and give one, but for ModelInfer: what
// each does, from serialized request to serialized answer.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "server/frontend/frontend_context.h"

namespace bitmill {

struct UnaryRpc {
  // InvalidArgument when the bytes are not the request's message.
  absl::StatusOr<std::string> (*run)(FrontendContext& context,
                                     const std::string& request) = nullptr;
  bool may_take_long = false;  // loads or unloads a model
};

// By path, "/inference.GRPCInferenceService/ServerLive". Calls of extensions that are not offered
// are there too, and answer Unimplemented with the extension's name.
const std::map<std::string, UnaryRpc, std::less<>>& InferenceUnaryRpcs();

}  // namespace bitmill
