#include "backends/parallel/parallel_options.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/log.h"

namespace bitmill {
namespace {

bool IsBackendName(absl::string_view name) {
  return !name.empty() && std::all_of(name.begin(), name.end(), [](char c) {
    return absl::ascii_islower(static_cast<unsigned char>(c)) ||
           absl::ascii_isdigit(static_cast<unsigned char>(c)) || c == '_';
  }) && !absl::ascii_isdigit(static_cast<unsigned char>(name.front()));
}

}  // namespace

const char* ParallelModeName(ParallelMode mode) {
  switch (mode) {
    case ParallelMode::kOff:
      return "off";
    case ParallelMode::kData:
      return "data";
    case ParallelMode::kTensor:
      return "tensor";
    case ParallelMode::kPipeline:
      return "pipeline";
    case ParallelMode::kAuto:
      return "auto";
  }
  return "";
}

absl::StatusOr<ParallelOptions> ParseParallel(absl::string_view text) {
  ParallelOptions options;
  if (text.empty() || text == "off") return options;
  if (text == "auto") {
    options.mode = ParallelMode::kAuto;
    return options;
  }
  const auto wrong = [text] {
    return absl::InvalidArgumentError(absl::StrCat(
        "'", EscapeForLog(text.substr(0, 100)),
        "', expected 'off', 'auto', or 'data', 'tensor' or 'pipeline' with 1 to ", kMostParts,
        " parts, or the names of their backends: 'data:2', 'pipeline:cpu,opencl'"));
  };
  const std::pair<absl::string_view, absl::string_view> halves =
      absl::StrSplit(text, absl::MaxSplits(':', 1));
  for (const ParallelMode mode :
       {ParallelMode::kData, ParallelMode::kTensor, ParallelMode::kPipeline}) {
    if (halves.first == ParallelModeName(mode)) options.mode = mode;
  }
  if (options.mode == ParallelMode::kOff || halves.second.empty()) return wrong();
  if (absl::SimpleAtoi(halves.second, &options.parts)) {
    if (options.parts < 1 || options.parts > kMostParts) return wrong();
    return options;
  }
  for (const absl::string_view name : absl::StrSplit(halves.second, ',')) {
    if (!IsBackendName(name)) return wrong();
    options.backends.emplace_back(name);
  }
  if (options.backends.size() > size_t{kMostParts}) return wrong();
  options.parts = static_cast<int>(options.backends.size());
  return options;
}

}  // namespace bitmill
