// Stands in for the compiler's header when AVX-512 files are built for machines without it: the
// intrinsics up to AVX2 are the compiler's, those of AVX-512 are SIMDe's.
#pragma once

#include_next <immintrin.h>

#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
