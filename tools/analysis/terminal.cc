#include "tools/analysis/terminal.h"

#include <poll.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <termios.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "base/file.h"

namespace bitmill {
namespace {

constexpr absl::string_view kEnter = "\x1b[?1049h\x1b[?25l";
constexpr absl::string_view kLeave = "\x1b[?25h\x1b[?1049l";
constexpr char kEscape = '\x1b';
constexpr int kCtrlC = 3, kCtrlD = 4;

void WriteAll(absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = write(STDOUT_FILENO, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return;  // the terminal is gone: reading finds out
    bytes.remove_prefix(static_cast<size_t>(written));
  }
}

// What was typed in one go, which begins with an escape.
int KeyOfSequence(absl::string_view typed) {
  struct Sequence {
    absl::string_view bytes;
    int key;
  };
  constexpr std::array kSequences = std::to_array<Sequence>({{"[A", Terminal::kUp},
                                                             {"OA", Terminal::kUp},
                                                             {"[B", Terminal::kDown},
                                                             {"OB", Terminal::kDown},
                                                             {"[5~", Terminal::kPageUp},
                                                             {"[6~", Terminal::kPageDown},
                                                             {"[H", Terminal::kHome},
                                                             {"OH", Terminal::kHome},
                                                             {"[1~", Terminal::kHome},
                                                             {"[F", Terminal::kLast},
                                                             {"OF", Terminal::kLast},
                                                             {"[4~", Terminal::kLast}});
  typed.remove_prefix(1);
  for (const Sequence& sequence : kSequences) {
    if (absl::StartsWith(typed, sequence.bytes)) return sequence.key;
  }
  return 0;
}

}  // namespace

struct Terminal::Saved {
  termios settings{};
};

absl::StatusOr<std::unique_ptr<Terminal>> Terminal::Open() {
  auto saved = std::make_unique<Saved>();
  if (isatty(STDOUT_FILENO) != 1 || tcgetattr(STDIN_FILENO, &saved->settings) != 0) {
    return absl::FailedPreconditionError("standard input and output are no terminal");
  }
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTERM, SIGHUP, SIGWINCH}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signal_fd < 0) return ErrnoToStatus(errno, "cannot watch for signals", "signalfd");

  termios raw = saved->settings;
  raw.c_lflag &= ~static_cast<tcflag_t>(ECHO | ICANON | ISIG | IEXTEN);
  raw.c_iflag &= ~static_cast<tcflag_t>(IXON | ICRNL);
  raw.c_cc[VMIN] = 0;
  raw.c_cc[VTIME] = 0;
  tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  WriteAll(kEnter);
  return std::unique_ptr<Terminal>(new Terminal(std::move(saved), signal_fd));
}

Terminal::Terminal(std::unique_ptr<Saved> saved, int signal_fd)
    : saved_(std::move(saved)), signal_fd_(signal_fd) {}

Terminal::~Terminal() {
  WriteAll(kLeave);
  tcsetattr(STDIN_FILENO, TCSANOW, &saved_->settings);
  close(signal_fd_);
}

ScreenSize Terminal::size() const {
  winsize size{};
  if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col == 0 || size.ws_row == 0) {
    return {};
  }
  return {size.ws_col, size.ws_row};
}

int Terminal::WaitKey(absl::Duration wait) {
  std::array<pollfd, 2> watched = {{{STDIN_FILENO, POLLIN, 0}, {signal_fd_, POLLIN, 0}}};
  const int ready =
      poll(watched.data(), watched.size(), static_cast<int>(absl::ToInt64Milliseconds(wait)));
  if (ready <= 0) return 0;
  if (watched[1].revents != 0) {
    signalfd_siginfo signal{};
    const ssize_t bytes = read(signal_fd_, &signal, sizeof(signal));
    if (bytes == sizeof(signal)) return signal.ssi_signo == SIGWINCH ? 0 : kEnd;
  }
  if (watched[0].revents == 0) return 0;
  std::array<char, 64> typed{};
  const ssize_t bytes = read(STDIN_FILENO, typed.data(), typed.size());
  if (bytes <= 0) return kEnd;
  const char key = typed[0];
  if (key == kEscape) return KeyOfSequence({typed.data(), static_cast<size_t>(bytes)});
  return key == kCtrlC || key == kCtrlD ? kEnd : static_cast<unsigned char>(key);
}

void Terminal::Show(const std::vector<std::string>& lines) {
  std::string screen = "\x1b[H";
  for (size_t i = 0; i < lines.size(); ++i) {
    // Cleared before it is written: after a full line the cursor still stands on its last column.
    absl::StrAppend(&screen, i == 0 ? "" : "\r\n", "\x1b[K", lines[i]);
  }
  if (lines.size() < size().rows) absl::StrAppend(&screen, "\r\n\x1b[J");
  WriteAll(screen);
}

}  // namespace bitmill
