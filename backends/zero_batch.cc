#include "backends/zero_batch.h"

#include "absl/strings/str_cat.h"

namespace bitmill {
namespace {

// Of this machine, weights with so many contexts.
int64_t HostBytes(const Executable& executable, int64_t contexts) {
  int64_t bytes = 0;
  for (const MemoryUse& use : executable.memory(contexts)) {
    if (use.device == kHostMemory) bytes += use.bytes;
  }
  return bytes;
}

}  // namespace

absl::Status CheckTrialFits(absl::Span<const Executable* const> executables, int64_t rows,
                            int64_t working_bytes) {
  if (working_bytes == 0) return absl::OkStatus();
  int64_t bytes = 0;
  for (const Executable* const executable : executables) {
    bytes += HostBytes(*executable, 1) - HostBytes(*executable, 0);
  }
  const Signature& signature = executables.front()->signature();
  for (const TensorSpec& input : signature.inputs) bytes += input.row_bytes;
  for (const TensorSpec& output : signature.outputs) bytes += rows * output.row_bytes;
  if (bytes <= working_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "measuring batches of ", rows, " takes ", bytes, " bytes of working memory, at most ",
      working_bytes, " are allowed (the memory budget)"));
}

}  // namespace bitmill
