// What step factories get from the plan builder: the kernels chosen for this machine, and scratch.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "backends/cpu/kernel_choices.h"
#include "backends/cpu/plan_constants.h"
#include "kernels/bconv/bconv_table.h"
#include "kernels/cache_sizes.h"
#include "kernels/fdense/fdense_table.h"
#include "kernels/fmap/fmap_table.h"
#include "kernels/gather/gather_table.h"
#include "kernels/isa.h"
#include "kernels/pack/pack_table.h"
#include "kernels/pool/pool_table.h"
#include "kernels/qconv/qconv_table.h"
#include "kernels/requant/requant_table.h"
#include "kernels/transpose/transpose_table.h"

namespace bitmill {

struct KernelSet {
  Isa isa = Isa::kRef;
  bool bf16 = false;  // float layers multiply in bfloat16
  // Of the second-level cache for which rows are grouped (row_schedule.h).
  int64_t cache_bytes = MachineCaches().l2;
  const BconvKernel* bconv = nullptr;
  const QconvKernel* qconv = nullptr;
  const PackKernel* pack = nullptr;
  const PoolKernel* pool = nullptr;
  const RequantKernel* requant = nullptr;
  const FdenseKernel* fdense = nullptr;
  const FmapKernel* fmap = nullptr;
  const GatherKernel* gather = nullptr;
  const TransposeKernel* transpose = nullptr;
};

// "auto" or a name of kernels/isa.h; InvalidArgument names what this machine offers otherwise.
absl::StatusOr<KernelSet> SelectKernels(const std::string& isa);

// A buffer of the plan: `row_bytes` for each row of a chunk and `fixed_bytes` besides; alive from
// step `first_use` to step `last_use`. Working memory: `slot_bytes` for each thread.
struct BufferNeed {
  int64_t row_bytes = 0, fixed_bytes = 0, slot_bytes = 0;
  int32_t first_use = 0, last_use = 0;
};

class StepBuilder {
 public:
  // `chunk_rows`: the most rows that run together. `constants` and `choices` outlive the builder.
  StepBuilder(const KernelSet& kernels, int64_t chunk_rows, PlanConstants& constants,
              const KernelChoices& choices)
      : kernels_(kernels), chunk_rows_(chunk_rows), constants_(constants), choices_(choices) {}

  const KernelSet& kernels() const { return kernels_; }
  int64_t chunk_rows() const { return chunk_rows_; }
  // The number of the step that is being made.
  int32_t step() const { return step_; }
  void NextStep() { ++step_; }
  // The node whose steps are made next.
  void BeginNode(int32_t node) { node_ = node; }
  int32_t node() const { return node_; }

  // How the node is to be computed.
  const LayerChoice& choice() const {
    static const LayerChoice kUsual;
    const auto found = choices_.layers.find(node_);
    return found == choices_.layers.end() ? kUsual : found->second;
  }
  // Says that the node could also be computed like this, which may be faster.
  void OfferForm(LayerChoice form) {
    std::vector<LayerChoice>& forms = forms_[node_];
    if (std::find(forms.begin(), forms.end(), form) == forms.end())
      forms.push_back(std::move(form));
  }
  const std::map<int32_t, std::vector<LayerChoice>>& forms() const { return forms_; }

  // Parts of a step that a thread runs one after the other, made between the two: each has
  // constants of its own, and all use the same working memory.
  void BeginSlice(int64_t slice) {
    if (slice == 0) scratches_.clear();
    slice_ = absl::StrCat("slice ", slice, " ");
    slice_scratch_ = 0;
  }
  void EndSlice() { slice_.clear(); }

  // A constant of the node, made by `fill` unless a plan file has it; `name` tells those of a node
  // apart and says what its contents depend on besides the node and the kernels. Where something is
  // taken from the weights a plan file leaves them out (Tensor::has_elements), so that all else
  // that is read from them has to be a constant as well, and `fill` FailedPrecondition when they
  // are not there.
  absl::StatusOr<PackedBytes> FromWeights(absl::string_view name, int64_t bytes,
                                          PlanConstants::Fill fill) {
    return constants_.Get(node_, absl::StrCat(slice_, name), bytes, PlanConstants::From::kWeights,
                          fill);
  }
  absl::StatusOr<PackedBytes> FromOthers(absl::string_view name, int64_t bytes,
                                         PlanConstants::Fill fill) {
    return constants_.Get(node_, absl::StrCat(slice_, name), bytes, PlanConstants::From::kOthers,
                          fill);
  }

  // A buffer that lives from the current step on; Use() extends its life to the current step.
  int32_t AddBuffer(int64_t row_bytes, int64_t fixed_bytes) {
    needs_.push_back({row_bytes, fixed_bytes, 0, step_, step_});
    return static_cast<int32_t>(needs_.size()) - 1;
  }
  // Working memory of the current step alone; where threads share it, each finds its own behind
  // StepRun::buffers.
  int32_t AddScratch(int64_t bytes) {
    if (!slice_.empty() && slice_scratch_ < scratches_.size()) {
      const int32_t common = scratches_[slice_scratch_++];
      int64_t& slot_bytes = needs_[static_cast<size_t>(common)].slot_bytes;
      slot_bytes = std::max(slot_bytes, bytes);
      return common;
    }
    needs_.push_back({0, 0, bytes, step_, step_});
    const auto scratch = static_cast<int32_t>(needs_.size()) - 1;
    if (!slice_.empty()) {
      scratches_.push_back(scratch);
      ++slice_scratch_;
    }
    return scratch;
  }
  // A buffer for steps first_use to last_use, all made before.
  int32_t AddBufferFor(int64_t row_bytes, int32_t first_use, int32_t last_use) {
    needs_.push_back({row_bytes, 0, 0, first_use, last_use});
    return static_cast<int32_t>(needs_.size()) - 1;
  }
  void Use(int32_t buffer) { needs_[static_cast<size_t>(buffer)].last_use = step_; }

  // Steps `first` to `last` run as one: what any of them uses lives as long as all of them.
  void Join(int32_t first, int32_t last) {
    for (BufferNeed& need : needs_) {
      if (need.first_use >= first && need.first_use <= last) need.first_use = first;
      if (need.last_use >= first && need.last_use <= last) need.last_use = last;
    }
  }

  const std::vector<BufferNeed>& needs() const { return needs_; }

 private:
  KernelSet kernels_;
  int64_t chunk_rows_;
  PlanConstants& constants_;
  const KernelChoices& choices_;
  std::map<int32_t, std::vector<LayerChoice>> forms_;
  int32_t node_ = -1;
  int32_t step_ = 0;
  std::string slice_;               // what the names of a slice's constants begin with
  std::vector<int32_t> scratches_;  // those of the step's slices
  size_t slice_scratch_ = 0;        // of them, how many this slice has taken
  std::vector<BufferNeed> needs_;
};

}  // namespace bitmill
