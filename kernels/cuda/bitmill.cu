// All device code of the CUDA backend in one translation unit: the kernels of kernels/opencl, and
// those of tiles on tensor cores. bm_conv_block is left out: it is made for few threads with wide
// vectors, and no plan for CUDA has it.
#include "kernels/cuda/opencl_cuda.cuh"

#include "kernels/opencl/step_params.inc"

#include "kernels/opencl/common.cl"

#include "kernels/opencl/codes.cl"

#include "kernels/opencl/conv.cl"

#include "kernels/opencl/float.cl"
