#include "server/shutdown_signal.h"

#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/this_thread.h"

namespace bitmill {

absl::StatusOr<std::unique_ptr<ShutdownSignal>> ShutdownSignal::Create(
    std::function<void(int)> on_first, double limit_seconds) {
  // A client that goes away while an answer is written is no reason to die.
  signal(SIGPIPE, SIG_IGN);
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGINT);
  if (const int error = pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
    return ErrnoToStatus(error, "block", "signals");
  }
  const int signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
  if (signal_fd < 0) return ErrnoToStatus(errno, "open", "signal descriptor");
  const int stop_fd = eventfd(0, EFD_CLOEXEC);
  if (stop_fd < 0) {
    const int error = errno;
    close(signal_fd);
    return ErrnoToStatus(error, "open", "event descriptor");
  }
  return std::unique_ptr<ShutdownSignal>(
      new ShutdownSignal(signal_fd, stop_fd, std::move(on_first), limit_seconds));
}

ShutdownSignal::ShutdownSignal(int signal_fd, int stop_fd, std::function<void(int)> on_first,
                               double limit_seconds)
    : signal_fd_(signal_fd),
      stop_fd_(stop_fd),
      on_first_(std::move(on_first)),
      limit_seconds_(limit_seconds),
      thread_([this] { Run(); }) {}

ShutdownSignal::~ShutdownSignal() {
  const uint64_t one = 1;
  static_cast<void>(!write(stop_fd_, &one, sizeof(one)));
  thread_.join();
  close(signal_fd_);
  close(stop_fd_);
}

void ShutdownSignal::Run() {
  NameThisThread("signals");
  const SystemClock clock;
  int64_t end_ms = -1;  // of the grace period; -1: no signal yet
  while (true) {
    pollfd fds[] = {{signal_fd_, POLLIN, 0}, {stop_fd_, POLLIN, 0}};
    int wait_ms = -1;
    if (end_ms >= 0) {
      wait_ms = static_cast<int>(std::clamp<int64_t>(end_ms - clock.Now() / 1'000'000, 0, 60'000));
    }
    const int ready = poll(fds, 2, wait_ms);
    if (ready < 0 && errno == EINTR) continue;
    if ((fds[1].revents & POLLIN) != 0) return;
    if ((fds[0].revents & POLLIN) != 0) {
      signalfd_siginfo info{};
      if (read(signal_fd_, &info, sizeof(info)) != sizeof(info)) continue;
      const int number = static_cast<int>(info.ssi_signo);
      if (end_ms >= 0) {
        LogWarning("second signal: ending at once");
        _exit(128 + number);
      }
      end_ms = clock.Now() / 1'000'000 + static_cast<int64_t>(limit_seconds_ * 1000);
      on_first_(number);
      continue;
    }
    if (end_ms >= 0 && clock.Now() / 1'000'000 >= end_ms) {
      LogError(absl::StrCat("the grace period of ", limit_seconds_, " s is over: ending at once"));
      _exit(1);
    }
  }
}

}  // namespace bitmill
