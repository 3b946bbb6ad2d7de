// The fall-back: any operator through its reference implementation, row by row. Slow and right.
#include <utility>

#include "absl/strings/str_cat.h"
#include "backends/cpu/steps.h"
#include "base/status_macros.h"
#include "model/ops/op_registry.h"

namespace bitmill {
namespace {

// Views are made once for each context; a row only moves their pointers.
class ReferenceState final : public StepState {
 public:
  std::vector<TensorView> inputs;
  std::vector<MutableTensorView> outputs;
};

class ReferenceStep final : public Step {
 public:
  absl::Status Run(const StepRun& run) const override {
    auto& state = static_cast<ReferenceState&>(*run.state);
    for (int64_t r = 0; r < run.rows; ++r) {
      for (size_t i = 0; i < inputs.size(); ++i) {
        const ReferenceInput& input = inputs[i];
        if (input.dtype != DType::kInvalid && input.constant == nullptr) {
          state.inputs[i].data = input.operand.Row(run, r);
        }
      }
      for (size_t i = 0; i < outputs.size(); ++i) {
        if (outputs[i].dtype == DType::kInvalid) continue;
        state.outputs[i].data =
            outputs[i].operand.Base(run) + r * outputs[i].operand.layout.image_bytes;
      }
      BITMILL_RETURN_IF_ERROR(op->eval(node, opset, state.inputs, absl::MakeSpan(state.outputs)));
    }
    return absl::OkStatus();
  }

  std::unique_ptr<StepState> CreateState() const override {
    auto state = std::make_unique<ReferenceState>();
    for (const ReferenceInput& input : inputs) {
      const void* data = input.constant == nullptr ? nullptr : input.constant->data();
      state->inputs.push_back({input.dtype, input.shape, data});
    }
    for (const ReferenceOutput& output : outputs) {
      state->outputs.push_back({output.dtype, output.shape, nullptr});
    }
    return state;
  }

  const OpDef* op = nullptr;
  Node node;
  int64_t opset = 0;
  std::vector<ReferenceInput> inputs;
  std::vector<ReferenceOutput> outputs;
};

}  // namespace

absl::StatusOr<StepPtr> MakeReferenceStep(const Node& node, int64_t opset,
                                          std::vector<ReferenceInput> inputs,
                                          std::vector<ReferenceOutput> outputs) {
  auto step = std::make_unique<ReferenceStep>();
  step->op = FindOp(node.domain, node.op);
  if (step->op == nullptr) {
    return absl::UnimplementedError(absl::StrCat("operator ", node.op, " is not supported"));
  }
  step->node = node;
  step->opset = opset;
  step->inputs = std::move(inputs);
  step->outputs = std::move(outputs);
  StepInfo& info = step->mutable_info();
  info.kernel = absl::StrCat("reference ", node.op);
  for (const ReferenceInput& input : step->inputs) {
    if (input.constant != nullptr) info.weight_bytes += input.constant->bytes();
  }
  return step;
}

}  // namespace bitmill
