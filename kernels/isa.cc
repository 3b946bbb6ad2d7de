#include "kernels/isa.h"

#include <stdio.h>
#include <string.h>

#if defined(BITMILL_X86)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

namespace bitmill {
namespace {

constexpr const char* kNames[] = {"ref",           "avx2", "avxvnni", "avx512",
                                  "avx512vpopcnt", "amx",  "neon"};
constexpr int kNameCount = sizeof(kNames) / sizeof(kNames[0]);
constexpr size_t kModelNameBytes = 64;

struct ModelName {
  char text[kModelNameBytes] = "unknown";
};

// Copies without leading, trailing and repeated blanks; an empty text leaves `name` as it is.
void SetName(const char* text, ModelName* name) {
  size_t used = 0;
  for (; *text != '\0' && *text != '\n' && used + 1 < kModelNameBytes; ++text) {
    const bool blank = *text == ' ' || *text == '\t';
    if (blank && (used == 0 || name->text[used - 1] == ' ')) continue;
    name->text[used++] = blank ? ' ' : *text;
  }
  if (used > 0 && name->text[used - 1] == ' ') --used;
  if (used > 0) name->text[used] = '\0';
}

#if defined(BITMILL_X86)
// The brand string of CPUID leaves 0x80000002 to 0x80000004, 16 bytes each.
ModelName ReadModelName() {
  constexpr unsigned kFirstLeaf = 0x80000002;
  constexpr unsigned kLeaves = 3;
  ModelName name;
  unsigned words[kLeaves * 4 + 1] = {};
  for (unsigned i = 0; i < kLeaves; ++i) {
    unsigned* w = words + i * 4;
    if (__get_cpuid(kFirstLeaf + i, &w[0], &w[1], &w[2], &w[3]) == 0) return name;
  }
  char text[sizeof(words)];
  memcpy(text, words, sizeof(words));
  SetName(text, &name);
  return name;
}

bool HasAvxVnni() {
  constexpr unsigned kAvxVnni = 1U << 4;  // of eax
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a & kAvxVnni) != 0;
}

// AMX-TILE, AMX-INT8 and GFNI in the processor, and the operating system grants the state of the
// tiles: Linux keeps no room for it (8 KiB a thread) until a process asks (arch/x86/xstate.rst).
bool HasTiles() {
  constexpr unsigned kAmxTile = 1U << 24, kAmxInt8 = 1U << 25;  // of edx
  constexpr unsigned kGfni = 1U << 8;                           // of ecx
  constexpr long kRequestPermission = 0x1023;                   // ARCH_REQ_XCOMP_PERM
  constexpr long kTileData = 18;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & kAmxTile) == 0 || (d & kAmxInt8) == 0 || (c & kGfni) == 0) return false;
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}
#else
// Linux says it in /proc/cpuinfo, under one of two keys, or not at all.
ModelName ReadModelName() {
  ModelName name;
  FILE* file = fopen("/proc/cpuinfo", "r");
  if (file == nullptr) return name;
  char line[256];
  while (fgets(line, sizeof(line), file) != nullptr) {
    const bool named = strncmp(line, "model name", 10) == 0 || strncmp(line, "Model", 5) == 0;
    const char* colon = strchr(line, ':');
    if (named && colon != nullptr) SetName(colon + 1, &name);
  }
  fclose(file);
  return name;
}
#endif

}  // namespace

const char* IsaName(Isa isa) {
  const int index = static_cast<int>(isa);
  return index < kNameCount ? kNames[index] : "unknown";
}

const char* IsaChoices() { return "auto, ref, avx2, avxvnni, avx512, avx512vpopcnt, amx or neon"; }

bool ParseIsa(const char* name, Isa* isa) {
  for (int i = 0; i < kNameCount; ++i) {
    if (strcmp(name, kNames[i]) == 0) {
      *isa = static_cast<Isa>(i);
      return true;
    }
  }
  return false;
}

Isa BestIsa() {
#if defined(BITMILL_X86)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                    __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                    __builtin_cpu_supports("popcnt");
  if (!avx2) return Isa::kRef;
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) return HasAvxVnni() ? Isa::kAvxVnni : Isa::kAvx2;
  const bool vpopcnt = __builtin_cpu_supports("avx512vpopcntdq") &&
                       __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vbmi");
  if (!vpopcnt) return Isa::kAvx512;
  static const bool tiles = HasAvxVnni() && HasTiles();
  return tiles ? Isa::kAmx : Isa::kAvx512Vpopcnt;
#elif defined(BITMILL_ARM)
  return Isa::kNeon;  // part of every 64-bit Arm
#else
  return Isa::kRef;
#endif
}

bool IsaAllows(Isa allowed, Isa needed) {
  if (needed == Isa::kRef) return true;
  if (allowed == Isa::kNeon || needed == Isa::kNeon) return allowed == needed;
  if (needed == Isa::kAvxVnni) return allowed == needed || allowed == Isa::kAmx;
  return needed <= allowed;
}

const char* CpuModelName() {
  static const ModelName name = ReadModelName();
  return name.text;
}

}  // namespace bitmill
