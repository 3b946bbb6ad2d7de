// The CUDA kernels, as the program carries them: one fat binary with the machine code of the
// architectures of cmake/cuda_image.cmake, and PTX for those that came later.
#pragma once

#include <string_view>

namespace bitmill {

// For cuModuleLoadData; empty when the program was built without nvcc. Lives as long as the
// program.
std::string_view CudaImage();

}  // namespace bitmill
