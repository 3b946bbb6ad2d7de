// The file is untrusted: protobuf bounds the nesting, every tensor's size is compared with the
// bytes that are there before it is allocated, and the rest of the work is bounded by the passes.
#include "model/onnx/onnx_reader.h"

#include <limits>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "google/protobuf/io/coded_stream.h"
#include "model/onnx/import_graph.h"
#include "model/passes/passes.h"
#include "model/verify.h"
#include "onnx/onnx.pb.h"

namespace bitmill {
namespace {

// Model, graph, node, attribute, tensor is 5; types of values nest a little deeper.
constexpr int kMaxNesting = 32;

absl::StatusOr<Graph> Import(absl::string_view bytes, const std::string& source) {
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max())) {
    return absl::InvalidArgumentError(
        absl::StrCat("has ", bytes.size(), " bytes; an ONNX file has less than 2 GiB"));
  }
  auto model = std::make_unique<onnx::ModelProto>();
  google::protobuf::io::CodedInputStream stream(reinterpret_cast<const uint8_t*>(bytes.data()),
                                                static_cast<int>(bytes.size()));
  stream.SetRecursionLimit(kMaxNesting);
  stream.SetTotalBytesLimit(static_cast<int>(bytes.size()));
  if (bytes.empty() || !model->ParsePartialFromCodedStream(&stream) ||
      !stream.ConsumedEntireMessage()) {
    return absl::InvalidArgumentError("is not an ONNX file, or a damaged one");
  }
  return ImportGraph(*model, source);
}

absl::StatusOr<Graph> Read(absl::string_view bytes, const std::string& source) {
  BITMILL_ASSIGN_OR_RETURN(Graph graph, Import(bytes, source));
  BITMILL_RETURN_IF_ERROR(InferShapes(graph));
  // Folding makes shapes of nodes known that depend on more than one step of shape arithmetic.
  const bool batchable = graph.batchable;
  BITMILL_RETURN_IF_ERROR(FoldConstants(graph));
  BITMILL_RETURN_IF_ERROR(VerifyGraph(graph));
  graph.batchable = batchable;

  // The file's word on output types is only a wish; what the operators give is what is served.
  for (GraphPort& port : graph.outputs) {
    const Value& value = graph.value(port.value);
    port.dtype = value.dtype;
    if (port.declared_shape.size() != value.shape.size()) {
      port.declared_shape.assign(value.shape.begin(), value.shape.end());
    }
    for (size_t i = 0; i < value.shape.size(); ++i) {
      if (i > 0 || port.declared_shape[i] > 0) port.declared_shape[i] = value.shape[i];
    }
    if (!port.declared_shape.empty() && graph.batchable && graph.inputs[0].declared_shape[0] < 0) {
      port.declared_shape[0] = -1;
    }
  }
  return graph;
}

}  // namespace

absl::StatusOr<Graph> ReadOnnx(absl::string_view bytes, const std::string& source) {
  auto graph = Read(bytes, source);
  if (graph.ok()) return graph;
  return absl::Status(graph.status().code(), absl::StrCat(source, ": ", graph.status().message()));
}

}  // namespace bitmill
