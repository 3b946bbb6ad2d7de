# Language level, build type, compiler cache and linker; everything here has a sensible fallback.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

find_program(BITMILL_CCACHE ccache)
if(BITMILL_CCACHE AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${BITMILL_CCACHE})
endif()

# mold links the test binaries in a tenth of the time; the default linker works too.
find_program(BITMILL_MOLD mold)
add_library(bitmill_options INTERFACE)
if(BITMILL_MOLD AND NOT CMAKE_CROSSCOMPILING)
  target_link_options(bitmill_options INTERFACE -fuse-ld=mold)
endif()
target_include_directories(bitmill_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(bitmill_options INTERFACE -pthread)  # some libraries ask for it, and precompiled headers for one answer
target_compile_features(bitmill_options INTERFACE cxx_std_20)
target_compile_options(bitmill_options INTERFACE
  -Wall -Wextra -Wshadow -Wnon-virtual-dtor -Wvla
  -ffp-contract=off          # the same floating-point result on every instruction set
  -fstack-protector-strong
  $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
  # g++ 12 takes the inline storage of a moved absl::InlinedVector for uninitialized; clang still looks.
  $<$<CXX_COMPILER_ID:GNU>:-Wno-maybe-uninitialized> $<$<CXX_COMPILER_ID:GNU>:-Wno-uninitialized>
  $<$<BOOL:${BITMILL_WERROR}>:-Werror>)
target_compile_definitions(bitmill_options INTERFACE
  BITMILL_VERSION="${PROJECT_VERSION}" $<$<CONFIG:Debug>:_GLIBCXX_ASSERTIONS>)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
  target_compile_options(bitmill_options INTERFACE -march=x86-64-v2)
endif()
if(BITMILL_SANITIZE)
  target_compile_options(bitmill_options INTERFACE
    -fsanitize=${BITMILL_SANITIZE} -fno-omit-frame-pointer -fno-sanitize-recover=all
    # In instrumented code g++ 12 finds array bounds that are not there; the release build still looks.
    $<$<CXX_COMPILER_ID:GNU>:-Wno-array-bounds> $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overflow>
    $<$<CXX_COMPILER_ID:GNU>:-Wno-stringop-overread>)
  target_link_options(bitmill_options INTERFACE -fsanitize=${BITMILL_SANITIZE})
  target_compile_definitions(bitmill_options INTERFACE BITMILL_SANITIZED=1)
  # Compiling takes longer than running: what only asks the product, or is generated, is not optimized.
  set(BITMILL_UNOPTIMIZED -O0)
  if(BITMILL_SANITIZE MATCHES "thread")
    # Protobuf's map fields have two more members where __SANITIZE_THREAD__ is defined, but the distribution's library
    # was built without: the layouts would differ. The standard library is told by the name that it makes of it.
    target_compile_options(bitmill_options INTERFACE -U__SANITIZE_THREAD__)
    target_compile_definitions(bitmill_options INTERFACE _GLIBCXX_TSAN=1 BITMILL_THREAD_SANITIZER=1)
  endif()
endif()
