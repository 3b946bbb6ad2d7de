// Instruction sets that kernels are written for, and what this machine has.
//
// A kernel table lists its implementations best first, each with the level that it needs; the
// first whose level is allowed is taken, once, when a model is compiled.
#pragma once

#include <stdint.h>

namespace bitmill {

// Levels of one family are ordered: a machine that has one has those before it. Only AVX-VNNI is
// missing from the first processors with AVX-512; those with AMX have it.
enum class Isa : uint8_t {
  kRef,            // plain C++
  kAvx2,           // AVX2, FMA, BMI2
  kAvxVnni,        // and AVX-VNNI (Alder Lake and later without AVX-512)
  kAvx512,         // AVX2 and AVX-512 F, BW, DQ, VL
  kAvx512Vpopcnt,  // and VPOPCNTDQ, VNNI, VBMI (Ice Lake, Zen 4 and later)
  kAmx,            // and AMX tiles of int8, GFNI (Sapphire Rapids and later)
  kNeon,           // 64-bit Arm
};

inline constexpr Isa kAllIsas[] = {Isa::kRef,           Isa::kAvx2, Isa::kAvxVnni, Isa::kAvx512,
                                   Isa::kAvx512Vpopcnt, Isa::kAmx,  Isa::kNeon};

// "ref", "avx2", "avxvnni", "avx512", "avx512vpopcnt", "amx", "neon".
const char* IsaName(Isa isa);
// "auto, ref, avx2, ..., or neon": what an option takes, for its help.
const char* IsaChoices();
// False for an unknown name; "auto" is not a level (use BestIsa).
bool ParseIsa(const char* name, Isa* isa);
// The highest level of this machine (CPUID and operating system support). Where there are tiles,
// the first call asks Linux for leave to use them, for the whole process.
Isa BestIsa();
// Whether code for `needed` may run where `allowed` is the highest level in use.
bool IsaAllows(Isa allowed, Isa needed);
// "AMD EPYC", from the machine; "unknown" when it does not say. Static storage.
const char* CpuModelName();

}  // namespace bitmill
