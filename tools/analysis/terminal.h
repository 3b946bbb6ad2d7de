// The terminal as a screen: keys as they are typed, lines drawn in place.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace bitmill {

struct ScreenSize {
  size_t columns = 80, rows = 24;
};

// One thread.
class Terminal {
 public:
  // Takes standard input and output over: another screen, no echo, no cursor. SIGINT, SIGTERM,
  // SIGHUP and SIGWINCH are blocked in the calling thread, so call it before any other thread is
  // started. FailedPrecondition when either is no terminal.
  static absl::StatusOr<std::unique_ptr<Terminal>> Open();
  // Gives the terminal back as it was.
  ~Terminal();
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;

  ScreenSize size() const;

  // The next key as its byte, or one of these; 0 when none came within `wait`, when the size
  // changed, or for other keys that send several bytes; kEnd when a signal asks for the end or
  // nothing can be read any more.
  static constexpr int kEnd = -1;
  static constexpr int kUp = 256, kDown = 257, kPageUp = 258, kPageDown = 259;
  static constexpr int kHome = 260, kLast = 261;  // the keys Home and End
  int WaitKey(absl::Duration wait);

  // Replaces what is shown.
  void Show(const std::vector<std::string>& lines);

 private:
  struct Saved;
  Terminal(std::unique_ptr<Saved> saved, int signal_fd);

  const std::unique_ptr<Saved> saved_;
  const int signal_fd_;
};

}  // namespace bitmill
