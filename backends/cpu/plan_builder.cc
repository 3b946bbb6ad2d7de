// Lowered graph -> plan: a step for each node, copies where operands do not fit, then one arena.
#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "backends/coded_port.h"
#include "backends/cpu/dense_slices.h"
#include "backends/cpu/line_step.h"
#include "backends/cpu/live_channels.h"
#include "backends/cpu/plan.h"
#include "backends/cpu/plan_memory.h"
#include "backends/cpu/plan_values.h"
#include "backends/cpu/sequence_steps.h"
#include "backends/cpu/step_cost.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

// Beyond a few dozen rows there is nothing left to amortize.
constexpr int64_t kMaxChunkRows = 32;

std::string CodeBits(const Value& value) {
  if (value.code.kind == CodeKind::kNone) {
    if (value.dtype == DType::kFloat32) return "32f";
    if (value.dtype == DType::kFloat16 || value.dtype == DType::kBFloat16) return "16f";
    return DTypeSize(value.dtype) == 1 ? "8" : "-";
  }
  int bits = 1;
  while ((1 << bits) < value.code.levels) ++bits;
  return absl::StrCat(value.code.kind == CodeKind::kBits ? 1 : bits);
}

class PlanBuilder {
 public:
  PlanBuilder(const Graph& graph, const KernelSet& kernels, int64_t max_rows, int threads,
              PlanConstants& constants, const KernelChoices& choices)
      : graph_(graph),
        choices_(choices),
        builder_(kernels, std::min(max_rows, kMaxChunkRows), constants, choices) {
    plan_.threads = threads;
  }

  absl::StatusOr<Plan> Build(RowScheduler schedule) {
    BITMILL_ASSIGN_OR_RETURN(uses_, AnalyseValues(graph_));
    buffers_.assign(uses_.size(), -1);
    writers_.assign(uses_.size(), 0);
    for (size_t n = 0; n < graph_.nodes.size(); ++n) {
      const Node& node = graph_.nodes[n];
      if (IsOnlyAnotherName(node)) continue;
      builder_.BeginNode(static_cast<int32_t>(n));
      if (absl::Status status = AddNode(node, static_cast<int32_t>(n)); !status.ok()) {
        return absl::Status(status.code(),
                            absl::StrCat(DescribeNode(graph_, node), ": ", status.message()));
      }
    }
    BITMILL_RETURN_IF_ERROR(AddOutputs());
    return Finish(schedule);
  }

 private:
  const ValueUse& use(ValueId id) const { return uses_[static_cast<size_t>(id)]; }
  const ValueUse& root(ValueId id) const { return use(use(id).same_as); }

  // Whether what the node makes is the memory of another value.
  bool IsOnlyAnotherName(const Node& node) const {
    return node.outputs.size() == 1 && node.outputs[0] != kNoValue &&
           use(node.outputs[0]).same_as != node.outputs[0];
  }

  // Adds the step that was just made and moves on to the next.
  void Push(StepPtr step, const std::string& name, ValueId in, ValueId out) {
    StepInfo& info = step->mutable_info();
    info.name = name;
    if (in != kNoValue) info.input = ShapeToString(graph_.value(in).shape);
    if (out != kNoValue) {
      info.output = ShapeToString(graph_.value(out).shape);
      info.output_bytes = use(out).layout.value_bytes();
    }
    info.value_bytes += info.output_bytes + (in == kNoValue ? 0 : use(in).layout.value_bytes());
    if (in != kNoValue && out != kNoValue && info.bits.empty()) {
      info.bits = absl::StrCat(CodeBits(graph_.value(in)), " -> ", CodeBits(graph_.value(out)));
    }
    if (out != kNoValue) writers_[static_cast<size_t>(use(out).same_as)] = plan_.steps.size();
    plan_.steps.push_back(std::move(step));
    builder_.NextStep();
  }

  // The value as a step reads it. `in_place`: the step can read request memory; otherwise a graph
  // input is copied into the arena before its first such reader.
  Operand Input(ValueId id, bool in_place) {
    Operand operand;
    operand.layout = use(id).layout;
    const ValueId memory = use(id).same_as;
    int32_t& buffer = buffers_[static_cast<size_t>(memory)];
    const int32_t port = use(memory).input_port;
    if (buffer < 0 && port >= 0 && graph_.value(memory).code.kind != CodeKind::kNone) {
      Operand loaded;
      loaded.layout = use(memory).layout;
      buffer = loaded.buffer = builder_.AddBuffer(loaded.layout.image_bytes, 0);
      Push(MakeCodedLoadStep(port, CodedPortOf(graph_.value(memory)).pixel_bytes, loaded), "input",
           memory, memory);
    } else if (buffer < 0 && port >= 0) {
      if (in_place && use(memory).layout.storage == Storage::kPlain) {
        operand.input_port = port;
        return operand;
      }
      Operand request;
      request.input_port = port;
      request.layout = use(memory).layout;
      buffer = builder_.AddBuffer(request.layout.image_bytes, 0);
      Operand copy;
      copy.buffer = buffer;
      copy.layout = request.layout;
      Push(MakeLoadStep(request, copy), "input", memory, memory);
    }
    builder_.Use(buffer);
    operand.buffer = buffer;
    return operand;
  }

  Operand Output(ValueId id) {
    Operand operand;
    operand.layout = use(id).layout;
    int32_t& buffer = buffers_[static_cast<size_t>(id)];
    if (buffer < 0) buffer = builder_.AddBuffer(operand.layout.image_bytes, 0);
    operand.buffer = buffer;
    builder_.Use(buffer);
    if (const ValueId whole = use(id).part_of; whole != kNoValue) {
      buffers_[static_cast<size_t>(whole)] = buffer;
    }
    return operand;
  }

  // Lowered operations work on one image of channels on axis 1.
  absl::Status CheckImage(ValueId id) const {
    const BufferLayout& layout = use(id).layout;
    if (layout.elements == 0) return absl::UnimplementedError("a tensor without elements");
    if (layout.elements == layout.channels * layout.pixels()) return absl::OkStatus();
    return absl::UnimplementedError(absl::StrCat("shape ", ShapeToString(graph_.value(id).shape),
                                                 " has a first dimension other than 1"));
  }

  absl::Status AddNode(const Node& node, int32_t n) {
    if (const std::optional<BinaryOp> op = BinaryOpOf(graph_, node)) return AddBinary(node, n, *op);
    if (const std::optional<FloatPool> pool = FloatPoolOf(graph_, node))
      return AddPool(node, *pool);
    if (IsChannelConcat(graph_, node) &&
        use(node.outputs[0]).layout.storage == Storage::kPixelFloat) {
      return AddConcat(node);
    }
    if (const std::optional<SequenceOp> op = SequenceOpOf(graph_, node)) {
      return AddSequence(node, n, *op);
    }
    if (std::holds_alternative<std::monostate>(node.lowered)) return AddReference(node);
    if (node.inputs.empty() || node.outputs.empty() || node.inputs[0] == kNoValue ||
        node.outputs[0] == kNoValue || graph_.value(node.inputs[0]).constant != nullptr) {
      return absl::InternalError("a lowered operation without an input or output to compute");
    }
    if (!std::holds_alternative<ElementwiseOp>(node.lowered)) {
      BITMILL_RETURN_IF_ERROR(CheckImage(node.inputs[0]));
      BITMILL_RETURN_IF_ERROR(CheckImage(node.outputs[0]));
    }
    StepPtr step;
    if (const auto* conv = std::get_if<LowBitConvOp>(&node.lowered)) {
      BITMILL_ASSIGN_OR_RETURN(step, MakeConv(node, *conv));
    } else if (const auto* chain = std::get_if<ElementwiseOp>(&node.lowered)) {
      BITMILL_ASSIGN_OR_RETURN(step, MakeElementwise(node, n, *chain));
    } else {
      BITMILL_ASSIGN_OR_RETURN(step, MakePlain(node));
    }
    const std::string name = node.name.empty() ? node.op : node.name;
    Push(std::move(step), name, node.inputs[0], node.outputs[0]);
    return absl::OkStatus();
  }

  absl::StatusOr<StepPtr> MakeConv(const Node& node, const LowBitConvOp& op) {
    const Value& in = graph_.value(node.inputs[0]);
    const Value& out = graph_.value(node.outputs[0]);
    Operand input = Input(node.inputs[0], false);
    BITMILL_ASSIGN_OR_RETURN(const Border want, WantedBorder(graph_, node, op));
    const LowBitConvOp* conv = &op;
    LowBitConvOp smaller;
    BITMILL_ASSIGN_OR_RETURN(
        const std::vector<int32_t> live,
        LiveChannelsToCopy(op, input.layout.storage == Storage::kBits, builder_));
    if (!live.empty() && !input.layout.tight) {
      smaller = WithChannels(op, live);
      conv = &smaller;
      Operand copy;
      Shape shape = in.shape;
      shape[1] = static_cast<int64_t>(live.size());
      BITMILL_ASSIGN_OR_RETURN(copy.layout,
                               MakeLayout(input.layout.storage, in.dtype, shape, want));
      copy.buffer = builder_.AddBuffer(copy.layout.image_bytes, 0);
      Push(MakeLiveChannelsStep(input, copy, live, builder_), "live channels", node.inputs[0],
           node.inputs[0]);
      builder_.Use(copy.buffer);
      input = copy;
    } else if (!BorderServes(input.layout.border, want)) {
      Operand bordered;
      BITMILL_ASSIGN_OR_RETURN(bordered.layout, MakeLayout(input.layout.storage, in.dtype, in.shape,
                                                           want, input.layout.tight));
      bordered.buffer = builder_.AddBuffer(bordered.layout.image_bytes, 0);
      Push(MakeBorderStep(input, bordered), "border", node.inputs[0], node.inputs[0]);
      builder_.Use(bordered.buffer);
      input = bordered;
    }
    const Operand output = Output(node.outputs[0]);
    const std::string bits = absl::StrCat(CodeBits(in), "x", op.weight_bits, " -> ", CodeBits(out));
    const bool bit_kernel = UsesBitKernel(op, in);
    const auto make = [&](const LowBitConvOp& some, const Operand& to) {
      return bit_kernel ? MakeBconvStep(some, out.code, input, to, builder_)
                        : MakeQconvStep(some, in.code, out.code, input, to, builder_);
    };
    // Bits are unpacked once, not for each slice.
    const bool unpacks = input.layout.storage == Storage::kBits && !bit_kernel;
    const int64_t slices = unpacks ? 1 : DenseSlices(*conv, output.layout);
    absl::StatusOr<StepPtr> step =
        slices == 1 ? make(*conv, output) : MakeSlicedStep(*conv, slices, output, builder_, make);
    if (!step.ok()) return step;
    StepInfo& info = (*step)->mutable_info();
    info.bits = bits;
    info.nodes = {builder_.node()};
    return step;
  }

  // The output of node n, an operation element by element: over its input that was computed first,
  // so that the other one need not be stored at all where this is done as it is computed, if nobody
  // reads that afterwards; otherwise memory of its own.
  Operand OutputOver(const Node& node, int32_t n) {
    const ValueId out = node.outputs[0];
    ValueId over = kNoValue;
    for (const ValueId in : node.inputs) {
      if (graph_.value(in).constant != nullptr) continue;
      const ValueUse& memory = root(in);
      const bool last = !memory.is_output && !memory.has_part && memory.part_of == kNoValue &&
                        buffers_[static_cast<size_t>(use(in).same_as)] >= 0 &&
                        std::all_of(memory.consumers.begin(), memory.consumers.end(),
                                    [&](int32_t consumer) { return consumer <= n; });
      if (last && (over == kNoValue || memory.producer < root(over).producer)) over = in;
    }
    if (over == kNoValue) return Output(out);
    Operand output;
    output.layout = use(out).layout;
    output.buffer = buffers_[static_cast<size_t>(use(over).same_as)];
    buffers_[static_cast<size_t>(out)] = output.buffer;
    return output;
  }

  absl::StatusOr<StepPtr> MakeElementwise(const Node& node, int32_t n, const ElementwiseOp& op) {
    const Operand input = Input(node.inputs[0], true);
    return MakeElementwiseStep(op, input, OutputOver(node, n), builder_);
  }

  absl::StatusOr<StepPtr> MakePlain(const Node& node) {
    const bool in_place = !std::holds_alternative<DequantizeOp>(node.lowered) &&
                          !std::holds_alternative<LowBitMaxPoolOp>(node.lowered) &&
                          !std::holds_alternative<LowBitTransposeOp>(node.lowered);
    const Operand input = Input(node.inputs[0], in_place);
    const Operand output = Output(node.outputs[0]);
    if (const auto* op = std::get_if<QuantizeOp>(&node.lowered)) {
      return MakeQuantizeStep(*op, input, output, builder_);
    }
    if (std::holds_alternative<DequantizeOp>(node.lowered)) {
      return MakeDequantizeStep(graph_.value(node.inputs[0]).code, input, output);
    }
    if (std::holds_alternative<LowBitTransposeOp>(node.lowered)) {
      return MakeCodeTransposeStep(input, output, builder_);
    }
    if (const auto* op = std::get_if<LowBitMaxPoolOp>(&node.lowered)) {
      return MakePoolStep(*op, input, output, builder_);
    }
    if (const auto* op = std::get_if<FloatConvOp>(&node.lowered)) {
      return MakeFloatConvStep(*op, input, output, builder_);
    }
    if (const auto* op = std::get_if<FloatDenseOp>(&node.lowered)) {
      return MakeFloatDenseStep(*op, input, output, builder_);
    }
    return absl::InternalError("a lowered operation that the CPU backend does not know");
  }

  absl::Status AddBinary(const Node& node, int32_t n, BinaryOp op) {
    const Operand a = Input(node.inputs[0], false);
    const Operand b = Input(node.inputs[1], false);
    builder_.Use(a.buffer);  // loading b may have been a step of its own
    const Operand output = OutputOver(node, n);
    BITMILL_ASSIGN_OR_RETURN(StepPtr step, MakeBinaryStep(op, a, b, output, builder_));
    step->mutable_info().value_bytes = b.layout.image_bytes;
    Push(std::move(step), node.name.empty() ? node.op : node.name, node.inputs[0], node.outputs[0]);
    return absl::OkStatus();
  }

  absl::Status AddSequence(const Node& node, int32_t n, const SequenceOp& op) {
    std::vector<Operand> inputs;
    ValueId first = kNoValue;
    for (const ValueId id : node.inputs) {
      if (id == kNoValue || graph_.value(id).constant != nullptr) continue;
      inputs.push_back(Input(id, false));
      if (first == kNoValue) first = id;
    }
    // Loading an input is a step of its own, which the earlier inputs must outlive.
    for (const Operand& input : inputs) builder_.Use(input.buffer);
    const bool in_place = std::holds_alternative<ConstantOperandOp>(op);
    const Operand output = in_place ? OutputOver(node, n) : Output(node.outputs[0]);
    BITMILL_ASSIGN_OR_RETURN(StepPtr step,
                             MakeSequenceStep(op, graph_, node, inputs, output, builder_));
    Push(std::move(step), node.name.empty() ? node.op : node.name, first, node.outputs[0]);
    return absl::OkStatus();
  }

  absl::Status AddPool(const Node& node, const FloatPool& pool) {
    const Operand input = Input(node.inputs[0], false);
    BITMILL_ASSIGN_OR_RETURN(StepPtr step,
                             MakeFloatPoolStep(pool, input, Output(node.outputs[0]), builder_));
    Push(std::move(step), node.name.empty() ? node.op : node.name, node.inputs[0], node.outputs[0]);
    return absl::OkStatus();
  }

  absl::Status AddConcat(const Node& node) {
    std::vector<Operand> inputs;
    inputs.reserve(node.inputs.size());
    for (const ValueId id : node.inputs) inputs.push_back(Input(id, false));
    // Loading an input is a step of its own, which the earlier inputs must outlive.
    for (const Operand& input : inputs) builder_.Use(input.buffer);
    BITMILL_ASSIGN_OR_RETURN(StepPtr step,
                             MakeFloatConcatStep(std::move(inputs), Output(node.outputs[0])));
    Push(std::move(step), node.name.empty() ? node.op : node.name, node.inputs[0], node.outputs[0]);
    return absl::OkStatus();
  }

  absl::Status AddReference(const Node& node) {
    std::vector<ReferenceInput> inputs;
    ValueId first = kNoValue;
    for (const ValueId id : node.inputs) {
      ReferenceInput input;
      if (id != kNoValue) {
        const Value& value = graph_.value(id);
        if (value.code.kind != CodeKind::kNone) {
          return absl::InternalError("an operator that was not lowered reads bits or codes");
        }
        input.dtype = value.dtype;
        input.shape = value.shape;
        input.constant = value.constant;
        if (value.constant == nullptr) {
          input.operand = Input(id, false);
          if (first == kNoValue) first = id;
        }
      }
      inputs.push_back(std::move(input));
    }
    // Loading an input is a step of its own, which the earlier inputs must outlive.
    for (const ReferenceInput& input : inputs) {
      if (input.operand.buffer >= 0) builder_.Use(input.operand.buffer);
    }
    std::vector<ReferenceOutput> outputs;
    for (const ValueId id : node.outputs) {
      ReferenceOutput output;
      if (id != kNoValue) {
        output.dtype = graph_.value(id).dtype;
        output.shape = graph_.value(id).shape;
        output.operand = Output(id);
      }
      outputs.push_back(std::move(output));
    }
    BITMILL_ASSIGN_OR_RETURN(
        StepPtr step, MakeReferenceStep(node, graph_.opset, std::move(inputs), std::move(outputs)));
    Push(std::move(step), node.name.empty() ? node.op : node.name, first,
         node.outputs.empty() ? kNoValue : node.outputs[0]);
    return absl::OkStatus();
  }

  absl::Status AddOutputs() {
    for (size_t i = 0; i < graph_.outputs.size(); ++i) {
      const ValueId id = graph_.outputs[i].value;
      const Value& value = graph_.value(id);
      const int64_t bytes = ElementCount(value.shape) * DTypeSize(value.dtype);
      const auto port = static_cast<int32_t>(i);
      if (value.constant != nullptr) {
        StepPtr step = MakeStoreStep({}, value.constant, port, bytes);
        step->mutable_info().weight_bytes = bytes;
        Push(std::move(step), "output", id, id);
        continue;
      }
      const ValueUse& memory = root(id);
      if (memory.producer < 0 && memory.input_port < 0) {
        return absl::InternalError(
            absl::StrCat("nothing computes output '", graph_.outputs[i].name, "'"));
      }
      const Operand stored = Input(id, true);
      if (value.code.kind != CodeKind::kNone) {
        Push(MakeCodedStoreStep(stored, port, CodedPortOf(value).pixel_bytes), "output", id, id);
        continue;
      }
      PlaceOutput(id, stored, port);
      Push(MakeStoreStep(stored, nullptr, port, bytes), "output", id, id);
    }
    return absl::OkStatus();
  }

  // Whether the rows of an output can be computed where they are wanted: one step makes them, at
  // any address, and nobody else reads them.
  void PlaceOutput(ValueId id, const Operand& stored, int32_t port) {
    const ValueUse& memory = root(id);
    if (stored.buffer < 0 || !memory.consumers.empty()) return;
    const auto users = [&](const auto& buffers) {
      return std::count(buffers.begin(), buffers.end(), stored.buffer);
    };
    const bool other_port =
        std::any_of(plan_.outputs.begin(), plan_.outputs.end(),
                    [&](const OutputBuffer& output) { return output.buffer == stored.buffer; });
    const size_t writer = writers_[static_cast<size_t>(use(id).same_as)];
    if (other_port || users(buffers_) != 1 || !plan_.steps[writer]->info().output_anywhere) return;
    plan_.outputs.push_back({stored.buffer, port, stored.layout.image_bytes});
  }

  // Says in each step what was chosen by measuring. False when nothing was measured.
  bool NameChoices() {
    if (choices_.steps.size() != plan_.steps.size()) return false;
    for (size_t i = 0; i < plan_.steps.size(); ++i) {
      StepInfo& info = plan_.steps[i]->mutable_info();
      for (const int32_t node : info.nodes) {
        const auto found = choices_.layers.find(node);
        if (found == choices_.layers.end()) continue;
        info.tuned = absl::StrFormat("%.2f x: %s", choices_.steps[i].gain, found->second.Text());
      }
    }
    return true;
  }

  absl::StatusOr<Plan> Finish(RowScheduler schedule) {
    const auto used = [&](int32_t buffer) { return builder_.needs()[static_cast<size_t>(buffer)]; };
    FusionPlan fusion;
    fusion.first_use = [&](int32_t buffer) { return used(buffer).first_use; };
    fusion.last_use = [&](int32_t buffer) { return used(buffer).last_use; };
    std::vector<PushedSteps> joined;
    fusion.joined = [&](int32_t first, int32_t last) {
      builder_.Join(first, last);
      joined.push_back({first, last});
    };
    fusion.add_buffer = [&](int64_t row_bytes, int32_t first, int32_t last) {
      return builder_.AddBufferFor(row_bytes, first, last);
    };
    FuseLineSteps(plan_.steps, fusion);
    std::vector<PushedSteps> pushed;  // that became each step of the plan
    auto next = joined.begin();
    for (int32_t step = 0; pushed.size() < plan_.steps.size();) {
      const bool one = next == joined.end() || next->first != step;
      pushed.push_back(one ? PushedSteps{step, step} : *next++);
      step = pushed.back().last + 1;
    }
    BITMILL_RETURN_IF_ERROR(PlanMemory(builder_, pushed, schedule, plan_));
    plan_.forms = builder_.forms();
    const bool measured = NameChoices();
    for (const StepPtr& step : plan_.steps) {
      plan_.weight_bytes += step->info().weight_bytes;
      plan_.row_macs += step->info().macs;
      const size_t number = plan_.step_micros.size();
      const double micros = measured ? choices_.steps[number].micros
                                     : EstimateMicros(step->info(), builder_.kernels().isa);
      plan_.step_micros.push_back(micros);
      plan_.row_micros += micros;
      if (step->parts() > 1) plan_.parted_micros = std::max(plan_.parted_micros, micros);
    }
    return std::move(plan_);
  }

  const Graph& graph_;
  const KernelChoices& choices_;
  StepBuilder builder_;
  std::vector<ValueUse> uses_;
  std::vector<int32_t> buffers_;  // of each value that owns memory; -1 while it has none
  std::vector<size_t> writers_;   // of each value that owns memory, the step that made it last
  Plan plan_;
};

}  // namespace

absl::StatusOr<Plan> BuildPlan(const Graph& graph, const KernelSet& kernels, int64_t max_rows,
                               int threads, PlanConstants* constants, const KernelChoices* choices,
                               RowScheduler schedule) {
  PlanConstants own;
  const KernelChoices usual;
  return PlanBuilder(graph, kernels, max_rows, threads, constants == nullptr ? own : *constants,
                     choices == nullptr ? usual : *choices)
      .Build(schedule);
}

}  // namespace bitmill
