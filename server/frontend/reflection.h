// gRPC server reflection, v1 and v1alpha: tools like grpcurl learn the services from the server.
#pragma once

#include <memory>
#include <string>

#include "server/frontend/generic_call.h"

namespace bitmill {

// The answer to one serialized ServerReflectionRequest; errors are answers too.
std::string AnswerReflection(const std::string& request);

std::unique_ptr<CallHandler> CreateReflectionStream(GenericCall& call);

}  // namespace bitmill
