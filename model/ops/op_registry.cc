#include "model/ops/op_registry.h"

#include <algorithm>
#include <array>

#include "absl/strings/str_join.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

std::array<absl::Span<const OpDef>, 11> Families() {
  return {ArithmeticOps(), UnaryOps(), ConvolutionOps(), MatrixOps(), PoolOps(), NormalizeOps(),
          ReduceOps(),     ShapeOps(), SelectOps(),      ResizeOps(), QuantOps()};
}

constexpr absl::string_view kQonnxDomains[] = {"onnx.brevitas", "finn.custom_op.general",
                                               "qonnx.custom_op.general",
                                               "qonnx.custom_op.channels_last"};
constexpr absl::string_view kQonnxOps[] = {"Quant", "IntQuant", "BipolarQuant", "Trunc",
                                           "MultiThreshold"};
// What exists in a second layout, in the domain for channels innermost.
constexpr absl::string_view kChannelsLastOps[] = {"Conv", "MaxPool", "AveragePool",
                                                  "GlobalAveragePool", "BatchNormalization"};
// Not in ONNX, found in files of some exporters without a domain.
constexpr absl::string_view kDomainless[] = {"HardTanh"};

template <typename List>
bool Contains(const List& list, absl::string_view name) {
  return std::find(std::begin(list), std::end(list), name) != std::end(list);
}

bool MayBeIn(absl::string_view domain, absl::string_view op) {
  if (Contains(kQonnxOps, op)) return domain.empty() || Contains(kQonnxDomains, domain);
  if (domain == "qonnx.custom_op.channels_last") return Contains(kChannelsLastOps, op);
  if (Contains(kDomainless, op)) return true;
  return domain.empty() || domain == "ai.onnx";
}

}  // namespace

const OpDef* FindOp(absl::string_view domain, absl::string_view op) {
  if (!MayBeIn(domain, op)) return nullptr;
  for (const auto& family : Families()) {
    for (const OpDef& definition : family) {
      if (definition.name == op) return &definition;
    }
  }
  return nullptr;
}

std::string SupportedOps() {
  std::vector<absl::string_view> names;
  for (const auto& family : Families()) {
    for (const OpDef& definition : family) names.push_back(definition.name);
  }
  std::sort(names.begin(), names.end());
  return absl::StrJoin(names, ", ");
}

}  // namespace bitmill
