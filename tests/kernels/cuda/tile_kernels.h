// The tile kernels of kernels/cuda, compiled as C++ and run group by group on the host
// (warp_emulation.h): for tests of kernels and plans, and for a driver that only pretends.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace bitmill {

struct TileKernel {
  std::string name;
  int pixels = 0, outputs = 0, threads = 0, shared_bytes = 0;  // as the kernel has them
  // One thread of a group; to be run by cuda_emulation::RunGroup.
  void (*run)(unsigned char* arena, const unsigned char* constants, const int32_t* params,
              int32_t step, int32_t rows) = nullptr;
};

const std::vector<TileKernel>& TileKernels();
const TileKernel* FindTileKernel(const std::string& name);  // or null

// A launch: every group of the grid, one after the other.
void RunTileKernel(const TileKernel& kernel, int grid_x, int grid_y, int shared_bytes,
                   unsigned char* arena, const unsigned char* constants, const int32_t* params,
                   int32_t step, int32_t rows);

// What group_ceiling.cuh computes: the sum of each of 128 threads, and the lines of 64 bytes that
// it multiplies, 128 of pixels and 128 of outputs, as they lie in shared memory.
std::vector<int> RunGroupCeiling(bool bits, int turns, std::vector<unsigned char>& lines);

}  // namespace bitmill
