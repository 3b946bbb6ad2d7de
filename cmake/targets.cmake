# bitmill_library(<name> SOURCES ... [PUBLIC libs] [PRIVATE libs]): one static library a folder.
# With only PUBLIC libs and no sources it is an interface library.
function(bitmill_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  if(ARG_SOURCES)
    add_library(${name} STATIC ${ARG_SOURCES})
    target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE bitmill_options ${ARG_PRIVATE})
    target_include_directories(${name} PUBLIC ${PROJECT_SOURCE_DIR})
    if(NOT name MATCHES "^bitmill_kernels")  # kernels read little, with flags of their own
      bitmill_precompile(${name} library)
    endif()
  else()
    add_library(${name} INTERFACE)
    target_link_libraries(${name} INTERFACE ${ARG_PUBLIC})
    target_include_directories(${name} INTERFACE ${PROJECT_SOURCE_DIR})
  endif()
endfunction()

# bitmill_fuzzed_sources(<source>...): what reads the bytes of others; its coverage leads libFuzzer. Counting branches
# makes arithmetic 2.5 times slower, so only these files do.
function(bitmill_fuzzed_sources)
  if(BITMILL_FUZZ)
    set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS -fsanitize=fuzzer-no-link SKIP_PRECOMPILE_HEADERS ON)
  endif()
endfunction()

# Everything that ctest -L threads runs; the ThreadSanitizer check builds just this.
add_custom_target(bitmill_thread_tests)

# bitmill_test(<name> SOURCES ... LIBS ... [LABELS ...] [ARGS ...]): one GoogleTest binary, one ctest entry.
function(bitmill_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBS;LABELS;ARGS" ${ARGN})
  add_executable(${name} ${ARG_SOURCES})
  target_link_libraries(${name} PRIVATE bitmill_options ${ARG_LIBS} bitmill_test_main)
  target_compile_definitions(${name} PRIVATE BITMILL_SOURCE_DIR="${PROJECT_SOURCE_DIR}")
  if(name MATCHES "^(kernels|backends)_")  # these compute the expected results themselves
    bitmill_precompile(${name} computing_test)
  else()
    bitmill_precompile(${name} test)
    target_compile_options(${name} PRIVATE ${BITMILL_UNOPTIMIZED})
  endif()
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGS})
  if("threads" IN_LIST ARG_LABELS)
    add_dependencies(bitmill_thread_tests ${name})
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 300)
  endif()
  set_tests_properties(${name} PROPERTIES LABELS "${ARG_LABELS};unit" TIMEOUT ${ARG_TIMEOUT})
endfunction()
