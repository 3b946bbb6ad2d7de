// What the server asks of a compute backend. Implementations: backends/cpu, backends/device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/dtype.h"
#include "base/file.h"
#include "model/graph.h"

namespace bitmill {

class BatchRouter;

struct TensorSpec {
  std::string name;
  DType dtype = DType::kInvalid;
  std::vector<int64_t> row_shape;  // of one row, without the batch dimension; all positive
  int64_t row_bytes = 0;
  // Of a value between two parts of a model that holds bits or codes (backends/coded_port.h): what
  // they are, and the channels of a pixel. dtype is then UINT8, row_shape pixels and their bytes.
  CodeInfo code = {};
  int64_t channels = 0;
};

// What a model takes and gives. When `batchable`, a request carries rows in dimension 0 of every
// tensor; otherwise a request is one row and tensors have exactly row_shape.
struct Signature {
  std::vector<TensorSpec> inputs, outputs;
  bool batchable = false;
};

// One batch. inputs[i][r] points to row r of input i: row_bytes packed little-endian bytes of any
// alignment, borrowed for the call. outputs[i][r] likewise is written. Rows of a batch may come
// from, and go to, different requests: no assembly copy is needed.
struct BatchRows {
  int64_t rows = 0;
  absl::Span<const std::byte* const* const> inputs;
  absl::Span<std::byte* const* const> outputs;
};

// A step of a compiled model, for the performance analysis.
struct Operation {
  std::string name, kernel;
  std::string ceiling;  // what bounds its arithmetic: a key of kernels/roofline, "bit_macs_per_s";
                        // empty: it has none
  int64_t row_macs = 0;
  int64_t row_bytes = 0;     // written for a row
  int64_t weight_bytes = 0;  // read by each execution
};

// Where the time of an execution went. The caller gives `ns` as many zeros as there are operations;
// what is filled in are sums over `rows` rows, those of the batch that the calling thread ran.
struct OperationTimes {
  absl::Span<int64_t> ns;
  int64_t rows = 0;
};

// Memory that a model holds on one device.
struct MemoryUse {
  std::string device;  // as the backend names it, "opencl:NVIDIA H100"; "host": of the machine
  int64_t bytes = 0;   // weights, and the arenas of all contexts
  int64_t device_bytes = 0;  // that the device has in all; 0: not known, or the host
};
inline constexpr char kHostMemory[] = "host";

// Adds what `more` holds to `sum`, device by device.
inline void AddMemory(const std::vector<MemoryUse>& more, std::vector<MemoryUse>& sum) {
  for (const MemoryUse& use : more) {
    size_t i = 0;
    while (i < sum.size() && sum[i].device != use.device) ++i;
    if (i == sum.size()) {
      sum.push_back(use);
    } else {
      sum[i].bytes += use.bytes;
    }
  }
}

// A part of a model that is divided between executables.
struct ModelPart {
  std::string name;  // "stage 2", "/fc/MatMul part 1 of 2"
  std::string backend;
  int64_t row_macs = 0, weight_bytes = 0;
  int64_t handed_bytes = 0;  // of a row, that it makes for other parts
  int64_t rows = 0;          // of the largest batch, as it would be divided now
  double drift = 1;  // how many times as long as at the load it takes of late; 1 where rows are not
                     // divided
};

// How a model is divided: "data", "tensor" or "pipeline"; empty: it is not.
struct ModelDivision {
  std::string mode;
  std::vector<ModelPart> parts = {};
};

// Scratch memory of one running batch; all memory that Run needs, allocated up front.
class ExecutionContext {
 public:
  virtual ~ExecutionContext() = default;
};

// A compiled model. Immutable, shared by threads.
class Executable {
 public:
  virtual ~Executable() = default;
  virtual const Signature& signature() const = 0;
  virtual std::string backend_name() const { return "cpu"; }
  virtual int64_t max_rows() const = 0;
  virtual int64_t weight_bytes() const = 0;  // packed, as held in memory
  virtual int64_t arena_bytes() const = 0;   // of one context
  // Of the weights and of so many contexts, by where they lie; each device once.
  virtual std::vector<MemoryUse> memory(int64_t contexts) const {
    return {{kHostMemory, weight_bytes() + contexts * arena_bytes(), 0}};
  }
  // Rows that an execution of `rows` computes: more where it pads to a shape that it has.
  virtual int64_t computed_rows(int64_t rows) const { return rows; }
  // Cost hint: multiply-accumulates of a row.
  virtual int64_t row_macs() const = 0;

  virtual std::unique_ptr<ExecutionContext> CreateContext() const = 0;
  // Thread-safe as long as each context is used by one call at a time. Allocates nothing. The
  // result of a row is the same bits whatever the other rows, the batch size and the thread.
  // InvalidArgument when an input value has no meaning for the model; otherwise errors are
  // Internal. `batch.rows` is 1 .. max_rows().
  virtual absl::Status Run(const BatchRows& batch, ExecutionContext& context) const = 0;

  // The same, and where the time went, at the cost of a clock reading an operation. A model without
  // operations fills in nothing.
  virtual absl::Status RunTimed(const BatchRows& batch, ExecutionContext& context,
                                OperationTimes& times) const {
    static_cast<void>(times);
    return Run(batch, context);
  }
  virtual std::vector<Operation> operations() const { return {}; }

  // Of a model whose batches go to one of several backends; null: they do not.
  virtual BatchRouter* router() const { return nullptr; }
  // How it is divided, as that is now. Thread-safe.
  virtual ModelDivision division() const { return {}; }

  // The compiled plan for people: each step, kernel, shape, bits, bytes, MACs, and the arena.
  virtual std::string DescribePlan() const = 0;
};

// Sample inputs: for each input of the signature `rows` rows of row_bytes, back to back.
struct SampleRows {
  int64_t rows = 0;
  std::vector<std::string> inputs;
};

// kExact: float layers are computed in float. kFast: in int8 where that is faster, with ranges
// found by running the samples; the answers change a little, and are the same bits for every batch
// size, thread and instruction set where no float layer is left. kBf16: float layers multiply in
// bfloat16 and sum in float, where the CPU has that (otherwise as kExact, with a warning in the
// log); the same bits for every batch size and thread on one machine.
enum class Precision : uint8_t { kExact, kFast, kBf16 };

// "exact", "fast", "bf16".
inline const char* PrecisionName(Precision precision) {
  if (precision == Precision::kBf16) return "bf16";
  return precision == Precision::kFast ? "fast" : "exact";
}

struct CompileOptions {
  std::string backend = "";  // for BackendSet: the one that is wanted; empty: its default
  std::vector<int> gpus =
      {};                    // devices, as the driver counts, that alone may compute it; empty: any
  int64_t max_rows = 1;      // largest batch
  std::string isa = "auto";  // or a name of kernels/isa.h
  Precision precision = Precision::kExact;
  std::shared_ptr<const SampleRows> calibration =
      nullptr;                          // kFast wants it; used while compiling alone
  std::string calibration_digest = "";  // tells calibrations apart in plan files; empty: none
  // Spent on measuring the ways to compute each layer, unless a plan file says what came of that;
  // 0: none. The results are the same bits.
  double tune_seconds = 0.0;
  // Threads that may work on one batch, where the backend has helpers; 0: as many as it has.
  int threads = 0;
  // Memory of this machine that running the model may take while it is compiled, to measure it or
  // to calibrate it; an executable of which one context alone takes more is not made
  // (ResourceExhausted). Not in plan files; 0: no limit.
  int64_t working_bytes = 0;
  // For ParallelBackend: how the model is divided (backends/parallel/parallel_options.h); empty: it
  // is not.
  std::string parallel = "";
};

// Which model file a plan file was made from.
struct PlanSource {
  FileStamp stamp;    // all zero: not known, or too fresh to rely on
  uint64_t hash = 0;  // of the file's bytes, base/hash.h
};

// As in CompileOptions.
struct ExecutionLimits {
  int64_t max_rows = 1;
  int threads = 0;
};

// What a prepared model has packed, from a plan file that holds several of them.
class PackedPart {
 public:
  virtual ~PackedPart() = default;
};

// A model made ready as far as that goes without knowing its execution limits: fresh from a graph,
// or from a plan file. Constants are packed once, by the first executable that is made, and shared
// with it and the next. Not thread-safe; the executables do not need it any more.
class PreparedModel {
 public:
  virtual ~PreparedModel() = default;
  virtual const Signature& signature() const = 0;
  // `limits.max_rows` counts for a batchable model only. FailedPrecondition when a plan file lacks
  // a constant; otherwise errors name the node.
  virtual absl::StatusOr<std::unique_ptr<Executable>> MakeExecutable(
      const ExecutionLimits& limits) = 0;
  // What MakeExecutable measured (CompileOptions::tune_seconds), for people: "2 layers tuned, 1.17
  // times as fast"; empty when it measured nothing.
  virtual std::string tuning() const { return ""; }
  // Writes a plan file with all constants packed so far, atomically. Never replaces a file that is
  // no plan file (AlreadyExists); otherwise errors of base/file.h.
  virtual absl::Status Save(const std::string& path, const PlanSource& source) const = 0;
  // From a plan file: what it was made from.
  virtual PlanSource source() const { return {}; }
  // Whether Save would write constants that the plan file it came from does not have.
  virtual bool grown() const { return true; }
  // Before MakeExecutable, which then packs nothing that `part` has. `part`: of the backend that
  // made this, and of the same graph and options. Borrowed for the call.
  virtual void Adopt(const PackedPart& part) { static_cast<void>(part); }
};

// What a plan file of a model that several executables compute holds; see Backend::OpenBundle.
struct PlanBundle {
  PlanSource source;
  Graph lowered;
  std::string notes;                               // of whoever wrote it
  std::vector<std::unique_ptr<PackedPart>> parts;  // in the writer's order
};
// What is written of it; borrows all but the numbers.
struct PlanBundleParts {
  // What it is good for beside what every plan depends on: how and where the model is computed.
  absl::string_view purpose;
  PlanSource source;
  const Graph& lowered;
  absl::string_view notes;
  std::vector<const PreparedModel*> parts;  // of the backend that writes it
};

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string name() const = 0;  // "cpu"
  // Of the device that it computes on, as the driver says it; empty: on none.
  virtual std::string device_name() const { return ""; }
  // `graph` has passed VerifyGraph and is not lowered. Thread-safe.
  virtual absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(
      const Graph& graph, const CompileOptions& options) const = 0;
  // The same for a graph that Lower() made, or a part of one: inputs and outputs may be bits and
  // codes (backends/coded_port.h). Precisions that change the graph are Unimplemented, as is all of
  // it for a backend that cannot. Thread-safe.
  virtual absl::StatusOr<std::unique_ptr<PreparedModel>> PrepareLowered(
      Graph lowered,  // NOLINT(performance-unnecessary-value-param): overriders keep it
      const CompileOptions& options) const {
    static_cast<void>(options);
    return absl::UnimplementedError("backend " + name() + " takes no lowered graph '" +
                                    lowered.name + "'");
  }
  // Reads what Save wrote, if it is whole and was made by this program on a CPU like this one with
  // these options; constants are read from the file as it lies in memory. It is up to the caller to
  // compare source() with the model file. NotFound: no such file; FailedPrecondition: made
  // elsewhere or for something else, the message says what; DataLoss: damaged; PermissionDenied:
  // of a user who is neither we, root nor `model_owner`, or open to all. Thread-safe.
  virtual absl::StatusOr<std::unique_ptr<PreparedModel>> OpenPlan(
      const std::string& path, uint32_t model_owner, const CompileOptions& options) const {
    static_cast<void>(model_owner);
    static_cast<void>(options);
    return absl::UnimplementedError(path + ": this backend has no plan files");
  }

  // Writes one plan file with the lowered graph, the notes, and what each part has packed so far.
  // Otherwise as PreparedModel::Save. Thread-safe.
  virtual absl::Status SaveBundle(const std::string& path, const PlanBundleParts& bundle,
                                  const CompileOptions& options) const {
    static_cast<void>(bundle);
    static_cast<void>(options);
    return absl::UnimplementedError(path + ": backend " + name() + " has no plan files");
  }
  // Reads what SaveBundle wrote for this purpose; checks and errors are those of OpenPlan. Models
  // that PrepareLowered() makes of the same graphs take the parts (PreparedModel::Adopt).
  // Thread-safe.
  virtual absl::StatusOr<PlanBundle> OpenBundle(const std::string& path, uint32_t model_owner,
                                                absl::string_view purpose,
                                                const CompileOptions& options) const {
    static_cast<void>(model_owner);
    static_cast<void>(purpose);
    static_cast<void>(options);
    return absl::UnimplementedError(path + ": backend " + name() + " has no plan files");
  }

  // The same model as `cpu`, for batches as large, on this backend's device alone, after comparing
  // the answers of both; `lowered` is what Lower() made of its graph. Errors say why the device
  // does not take it; Unimplemented for a backend without a device. `tune_seconds` as in
  // CompileOptions, for the device. Thread-safe.
  virtual absl::StatusOr<std::unique_ptr<Executable>> CompileBeside(const Graph& lowered,
                                                                    const Executable& cpu,
                                                                    double tune_seconds) const {
    static_cast<void>(lowered);
    static_cast<void>(cpu);
    static_cast<void>(tune_seconds);
    return absl::UnimplementedError("backend " + name() + " has no device");
  }

  // Both steps at once. Thread-safe.
  absl::StatusOr<std::unique_ptr<Executable>> Compile(const Graph& graph,
                                                      const CompileOptions& options) const {
    absl::StatusOr<std::unique_ptr<PreparedModel>> prepared = Prepare(graph, options);
    if (!prepared.ok()) return prepared.status();
    return (*prepared)->MakeExecutable({options.max_rows, options.threads});
  }
};

}  // namespace bitmill
