# Headers of others that nearly every file reads, compiled once (BITMILL_PCH). Only the standard library, Abseil and
# GoogleTest: a file still includes what it uses, which the builds without BITMILL_PCH check.
#
# bitmill_precompile(<target> library|test|computing_test): the files of this target read them compiled.
if(NOT BITMILL_PCH)
  function(bitmill_precompile)
  endfunction()
  return()
endif()

set(BITMILL_COMMON_HEADERS
  <algorithm> <array> <atomic> <cmath> <cstdint> <cstring> <functional> <limits> <map> <memory> <optional> <string>
  <utility> <vector>
  <absl/status/status.h> <absl/status/statusor.h> <absl/strings/match.h> <absl/strings/numbers.h>
  <absl/strings/str_cat.h> <absl/strings/str_format.h> <absl/strings/str_join.h> <absl/strings/string_view.h>
  <absl/types/span.h>)

# A compiled header serves files of the same options alone: libraries are compiled as -fPIC and programs as -fPIE, and
# with sanitizers most tests are not optimized.
file(WRITE ${PROJECT_BINARY_DIR}/precompiled/empty.cc "int main() {}\n")
function(bitmill_precompiled_headers name)
  target_link_libraries(${name} PRIVATE bitmill_options absl::statusor absl::strings absl::str_format absl::span)
  target_precompile_headers(${name} PRIVATE ${BITMILL_COMMON_HEADERS} ${ARGN})
endfunction()

add_library(bitmill_precompiled_library STATIC EXCLUDE_FROM_ALL ${PROJECT_BINARY_DIR}/precompiled/empty.cc)
bitmill_precompiled_headers(bitmill_precompiled_library)
if(BITMILL_TESTS)
  find_package(GTest REQUIRED)
  foreach(kind test computing_test)
    add_executable(bitmill_precompiled_${kind} EXCLUDE_FROM_ALL ${PROJECT_BINARY_DIR}/precompiled/empty.cc)
    target_link_libraries(bitmill_precompiled_${kind} PRIVATE GTest::gmock GTest::gtest)
    bitmill_precompiled_headers(bitmill_precompiled_${kind} <gmock/gmock.h> <gtest/gtest.h>)
  endforeach()
  target_compile_options(bitmill_precompiled_test PRIVATE ${BITMILL_UNOPTIMIZED})
endif()

function(bitmill_precompile target kind)
  target_precompile_headers(${target} REUSE_FROM bitmill_precompiled_${kind})
endfunction()
