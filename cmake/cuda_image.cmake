# bitmill_cuda_image(<variable> HEADER h FUNCTION f SOURCE file.cu DEPENDS ...): a generated source, its path in
# <variable>, that defines `std::string_view f()` of header h: file.cu as a fat binary, or nothing without nvcc.
# nvcc is a compiler of one file here, not a language of the project: a build without it has the same targets.
set(BITMILL_CUDA AUTO CACHE STRING
    "CUDA kernels: AUTO (when nvcc is found, about 40 seconds), ON (nvcc is needed) or OFF; the backend itself is always built")
set_property(CACHE BITMILL_CUDA PROPERTY STRINGS AUTO ON OFF)

# A capability with its own machine code; b1 tensor products are native from 8.0 to 9.0. The last is PTX, for chips that
# have none of the others (a driver compiles it).
set(BITMILL_CUDA_CODE
  -gencode=arch=compute_80,code=[sm_80,compute_80] -gencode=arch=compute_86,code=sm_86
  -gencode=arch=compute_89,code=sm_89 -gencode=arch=compute_90a,code=sm_90a
  -gencode=arch=compute_100a,code=sm_100a -gencode=arch=compute_120a,code=sm_120a)

# Older compilers do not know 12.0a.
function(bitmill_nvcc_is_new result program)
  execute_process(COMMAND ${program} --version OUTPUT_VARIABLE text ERROR_QUIET)
  if(NOT text MATCHES "release ([0-9.]+)" OR CMAKE_MATCH_1 VERSION_LESS 12.8)
    set(${result} FALSE PARENT_SCOPE)
  endif()
endfunction()

# The folder of nvcc is the one in BITMILL_NVCC, or one of the places where toolkits and script/setup put it.
function(bitmill_find_nvcc variable)
  set(${variable} "" PARENT_SCOPE)
  if(BITMILL_CUDA STREQUAL "OFF")
    return()
  endif()
  # Sanitized builds and those without a server have no use for kernels; they cost time alone.
  if(BITMILL_CUDA STREQUAL "AUTO" AND (BITMILL_SANITIZE OR NOT BITMILL_SERVER))
    return()
  endif()
  find_program(BITMILL_NVCC_PROGRAM nvcc VALIDATOR bitmill_nvcc_is_new
    HINTS ${BITMILL_NVCC} $ENV{BITMILL_NVCC} $ENV{CUDA_HOME}/bin
    PATHS /usr/local/cuda/bin ${PROJECT_SOURCE_DIR}/.cache/cuda/nvidia/cu13/bin)
  if(BITMILL_NVCC_PROGRAM)
    set(${variable} ${BITMILL_NVCC_PROGRAM} PARENT_SCOPE)
  elseif(BITMILL_CUDA STREQUAL "ON")
    message(FATAL_ERROR "BITMILL_CUDA is ON, but there is no nvcc of 12.8 or newer on PATH, in $CUDA_HOME/bin, /usr/local/cuda/bin or the "
      "folder in BITMILL_NVCC. Install the CUDA toolkit (13.0 is tested), or its compiler alone: "
      "script/setup --check does, from PyPI, into .cache/cuda")
  endif()
endfunction()

function(bitmill_cuda_image variable)
  cmake_parse_arguments(ARG "" "HEADER;FUNCTION;SOURCE" "DEPENDS" ${ARGN})
  set(output ${CMAKE_CURRENT_BINARY_DIR}/${ARG_FUNCTION}.cc)
  set(image ${CMAKE_CURRENT_BINARY_DIR}/${ARG_FUNCTION}.fatbin)
  set(BITMILL_HEADER ${ARG_HEADER})
  set(BITMILL_FUNCTION ${ARG_FUNCTION})
  bitmill_find_nvcc(nvcc)
  if(nvcc)
    message(STATUS "CUDA kernels: ${nvcc}")
    set(BITMILL_INCBIN ".incbin \\\"${image}\\\"\\n")
    # Architectures one a core; resource usage beside the image for script/check.
    add_custom_command(
      OUTPUT ${image}
      COMMAND ${nvcc} -fatbin -std=c++17 --threads 0 ${BITMILL_CUDA_CODE} --fmad=false -O3 -Xfatbin=-compress-all
              -I${PROJECT_SOURCE_DIR} -o ${image} ${CMAKE_CURRENT_SOURCE_DIR}/${ARG_SOURCE}
      DEPENDS ${ARG_SOURCE} ${ARG_DEPENDS}
      COMMENT "Compiling the kernels of ${ARG_FUNCTION}()"
      VERBATIM)
    set_source_files_properties(${output} PROPERTIES OBJECT_DEPENDS ${image})
  else()
    message(STATUS "CUDA kernels: none, nvcc was not found or not asked for")
    set(BITMILL_INCBIN "")
  endif()
  configure_file(${BITMILL_EMBED_FOLDER}/cuda_image.cc.in ${output} @ONLY)
  set(${variable} ${output} PARENT_SCOPE)
endfunction()
