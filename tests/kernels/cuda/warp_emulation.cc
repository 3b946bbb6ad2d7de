#include "tests/kernels/cuda/warp_emulation.h"

#include <ucontext.h>

#include <bit>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "tests/kernels/cuda/group_matrix.h"

namespace bitmill::cuda_emulation {
namespace {

constexpr int kLanes = 32;
constexpr int kGroupThreads = 128, kGroupRows = 64;  // of a product of four warps
constexpr size_t kStackBytes = 128 * 1024;

enum class Waiting { kRunning, kSync, kShuffle, kProducts, kGroupProducts, kFinished };

struct Product {
  bool bits = false;
  int* c = nullptr;
  uint32_t a[4] = {}, b[2] = {};
};

struct QueuedGroupProduct {
  bool bits = false;
  int columns = 0;
  int* c = nullptr;
  uint64_t a = 0, b = 0;
  std::vector<unsigned char> operands;  // of the first thread: as they were when it was queued
};

struct PendingCopy {
  unsigned char* to = nullptr;
  unsigned char data[16] = {};
  int bytes = 0;
};

struct Fiber {
  ucontext_t context{};
  std::unique_ptr<char[]> stack{new char[kStackBytes]};
  Waiting waiting = Waiting::kRunning;
  uint32_t value = 0;  // of a shuffle: what is given, then what is got
  int xor_lanes = 0;
  std::vector<Product> products;
  std::vector<std::vector<PendingCopy>> groups{1};  // of copies; the last is not committed
  std::vector<std::vector<QueuedGroupProduct>> group_products{1};  // likewise
  int pending = 0;                                                 // that WaitProducts() leaves
  bool unpublished = false;  // wrote to shared memory since Publish()
  bool begun = false;        // products may follow
};

struct Group {
  int x = 0, y = 0;
  std::vector<unsigned char> memory;
  unsigned char* shared = nullptr;
  int64_t shared_bytes = 0;
  std::vector<Fiber> fibers;
  int running = 0;
  ucontext_t scheduler{};
  const std::function<void()>* thread = nullptr;
};

thread_local Group group;

[[noreturn]] void Stop(const char* what) {
  std::fprintf(stderr, "emulated group: %s\n", what);
  std::abort();
}

Fiber& Running() { return group.fibers[static_cast<size_t>(group.running)]; }

void YieldAs(Waiting waiting) {
  Fiber& fiber = Running();
  fiber.waiting = waiting;
  swapcontext(&fiber.context, &group.scheduler);
}

void Main() {
  (*group.thread)();
  YieldAs(Waiting::kFinished);
}

// A is 16 rows of 8 words of 32 bits (b1) or of 4 bytes (8 bits), B 8 such columns. Register i of
// A holds row lane / 4, 8 more for odd i, and word lane % 4, 4 more from i = 2 on; register i of B
// column lane / 4 and word lane % 4 + 4 i; accumulator i row lane / 4 + i / 2 * 8 and column
// lane % 4 * 2 + i % 2.
void Multiply(Fiber* lanes, size_t number) {
  uint32_t a[16][8], b[8][8];
  for (int lane = 0; lane < kLanes; ++lane) {
    const Product& product = lanes[lane].products[number];
    for (int i = 0; i < 4; ++i) a[lane / 4 + i % 2 * 8][lane % 4 + i / 2 * 4] = product.a[i];
    for (int i = 0; i < 2; ++i) b[lane / 4][lane % 4 + i * 4] = product.b[i];
  }
  const bool bits = lanes[0].products[number].bits;
  for (int lane = 0; lane < kLanes; ++lane) {
    Product& product = lanes[lane].products[number];
    if (product.bits != bits) Stop("lanes multiply different things");
    for (int i = 0; i < 4; ++i) {
      const uint32_t* const row = a[lane / 4 + i / 2 * 8];
      const uint32_t* const column = b[lane % 4 * 2 + i % 2];
      int sum = 0;
      for (int k = 0; k < 8; ++k) {
        if (bits) {
          sum += std::popcount(row[k] & column[k]);
          continue;
        }
        for (int byte = 0; byte < 4; ++byte) {
          sum += static_cast<int>(row[k] >> (8 * byte) & 255U) *
                 static_cast<int8_t>(column[k] >> (8 * byte) & 255U);
        }
      }
      product.c[i] += sum;
    }
  }
}

void MultiplyAll(Fiber* lanes) {
  const size_t count = lanes[0].products.size();
  for (int lane = 1; lane < kLanes; ++lane) {
    if (lanes[lane].products.size() != count) Stop("a product without all lanes");
  }
  for (size_t i = 0; i < count; ++i) Multiply(lanes, i);
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane].products.clear();
}

// What the lanes of a warp wait for, when all wait for the same thing.
void MeetWarp(Fiber* lanes) {
  const Waiting waiting = lanes[0].waiting;
  if (waiting != Waiting::kShuffle && waiting != Waiting::kProducts) return;
  for (int lane = 1; lane < kLanes; ++lane) {
    if (lanes[lane].waiting != waiting) Stop("the lanes of a warp wait for different things");
  }
  MultiplyAll(lanes);
  if (waiting == Waiting::kShuffle) {
    uint32_t given[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) given[lane] = lanes[lane].value;
    for (int lane = 0; lane < kLanes; ++lane)
      lanes[lane].value = given[lane ^ lanes[lane].xor_lanes];
  }
  for (int lane = 0; lane < kLanes; ++lane) lanes[lane].waiting = Waiting::kRunning;
}

// All lines of an operand, one behind the other.
void ReadOperand(uint64_t descriptor, int lines, std::vector<unsigned char>& bytes) {
  for (int line = 0; line < lines; ++line) {
    for (int byte = 0; byte < kProductBytes; ++byte) {
      const uint32_t offset = GroupMatrixOffset(descriptor, line, byte);
      if (offset >= group.shared_bytes) Stop("a product reads outside of shared memory");
      bytes.push_back(group.shared[offset]);
    }
  }
}

std::vector<unsigned char> ReadOperands(const QueuedGroupProduct& product) {
  std::vector<unsigned char> bytes;
  ReadOperand(product.a, kGroupRows, bytes);
  ReadOperand(product.b, product.columns, bytes);
  return bytes;
}

int LineProduct(bool bits, const unsigned char* a, const unsigned char* b) {
  int sum = 0;
  for (int i = 0; i < kProductBytes; ++i) {
    sum += bits ? std::popcount(static_cast<unsigned>(a[i] & b[i]))
                : static_cast<int>(a[i]) * static_cast<signed char>(b[i]);
  }
  return sum;
}

// Accumulator 4 n + i of lane l of warp w: row 16 w + l / 4 + i / 2 * 8, column
// 8 n + l % 4 * 2 + i % 2.
void MultiplyGroup(Fiber* threads, size_t number) {
  const QueuedGroupProduct& first = threads[0].group_products[0][number];
  const std::vector<unsigned char> operands = ReadOperands(first);
  if (operands != first.operands) Stop("operands changed before their product was waited for");
  for (int t = 0; t < kGroupThreads; ++t) {
    const QueuedGroupProduct& product = threads[t].group_products[0][number];
    if (product.bits != first.bits || product.columns != first.columns || product.a != first.a ||
        product.b != first.b) {
      Stop("threads multiply different things");
    }
    for (int i = 0; i < product.columns / 2; ++i) {
      const int row = t / kLanes * 16 + t % kLanes / 4 + i % 4 / 2 * 8;
      const int column = i / 4 * 8 + t % 4 * 2 + i % 2;
      product.c[i] += LineProduct(first.bits, operands.data() + row * kProductBytes,
                                  operands.data() + (kGroupRows + column) * kProductBytes);
    }
  }
}

// Four warps that all wait for their products.
void MeetWarps(Fiber* threads) {
  for (int t = 0; t < kGroupThreads; ++t) {
    if (threads[t].waiting != Waiting::kGroupProducts) return;
  }
  const size_t groups = threads[0].group_products.size();
  const size_t products = threads[0].group_products[0].size();
  for (int t = 1; t < kGroupThreads; ++t) {
    if (threads[t].group_products.size() != groups || threads[t].pending != threads[0].pending ||
        threads[t].group_products[0].size() != products) {
      Stop("a product without all threads");
    }
  }
  while (static_cast<int>(threads[0].group_products.size()) - 1 > threads[0].pending) {
    for (size_t i = 0; i < threads[0].group_products[0].size(); ++i) MultiplyGroup(threads, i);
    for (int t = 0; t < kGroupThreads; ++t) {
      threads[t].group_products.erase(threads[t].group_products.begin());
    }
  }
  for (int t = 0; t < kGroupThreads; ++t) threads[t].waiting = Waiting::kRunning;
}

void MakeCopies(std::vector<PendingCopy>& copies) {
  for (const PendingCopy& copy : copies) {
    std::memcpy(copy.to, copy.data, static_cast<size_t>(copy.bytes));
  }
}

bool MeetGroup(int threads) {
  int synced = 0, finished = 0;
  for (int t = 0; t < threads; ++t) {
    synced += group.fibers[static_cast<size_t>(t)].waiting == Waiting::kSync;
    finished += group.fibers[static_cast<size_t>(t)].waiting == Waiting::kFinished;
  }
  if (finished == threads) {
    for (int t = 0; t < threads; ++t) {
      const Fiber& fiber = group.fibers[static_cast<size_t>(t)];
      if (fiber.group_products.size() > 1 || !fiber.group_products[0].empty()) {
        Stop("products that nobody waited for");
      }
    }
    return false;
  }
  if (synced + finished < threads) return true;
  if (finished > 0) Stop("a thread ended while others wait for it");
  for (int t = 0; t < threads; ++t) {
    group.fibers[static_cast<size_t>(t)].waiting = Waiting::kRunning;
  }
  for (int t = 0; t < threads; t += kLanes) MultiplyAll(&group.fibers[static_cast<size_t>(t)]);
  return true;
}

}  // namespace

void RunGroup(int x, int y, int threads, int shared_bytes, const std::function<void()>& thread) {
  if (threads % kLanes != 0) Stop("a group is whole warps");
  group.x = x;
  group.y = y;
  group.thread = &thread;
  // An exact allocation, so that sanitizers see what lies behind it.
  group.memory.assign(static_cast<size_t>(shared_bytes), 0xa5);
  group.shared = group.memory.data();
  group.shared_bytes = shared_bytes;
  if (group.fibers.size() < static_cast<size_t>(threads)) {
    group.fibers = std::vector<Fiber>(static_cast<size_t>(threads));
  }
  for (int t = 0; t < threads; ++t) {
    Fiber& fiber = group.fibers[static_cast<size_t>(t)];
    fiber.waiting = Waiting::kRunning;
    fiber.groups.assign(1, {});
    fiber.group_products.assign(1, {});
    fiber.unpublished = fiber.begun = false;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = fiber.stack.get();
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = &group.scheduler;
    makecontext(&fiber.context, Main, 0);
  }
  do {
    bool ran = false;
    for (int t = 0; t < threads; ++t) {
      Fiber& fiber = group.fibers[static_cast<size_t>(t)];
      if (fiber.waiting != Waiting::kRunning) continue;
      ran = true;
      group.running = t;
      swapcontext(&group.scheduler, &fiber.context);
    }
    if (!ran) Stop("threads wait for others that have ended");
    for (int t = 0; t < threads; t += kLanes) MeetWarp(&group.fibers[static_cast<size_t>(t)]);
    for (int t = 0; t + kGroupThreads <= threads; t += kGroupThreads) {
      MeetWarps(&group.fibers[static_cast<size_t>(t)]);
    }
  } while (MeetGroup(threads));
}

int Thread() { return group.running; }
int TileX() { return group.x; }
int TileY() { return group.y; }

unsigned char* Shared(int64_t* bytes) {
  if (bytes != nullptr) *bytes = group.shared_bytes;
  return group.shared;
}

void Sync() { YieldAs(Waiting::kSync); }

uint32_t ShuffleXor(uint32_t value, int lanes) {
  Fiber& fiber = Running();
  fiber.value = value;
  fiber.xor_lanes = lanes;
  YieldAs(Waiting::kShuffle);
  return fiber.value;
}

void Copy(unsigned char* to, const unsigned char* from, int bytes, bool inside) {
  if (reinterpret_cast<uintptr_t>(from) % static_cast<uintptr_t>(bytes) != 0 ||
      (to - group.shared) % bytes != 0) {
    Stop("a copy that is not aligned");
  }
  if (to < group.shared || to + bytes > group.shared + group.shared_bytes) {
    Stop("a copy outside of shared memory");
  }
  PendingCopy copy;
  copy.to = to;
  copy.bytes = bytes;
  if (inside) std::memcpy(copy.data, from, static_cast<size_t>(bytes));
  Running().groups.back().push_back(copy);
}

void Commit() { Running().groups.emplace_back(); }

void Wait(int pending) {
  std::vector<std::vector<PendingCopy>>& groups = Running().groups;
  while (static_cast<int>(groups.size()) - 1 > pending) {
    if (!groups.front().empty()) Running().unpublished = true;
    MakeCopies(groups.front());
    groups.erase(groups.begin());
  }
}

void MmaBits(int* c, const uint32_t* a, const uint32_t* b) {
  Running().products.push_back({true, c, {a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
}

void MmaBytes(int* c, const uint32_t* a, const uint32_t* b) {
  Running().products.push_back({false, c, {a[0], a[1], a[2], a[3]}, {b[0], b[1]}});
}

void Done() { YieldAs(Waiting::kProducts); }

uint32_t SharedOffset(const unsigned char* shared) {
  return static_cast<uint32_t>(shared - group.shared);
}

void Stored() { Running().unpublished = true; }

void Publish() { Running().unpublished = false; }

void Begin() { Running().begun = true; }

// The first thread runs first after a barrier: what the others wrote before that is theirs to have
// published, what they write after it is not there yet.
void GroupProduct(bool bits, int columns, int* c, uint64_t a, uint64_t b) {
  Fiber& fiber = Running();
  if (!fiber.begun) Stop("a product that nothing began");
  QueuedGroupProduct product{bits, columns, c, a, b, {}};
  if (group.running % kGroupThreads == 0) {
    for (const Fiber& other : group.fibers) {
      if (other.unpublished) Stop("a product of shared memory that was not published");
    }
    product.operands = ReadOperands(product);
  }
  fiber.group_products.back().push_back(std::move(product));
}

void CommitProducts() {
  Running().group_products.emplace_back();
  Running().begun = false;
}

void WaitProducts(int pending) {
  Running().pending = pending;
  YieldAs(Waiting::kGroupProducts);
}

}  // namespace bitmill::cuda_emulation
