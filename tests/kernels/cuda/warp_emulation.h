// What kernels/cuda/tensor_core.cuh means on the host: a group's threads are fibers that run one
// after the other until they must wait for one another, and fragments lie in lanes as the PTX
// manual has them ("Matrix Fragments for mma.m16n8k256" and ".m16n8k32", "Matrix Fragments for
// wgmma.mma_async.m64nNk256" and "k32"). Wrong order of barriers, lanes that disagree about what
// they do together, and reads of copies that were not waited for are found here; races between
// threads that a device would show are not, unless they read stale data.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace bitmill::cuda_emulation {

// Runs `thread` once for each of `threads` threads of a group at (x, y), with shared memory of
// `shared_bytes`, filled with 0xa5. Stops the program, saying why, when threads disagree about what
// they wait for. Not reentrant; one group at a time in a thread of the host.
void RunGroup(int x, int y, int threads, int shared_bytes, const std::function<void()>& thread);

// For the running fiber.
int Thread();
int TileX();
int TileY();
unsigned char* Shared(int64_t* bytes = nullptr);
void Sync();
uint32_t ShuffleXor(uint32_t value, int lanes);
// Copies are made when they are waited for; before, the memory holds what it held.
void Copy(unsigned char* to, const unsigned char* from, int bytes, bool inside);
void Commit();
void Wait(int pending);
// Queued, with the operands of now; done when the warp meets next, at the latest in Done().
void MmaBits(int* c, const uint32_t* a, const uint32_t* b);
void MmaBytes(int* c, const uint32_t* a, const uint32_t* b);
void Done();

// Products of 128 threads (wgmma). They are done when they are waited for, and the program stops
// where their operands have changed until then, where something was written to shared memory that
// nobody published before the last barrier, and where Begin() is missing.
uint32_t SharedOffset(const unsigned char* shared);
void Stored();   // the thread wrote to shared memory
void Publish();  // fence.proxy.async
void Begin();    // wgmma.fence
// c[columns / 8][4] of this thread += its part of a[64][32 bytes] * b[columns][32 bytes].
void GroupProduct(bool bits, int columns, int* c, uint64_t a, uint64_t b);
void CommitProducts();
void WaitProducts(int pending);

}  // namespace bitmill::cuda_emulation
