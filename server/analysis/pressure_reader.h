// A file of pressure stall information, kept open.
#pragma once

#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/pseudo_file.h"
#include "server/analysis/proc_text.h"
#include "server/analysis/running_total.h"

namespace bitmill {

// Used by one thread.
class PressureReader {
 public:
  PressureReader() = default;  // no file: -1
  explicit PressureReader(const std::string& path) : file_(path) {}

  // Goes on with another file, of another control group.
  void Open(const std::string& path) {
    file_ = PseudoFile(path);
    some_.Rebase();
    full_.Rebase();
  }
  // Since the first call; -1: cannot be read.
  Pressure Read(absl::Span<char> buffer) {
    const std::optional<absl::string_view> text = file_.Read(buffer);
    const std::optional<Pressure> now = text ? ParsePressure(*text) : std::nullopt;
    some_.Add(now ? std::optional(now->some_us) : std::nullopt);
    full_.Add(now && now->full_us >= 0 ? std::optional(now->full_us) : std::nullopt);
    return {some_.value(), full_.value()};
  }

 private:
  PseudoFile file_;
  RunningTotal some_, full_;
};

}  // namespace bitmill
