// A model in stages, each of one part or of several that compute slices of the same values: what
// tensor and pipeline parallelism have in common.
//
//   kTensor    a chunk of rows goes through the stages in turn; the parts of a stage run on as many
//              threads as come to help
//   kPipeline  a batch is cut into smaller ones, of which each stage computes one while the stage
//              before it computes the next. Values between stages exist twice, so that a stage
//              finds its next input ready, and nobody waits for a copy. Threads keep to their
//              stages as long as there is work, so that weights stay where they are used. A stage
//              on a device takes two small batches at a time: the input of the next is copied there
//              while this one is computed
//
// Batches of other contexts run beside this one: while its stage on a device waits for that,
// another batch has the CPU.
//
// Threads are the caller's and helpers of a ForkJoin. A stage is taken by whoever is free, so a
// batch never depends on a helper: without one the caller runs all of it, stage by stage. A thread
// that finds nothing to take sleeps until another one, which is running a stage, is through.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "backends/backend.h"
#include "backends/parallel/graph_parts.h"
#include "backends/parallel/parallel_options.h"
#include "base/fork_join.h"

namespace bitmill {

// Where rows of a value are while a batch runs.
struct StagePlace {
  enum class Kind : uint8_t { kInput, kOutput, kValue };
  Kind kind = Kind::kValue;
  int32_t port = -1;      // of the batch; -1 for kValue
  int64_t row_bytes = 0;  // kValue
  int depth = 1;          // kValue: how many small batches of it exist at a time; until the model
                          // is complete, how many stages behind it is last read
};

struct StagePart {
  struct Output {
    int32_t place = -1;
    OutputSlice slice;
  };
  std::unique_ptr<Executable> executable;
  std::vector<int32_t> inputs;  // places, port by port; none is an output of the batch
  std::vector<Output> outputs;  // likewise
};

struct Stage {
  std::string name;  // "stage 1", or the layer's
  std::vector<StagePart> parts;
  int at_a_time = 1;  // small batches, of a pipeline: 2 where a device computes, at most
};

struct StagedModel {
  enum class Flow : uint8_t { kTensor, kPipeline };
  Signature signature;
  Flow flow = Flow::kTensor;
  std::vector<Stage> stages;  // at most kMostParts of a pipeline
  std::vector<StagePlace> places;
  int64_t max_rows = 1;
  int64_t chunk_rows = 1;  // that all parts take
  // Small batches between a stage of a pipeline and the next, at most; of a value's depth a
  // multiple.
  int between() const;
  std::array<int, kMostParts> at_a_time() const;  // of a pipeline's stages
  std::string title;                              // of the plan
};

struct StagedContext;

class StagedExecutable final : public Executable {
 public:
  // `team`: where helpers come from; outlives this. Null: nowhere.
  StagedExecutable(StagedModel model, ForkJoin* team);

  const Signature& signature() const override { return model_.signature; }
  std::string backend_name() const override;  // "cpu", or "cpu,opencl"
  int64_t max_rows() const override { return model_.max_rows; }
  int64_t weight_bytes() const override;
  int64_t arena_bytes() const override;
  std::vector<MemoryUse> memory(int64_t contexts) const override;
  int64_t row_macs() const override;
  ModelDivision division() const override;
  std::unique_ptr<ExecutionContext> CreateContext() const override;
  // An error of a part is that of the batch; what other threads are running then ends first.
  absl::Status Run(const BatchRows& batch, ExecutionContext& context) const override;
  // Operations are those of the parts, and for each part one more: what its stage takes beyond
  // them. All rows of the batch count, whichever thread computed them.
  absl::Status RunTimed(const BatchRows& batch, ExecutionContext& context,
                        OperationTimes& times) const override;
  std::vector<Operation> operations() const override { return operations_; }
  std::string DescribePlan() const override;

  const StagedModel& model() const { return model_; }

 private:
  class PipelineRun;
  // Rows of a batch that go through a stage together; `number` says which copy of values is theirs.
  struct Chunk {
    int64_t first_row = 0, rows = 0, number = 0;
  };

  absl::Status RunAll(const BatchRows& batch, StagedContext& context, bool timed) const;
  absl::Status RunTensor(const BatchRows& batch, StagedContext& context, bool timed,
                         int place) const;
  absl::Status RunPipeline(const BatchRows& batch, StagedContext& context, bool timed,
                           int place) const;
  absl::Status RunStage(const BatchRows& batch, const Chunk& chunk, size_t stage,
                        StagedContext& context, bool timed) const;
  absl::Status RunPart(const BatchRows& batch, const Chunk& chunk, size_t stage, size_t part,
                       StagedContext& context, bool timed) const;
  int64_t SumOfParts(int64_t (Executable::*value)() const) const;
  int64_t ValueBytes() const;  // of a context, between stages

  const StagedModel model_;
  ForkJoin* const team_;
  size_t widest_ = 1;  // parts of a stage
  int busy_ = 0;       // small batches that all stages compute at a time
  std::vector<Operation> operations_;
};

}  // namespace bitmill
