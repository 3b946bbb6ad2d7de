// A unary call on the generic service: one message in, one out.
#pragma once

#include <memory>

#include "server/frontend/control_thread.h"
#include "server/frontend/generic_call.h"
#include "server/frontend/unary_rpcs.h"

namespace bitmill {

// `rpc` and `control` outlive the call.
std::unique_ptr<CallHandler> CreateUnaryCall(GenericCall& call, const UnaryRpc& rpc,
                                             ControlThread& control);

}  // namespace bitmill
