// One version, from its file to something that can be served.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "backends/backend.h"
#include "server/repository/model_config.h"
#include "server/repository/model_scan.h"
#include "server/repository/repository.h"

namespace bitmill {

// Turns the bytes of a model file into a graph; model/onnx/onnx_reader.h has the one of the server.
using ModelReader =
    std::function<absl::StatusOr<Graph>(absl::string_view bytes, const std::string& source)>;

// What loading needs; everything is borrowed and thread-safe.
struct LoaderParts {
  const Backend& backend;
  ModelReader reader;
  RuntimeFactory runtime_factory;
  AnswerTaps* taps = nullptr;  // for models that ask to be watched; null: none is
  // Contexts that the runtime will make for a model; null: one.
  std::function<int64_t(const ModelSettings&)> contexts = {};
  // Finds room for what `model.memory` says, before contexts are made; null: there is no budget.
  std::function<absl::StatusOr<std::unique_ptr<MemoryHold>>(const ServedModel& model)> claim = {};
};

// Reads and checks <model>/config.pbtxt; an empty configuration when there is none.
absl::StatusOr<GivenConfig> ReadConfig(const std::string& real_root, const ModelOnDisk& model);

struct VersionToLoad {
  std::string real_root;
  std::string name;
  int64_t version = 0;
  std::string model_folder;
  VersionOnDisk on_disk;
};

// Reads, compiles, checks against the configuration, warms up, attaches the runtime. Every error
// names the file. Unavailable when the file changed while it was read.
absl::StatusOr<std::unique_ptr<ServedModel>> LoadVersion(const VersionToLoad& what,
                                                         const GivenConfig& config,
                                                         const RepositoryOptions& options,
                                                         const LoaderParts& parts);

void LogLoaded(const ServedModel& model, const std::string& isa, int64_t load_ns);

}  // namespace bitmill
