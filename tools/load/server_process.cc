#include "tools/load/server_process.h"

#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace bitmill {
namespace {

// Names of the entries of a folder that are numbers: processes, or descriptors.
std::vector<int> NumberedEntries(const std::string& folder) {
  std::vector<int> numbers;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(opendir(folder.c_str()), &closedir);
  if (dir == nullptr) return numbers;
  while (const dirent* entry = readdir(dir.get())) {
    int number = 0;
    if (absl::SimpleAtoi(entry->d_name, &number)) numbers.push_back(number);
  }
  return numbers;
}

// Inode of the socket that listens on `port`, from a table of the kernel; 0 when there is none.
// A line is: slot, local address:port, remote address:port, state, queues, timer, retransmits,
// user, timeout, inode.
uint64_t ListeningInode(const char* table, int port) {
  constexpr const char* kListen = "0A";
  std::ifstream file(table);
  std::string line;
  std::getline(file, line);  // titles
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string slot, local, remote, state, queues, timer, retransmits, user, timeout;
    uint64_t inode = 0;
    words >> slot >> local >> remote >> state >> queues >> timer >> retransmits >> user >>
        timeout >> inode;
    const size_t colon = local.rfind(':');
    if (!words || state != kListen || colon == std::string::npos) continue;
    uint32_t local_port = 0;
    if (absl::SimpleHexAtoi(local.substr(colon + 1), &local_port) &&
        local_port == static_cast<uint32_t>(port)) {
      return inode;
    }
  }
  return 0;
}

bool HasDescriptor(int pid, const std::string& target) {
  const std::string folder = absl::StrCat("/proc/", pid, "/fd");
  for (const int fd : NumberedEntries(folder)) {
    char link[64] = {};
    const ssize_t length = readlink(absl::StrCat(folder, "/", fd).c_str(), link, sizeof link - 1);
    if (length > 0 && target == std::string(link, static_cast<size_t>(length))) return true;
  }
  return false;
}

// Parent of a process; 0 when it is gone. The command in parentheses may hold anything, so the
// fields are counted from the last ')'.
int ParentOf(int pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  std::string line;
  std::getline(file, line);
  const size_t end = line.rfind(')');
  if (end == std::string::npos) return 0;
  std::istringstream words(line.substr(end + 1));
  std::string state;
  int parent = 0;
  words >> state >> parent;
  return parent;
}

}  // namespace

std::optional<int> FindListener(int port) {
  uint64_t inode = ListeningInode("/proc/net/tcp", port);
  if (inode == 0) inode = ListeningInode("/proc/net/tcp6", port);
  if (inode == 0) return std::nullopt;
  const std::string target = absl::StrCat("socket:[", inode, "]");
  for (const int pid : NumberedEntries("/proc")) {
    if (HasDescriptor(pid, target)) return pid;
  }
  return std::nullopt;
}

std::optional<int> LoopbackPort(absl::string_view address) {
  for (const char* scheme : {"dns:///", "dns:", "ipv4:", "ipv6:"}) {
    if (absl::ConsumePrefix(&address, scheme)) break;
  }
  const size_t colon = address.rfind(':');
  if (colon == absl::string_view::npos) return std::nullopt;
  const absl::string_view host = address.substr(0, colon);
  int port = 0;
  if (!absl::SimpleAtoi(address.substr(colon + 1), &port) || port < 1 || port > 65535) {
    return std::nullopt;
  }
  if (host == "localhost" || host == "[::1]" || absl::StartsWith(host, "127.")) return port;
  return std::nullopt;
}

std::optional<ServerProcess> ServerProcess::Find(int pid) {
  if (pid <= 0 || ParentOf(pid) == 0) {
    // Process 1 of a container has parent 0 and still counts.
    if (pid <= 0 || access(absl::StrCat("/proc/", pid, "/stat").c_str(), R_OK) != 0) {
      return std::nullopt;
    }
  }
  std::multimap<int, int> children;
  for (const int other : NumberedEntries("/proc")) children.emplace(ParentOf(other), other);
  std::vector<int> pids = {pid};
  for (size_t i = 0; i < pids.size(); ++i) {
    const auto [first, last] = children.equal_range(pids[i]);
    for (auto it = first; it != last; ++it) pids.push_back(it->second);
  }
  return ServerProcess(std::move(pids));
}

int64_t ServerProcess::CpuNanos() const {
  int64_t total = 0;
  for (const int pid : pids_) {
    clockid_t clock = 0;
    timespec time = {};
    if (clock_getcpuclockid(pid, &clock) == 0 && clock_gettime(clock, &time) == 0) {
      total += int64_t{time.tv_sec} * 1'000'000'000 + time.tv_nsec;
    }
  }
  return total;
}

int64_t ServerProcess::RssBytes() const {
  int64_t pages = 0;
  for (const int pid : pids_) {
    std::ifstream file(absl::StrCat("/proc/", pid, "/statm"));
    int64_t size = 0;
    int64_t resident = 0;
    if (file >> size >> resident) pages += resident;
  }
  return pages * sysconf(_SC_PAGESIZE);
}

}  // namespace bitmill
