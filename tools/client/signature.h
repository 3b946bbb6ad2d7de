// A server's description of a model in the terms of a local one.
#pragma once

#include "absl/status/statusor.h"
#include "backends/backend.h"
#include "tools/client/oip_client.h"

namespace bitmill {

// Batchable when dimension 0 of every input and output is open (-1). InvalidArgument, naming the
// tensor, when another dimension is open or the element type has no fixed size.
absl::StatusOr<Signature> SignatureOf(const RemoteModel& model);

}  // namespace bitmill
