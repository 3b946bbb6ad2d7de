// What the subcommands share: errors of one line, exit statuses, a progress bar, colours.
#pragma once

#include <cstdio>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace bitmill {

enum ExitStatus : int {
  kExitOk = 0,
  kExitFailure = 1,  // it did not work
  kExitMisuse = 2,   // it was not asked for in a way that could work
};

// Writes "bitmill: <what is wrong>; <what to do>" to standard error; `what_to_do` may be empty.
// Control characters are escaped. Returns `status`, to be returned from main().
int PrintError(absl::string_view what_is_wrong, absl::string_view what_to_do,
               ExitStatus status = kExitFailure);

// True for a terminal that can show colours and move back, unless NO_COLOR is set.
bool IsRichTerminal(std::FILE* stream);

// `text` as it is when `stream` is no rich terminal.
std::string Bold(std::FILE* stream, absl::string_view text);
std::string Green(std::FILE* stream, absl::string_view text);
std::string Red(std::FILE* stream, absl::string_view text);

// A bar on standard error, on a terminal only; gone when destroyed. One thread.
//
//   fmnist_tfc_w1a1, 64 in flight  [#########.................]  36 %
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  // `fraction` of the work that is done, 0 to 1. Cheap to call often: draws only what changed.
  void Update(double fraction);
  // For several pieces of work one after another.
  void SetLabel(std::string label);

 private:
  void Draw();

  const bool shown_;
  std::string label_;
  double fraction_ = 0;
  int drawn_percent_ = -1;
};

}  // namespace bitmill
