#include "model/graph.h"

#include "absl/strings/str_cat.h"

namespace bitmill {

std::string DescribeNode(const Graph& graph, const Node& node) {
  const std::string op = node.domain.empty() || node.domain == "ai.onnx"
                             ? node.op
                             : absl::StrCat(node.domain, "::", node.op);
  if (!node.name.empty()) return absl::StrCat("node '", node.name, "' (", op, ")");
  const Node* first = graph.nodes.data();
  if (first != nullptr && &node >= first && &node < first + graph.nodes.size()) {
    return absl::StrCat("node #", &node - first, " (", op, ")");
  }
  return absl::StrCat("a node (", op, ")");
}

}  // namespace bitmill
