# A kernel file's ending names its instruction set; bitmill_add_isa_source gives it exactly those
# flags. kernels/isa.h knows the same names at run time. Files for another processor family are
# left out; kernels/*/..._table.cc guards its entries by the same macros (BITMILL_X86, BITMILL_ARM).
set(BITMILL_ISA_FLAGS_avx2 -mavx2 -mfma -mbmi -mbmi2 -mpopcnt)
set(BITMILL_ISA_FLAGS_avxvnni ${BITMILL_ISA_FLAGS_avx2} -mavxvnni)
# g++ 12 takes the deliberately undefined operands of its own AVX-512 intrinsics for mistakes.
set(BITMILL_ISA_FLAGS_avx512 ${BITMILL_ISA_FLAGS_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl
  "$<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized;-Wno-uninitialized>")
set(BITMILL_ISA_FLAGS_avx512vpopcnt ${BITMILL_ISA_FLAGS_avx512} -mavx512vpopcntdq -mavx512vnni
  -mavx512vbmi)
set(BITMILL_ISA_FLAGS_amx ${BITMILL_ISA_FLAGS_avx512vpopcnt} -mgfni -mamx-tile
  -mamx-int8)
set(BITMILL_ISA_FLAGS_neon)
set(BITMILL_ISA_FLAGS_neondot -march=armv8.2-a+dotprod)

function(bitmill_add_isa_source target)
  foreach(source IN LISTS ARGN)
    string(REGEX MATCH "_(avx2|avxvnni|avx512|avx512vpopcnt|amx|neon)[a-z0-9]*\\.cc$" ending ${source})
    if(NOT ending)
      message(FATAL_ERROR "${source}: the file name does not end in an instruction set")
    endif()
    string(REGEX REPLACE ".*_(avx512vpopcnt|avx512|avxvnni|avx2|amx|neondot|neon)\\.cc$" "\\1" isa ${source})
    if(isa MATCHES "^neon")
      set(family ARM)
    else()
      set(family X86)
    endif()
    if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64" AND family STREQUAL "X86" OR
       CMAKE_SYSTEM_PROCESSOR MATCHES "aarch64|arm64" AND family STREQUAL "ARM")
      target_sources(${target} PRIVATE ${source})
      set_source_files_properties(${source} PROPERTIES COMPILE_OPTIONS "${BITMILL_ISA_FLAGS_${isa}}")
    endif()
  endforeach()
endfunction()
