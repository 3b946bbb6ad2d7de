// Traced requests as spans of the OpenTelemetry protocol. Pure.
//
//   inference.GRPCInferenceService/ModelInfer   SERVER, child of the caller's span
//     decode, encode, queue, schedule, assemble, compute, split   in the order of time
//   batch   of an execution that several requests shared: a trace of its own, with a link to each
//   of
//           the traced requests; their compute spans link back to it
//
// "encode" comes early because the answer's frame is laid out before the computation writes into
// it. A stage that the request did not reach has no span.
#pragma once

#include <cstdint>
#include <string>

#include "absl/types/span.h"
#include "server/tracing/traced_request.h"

namespace bitmill {

// What the spans say of the process that made them.
struct TraceResource {
  std::string service_name = "bitmill";
  std::string instance_id;
  std::string host_name;
};

struct ExportMessage {
  std::string bytes;  // a serialized ExportTraceServiceRequest
  int64_t spans = 0;
};

// `seed` decides the identifiers of the spans below the requests: another one for each process.
ExportMessage MakeExportMessage(absl::Span<const TracedRequest> requests,
                                const TraceResource& resource, uint64_t seed);

}  // namespace bitmill
