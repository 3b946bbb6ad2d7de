#include "tools/cmd_infer.h"

#include <chrono>
#include <cstdio>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "kernels/isa.h"
#include "proto/inference.pb.h"
#include "server/schedule/tbb_scheduler.h"
#include "tools/address_option.h"
#include "tools/client/answer_report.h"
#include "tools/client/oip_client.h"
#include "tools/client/signature.h"
#include "tools/input/elements.h"
#include "tools/load/prepare.h"
#include "tools/local/local_model.h"
#include "tools/precision_options.h"
#include "tools/tune_option.h"

namespace bitmill {
namespace {

constexpr int64_t kLocalBatch = 64;

using SteadyClock = std::chrono::steady_clock;

double SecondsSince(SteadyClock::time_point start) {
  return std::chrono::duration<double>(SteadyClock::now() - start).count();
}

// What --golden adds: the input, unless --input gives one, and what the first output should be.
struct Golden {
  Tensor output;
  double atol = 0.0;
};

absl::StatusOr<Golden> ReadGolden(const InferOptions& options) {
  BITMILL_ASSIGN_OR_RETURN(TensorFile file, ReadTensorFile(options.golden));
  std::optional<Golden> golden;
  double atol = 0.0;
  for (NamedTensor& array : file.arrays) {
    if (array.name == "y") golden.emplace().output = std::move(array.tensor);
    if (array.name == "atol" && array.tensor.elements() == 1) {
      atol = ElementAsDouble(array.tensor, 0);
    }
  }
  if (!golden.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.golden, ": no array 'y' with the expected outputs"));
  }
  golden->atol = options.atol >= 0.0 ? options.atol : atol;
  return *std::move(golden);
}

InputChoice InputsOf(const InferOptions& options) {
  InputChoice choice = options.input;
  if (choice.files.empty() && !options.golden.empty()) choice.files = {options.golden + ":x"};
  return choice;
}

// Plans are kept of exact models alone: one that is calibrated here is compiled for this run.
absl::StatusOr<std::unique_ptr<Executable>> CompileHere(const InferOptions& options,
                                                        ForkJoin* helpers) {
  CompileOptions compile;
  compile.max_rows = options.batch > 0 ? options.batch : kLocalBatch;
  compile.isa = options.isa;
  compile.tune_seconds = options.tune_seconds;
  if (options.precision.plain()) {
    compile.precision = options.precision.WithoutSamples();
    BITMILL_ASSIGN_OR_RETURN(
        CompiledModel model,
        CompileFileOnCpu(options.model, compile, ParsePlanCache(options.plan_cache), helpers));
    return std::move(model.executable);
  }
  BITMILL_ASSIGN_OR_RETURN(const Graph graph, ReadModelFile(options.model));
  if (!graph.batchable) compile.max_rows = 1;
  return CompileAsChosen(graph, compile, options.precision, helpers);
}

absl::StatusOr<AnswerReport> InferHere(const InferOptions& options) {
  const SystemClock clock;
  const auto scheduler = CreateTbbScheduler({.workers = options.threads, .io_threads = 1}, clock);
  BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<Executable> executable,
                           CompileHere(options, &scheduler->helpers()));
  BITMILL_ASSIGN_OR_RETURN(ModelInputs data,
                           ReadModelInputs(executable->signature(), InputsOf(options)));
  AnswerReport report;
  report.model = options.model;
  report.rows = data.rows;
  report.labels = std::move(data.labels);
  const auto start = SteadyClock::now();
  BITMILL_ASSIGN_OR_RETURN(report.outputs, RunRows(*executable, data.inputs, data.rows));
  report.seconds = SecondsSince(start);
  return report;
}

// Puts the answers of all requests behind each other, as if they had been one.
absl::Status AppendOutputs(std::vector<NamedTensor> part, std::vector<std::string>& bytes,
                           std::vector<NamedTensor>& first) {
  if (first.empty()) {
    bytes.resize(part.size());
    first = std::move(part);
    for (size_t i = 0; i < first.size(); ++i) {
      bytes[i].assign(static_cast<const char*>(first[i].tensor.data()),
                      static_cast<size_t>(first[i].tensor.bytes()));
    }
    return absl::OkStatus();
  }
  if (part.size() != first.size()) {
    return absl::InternalError("answers to different requests have different outputs");
  }
  for (size_t i = 0; i < part.size(); ++i) {
    bytes[i].append(static_cast<const char*>(part[i].tensor.data()),
                    static_cast<size_t>(part[i].tensor.bytes()));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<NamedTensor>> JoinOutputs(const std::vector<NamedTensor>& first,
                                                     const std::vector<std::string>& bytes,
                                                     int64_t rows) {
  std::vector<NamedTensor> joined;
  for (size_t i = 0; i < first.size(); ++i) {
    const auto size = static_cast<int64_t>(bytes[i].size());
    const int64_t elements = size / DTypeSize(first[i].tensor.dtype());
    if (elements % rows != 0) {
      return absl::InternalError(absl::StrCat("output '", first[i].name, "' has ", elements,
                                              " elements for ", rows, " rows"));
    }
    BITMILL_ASSIGN_OR_RETURN(Tensor tensor,
                             Tensor::Create(first[i].tensor.dtype(), {rows, elements / rows}));
    std::copy(bytes[i].begin(), bytes[i].end(), static_cast<char*>(tensor.data()));
    joined.push_back({first[i].name, std::move(tensor)});
  }
  return joined;
}

absl::StatusOr<AnswerReport> InferOnServer(const InferOptions& options) {
  BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<OipClient> client,
                           OipClient::Connect(options.server));
  ModelName name{options.model, ""};
  const size_t slash = name.name.rfind('/');
  if (slash != std::string::npos) {
    name.version = name.name.substr(slash + 1);
    name.name.resize(slash);
  }
  BITMILL_ASSIGN_OR_RETURN(const RemoteModel described, client->Describe(name.name, name.version));
  BITMILL_ASSIGN_OR_RETURN(const Signature signature, SignatureOf(described));
  if (signature.inputs.empty()) return absl::InvalidArgumentError("the model has no inputs");
  BITMILL_ASSIGN_OR_RETURN(ModelInputs data, ReadModelInputs(signature, InputsOf(options)));
  const int64_t batch =
      signature.batchable ? std::min(std::max<int64_t>(options.batch, 1), data.rows) : 1;
  AnswerReport report;
  report.model = absl::StrCat(options.model, " at ", options.server);
  report.rows = data.rows;
  report.labels = std::move(data.labels);

  std::vector<NamedTensor> first;
  std::vector<std::string> bytes;
  for (int64_t row = 0; row < data.rows; row += batch) {
    const int64_t count = std::min(batch, data.rows - row);
    std::vector<RowSet> rows;
    for (size_t i = 0; i < data.inputs.size(); ++i) {
      const auto row_bytes = static_cast<size_t>(signature.inputs[i].row_bytes);
      rows.push_back({count, data.inputs[i].bytes.substr(static_cast<size_t>(row) * row_bytes,
                                                         static_cast<size_t>(count) * row_bytes)});
    }
    BITMILL_ASSIGN_OR_RETURN(const std::vector<PreparedRequest> requests,
                             PrepareRequests(name, signature, rows, {}, count));
    inference::ModelInferRequest request;
    if (!request.ParseFromString(requests.front().bytes)) {
      return absl::InternalError("cannot read back the prepared request");
    }
    const auto start = SteadyClock::now();
    BITMILL_ASSIGN_OR_RETURN(const inference::ModelInferResponse response, client->Infer(request));
    report.seconds += SecondsSince(start);
    BITMILL_ASSIGN_OR_RETURN(std::vector<NamedTensor> outputs, ParseAnswer(response));
    BITMILL_RETURN_IF_ERROR(AppendOutputs(std::move(outputs), bytes, first));
  }
  BITMILL_ASSIGN_OR_RETURN(report.outputs, JoinOutputs(first, bytes, data.rows));
  return report;
}

}  // namespace

void AddInferOptions(CLI::App& command, InferOptions& options) {
  const auto add = [&command](const char* name, auto& value, const char* type, const char* about) {
    return command.add_option(name, value, about)->type_name(type);
  };
  add("model", options.model, "MODEL", "Model file or folder; with --server, a model's name there")
      ->required();
  CheckAddresses(*add("-s,--server", options.server, "HOST:PORT",
                      "Ask this server instead of running it here"));
  add("-i,--input", options.input.files, "[INPUT=]FILE[:ARRAY]",
      "Rows to run on (npz, npy, idx, png, raw; .gz too); repeat for more inputs or images");
  add("--labels", options.input.labels, "ARRAY|FILE",
      "Right classes: an array of the input file, or a file; prints accuracy");
  add("--golden", options.golden, "FILE",
      "An .npz with x, y and atol: compare the first output with y; exit 1 when it differs")
      ->check(CLI::ExistingFile);
  add("--atol", options.atol, "GAP", "Largest gap allowed, instead of the golden file's")
      ->check(CLI::NonNegativeNumber);
  add("-k,--top", options.top, "N", "Classes shown for a row")
      ->check(CLI::Range(int64_t{1}, int64_t{1000}))
      ->capture_default_str();
  add("--rows", options.rows_shown, "N", "Rows shown; 0 is all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  add("-b,--batch", options.batch, "ROWS", "Rows at once (default: 1 on a server, 64 here)")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20));
  const std::string isa = absl::StrCat("Instruction set: ", IsaChoices());
  add("--isa", options.isa, "NAME", isa.c_str())->capture_default_str();
  add("--threads", options.threads, "N", "Threads that share a batch, without --server")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  AddPrecisionOptions(command, options.precision);
  add("--plan-cache", options.plan_cache, "DIR|beside|off",
      "Where compiled plans are kept: beside the model, a folder, or off")
      ->capture_default_str();
  AddTuneOption(command, options.tune_seconds);
  command.add_flag("--json", options.json, "Print everything as JSON");
}

absl::StatusOr<int> RunInfer(const InferOptions& options) {
  if (options.input.files.empty() && options.golden.empty()) {
    return absl::InvalidArgumentError("nothing to run on; give --input FILE or --golden FILE");
  }
  if (!options.server.empty() &&
      (options.precision.precision != "exact" || !options.precision.plain())) {
    return absl::InvalidArgumentError(
        "--precision and --calibration are for models that run here; a server has them in "
        "config.pbtxt");
  }
  BITMILL_ASSIGN_OR_RETURN(AnswerReport report,
                           options.server.empty() ? InferHere(options) : InferOnServer(options));
  if (!options.golden.empty()) {
    BITMILL_ASSIGN_OR_RETURN(const Golden golden, ReadGolden(options));
    if (report.outputs.empty()) return absl::InvalidArgumentError("the model has no output");
    BITMILL_ASSIGN_OR_RETURN(
        report.golden,
        CompareWithGolden(report.outputs.front().tensor, golden.output, report.rows, golden.atol));
  }
  BITMILL_ASSIGN_OR_RETURN(
      const std::string text,
      options.json ? AnswerJson(report) : AnswerTable(report, options.top, options.rows_shown));
  std::fputs(text.c_str(), stdout);
  return report.golden.has_value() && !report.golden->within() ? 1 : 0;
}

}  // namespace bitmill
