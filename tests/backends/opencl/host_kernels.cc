#include "tests/backends/opencl/host_kernels.h"

#include <algorithm>
#include <map>

#include "tests/backends/opencl/opencl_c.h"

namespace bitmill {
namespace opencl_c {

// The text of the kernels, as it is; OpenCL C is not this project's C++.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-function"
#pragma GCC diagnostic ignored "-Wunused-parameter"
#pragma GCC diagnostic ignored "-Wshadow"
#include "kernels/opencl/step_params.inc"
//
#include "kernels/opencl/common.cl"
//
#include "kernels/opencl/codes.cl"
//
#include "kernels/opencl/conv.cl"
//
#include "kernels/opencl/carry_save.cl"
//
#include "kernels/opencl/conv_block.cl"
//
#include "kernels/opencl/conv_slices.cl"
//
#include "kernels/opencl/conv_codes.cl"
//
#include "kernels/opencl/float.cl"
#pragma GCC diagnostic pop

using Kernel = void (*)(uchar* arena, const uchar* constants, const int* params, int step);

const std::map<std::string, Kernel>& Kernels() {
  static const std::map<std::string, Kernel> kKernels = {
      {"bm_conv_bits", bm_conv_bits},           {"bm_conv_block", bm_conv_block},
      {"bm_conv_slices", bm_conv_slices},       {"bm_conv_codes", bm_conv_codes},
      {"bm_conv_code_runs", bm_conv_code_runs}, {"bm_quantize_plain", bm_quantize_plain},
      {"bm_dequantize", bm_dequantize},         {"bm_unpack", bm_unpack},
      {"bm_transpose", bm_transpose},           {"bm_pool_bits", bm_pool_bits},
      {"bm_pool_codes", bm_pool_codes},         {"bm_conv_float", bm_conv_float},
      {"bm_elementwise", bm_elementwise},       {"bm_strided", bm_strided},
      {"bm_pool_float", bm_pool_float},
  };
  return kKernels;
}

}  // namespace opencl_c

bool HasHostKernel(const std::string& name) { return opencl_c::Kernels().count(name) > 0; }

bool RunHostKernel(const std::string& name, unsigned char* arena, const unsigned char* constants,
                   const int32_t* params, int32_t step, const size_t* range) {
  const auto found = opencl_c::Kernels().find(name);
  if (found == opencl_c::Kernels().end()) return false;
  std::copy_n(range, 3, opencl_c::current_range);
  size_t* const item = opencl_c::current_item;
  for (item[2] = 0; item[2] < range[2]; ++item[2]) {
    for (item[1] = 0; item[1] < range[1]; ++item[1]) {
      for (item[0] = 0; item[0] < range[0]; ++item[0]) {
        found->second(arena, constants, params, step);
      }
    }
  }
  return true;
}

}  // namespace bitmill
