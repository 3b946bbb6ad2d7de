// The measured loops of one instruction set.
#pragma once

#include <stdint.h>

namespace bitmill {

// Each does `turns` turns of its loop and returns the products of one turn.
using MacLoopFn = int64_t (*)(int64_t turns);
// Reads `bytes` (a multiple of 512) from `data` (on a 64-byte boundary), each once.
using ReadLoopFn = void (*)(const uint8_t* data, int64_t bytes);

int64_t BitMacsRef(int64_t turns);
int64_t TernaryBitMacsRef(int64_t turns);
int64_t Int8MacsRef(int64_t turns);
int64_t FloatMacsRef(int64_t turns);
void ReadRef(const uint8_t* data, int64_t bytes);

int64_t BitLookupMacsAvx2(int64_t turns);
int64_t BitPairLookupMacsAvx2(int64_t turns);
int64_t BitPopcountMacsAvx2(int64_t turns);
int64_t Int8MacsAvx2(int64_t turns);
int64_t FloatMacsAvx2(int64_t turns);
void ReadAvx2(const uint8_t* data, int64_t bytes);

int64_t Int8MacsAvxVnni(int64_t turns);

int64_t BitCarrySaveMacsAvx512(int64_t turns);
int64_t BitPopcountMacsAvx512(int64_t turns);
int64_t Int8MacsAvx512(int64_t turns);
int64_t FloatMacsAvx512(int64_t turns);
void ReadAvx512(const uint8_t* data, int64_t bytes);

// Loads and leaves the tile configuration itself.
int64_t ByteMacsAmx(int64_t turns);

int64_t BitPopcountMacsAvx512Vpopcnt(int64_t turns);
int64_t TernaryBitMacsAvx512Vpopcnt(int64_t turns);
int64_t TwoBitMacsAvx512Vpopcnt(int64_t turns);
int64_t Int8MacsAvx512Vpopcnt(int64_t turns);

int64_t BitPopcountMacsNeon(int64_t turns);
int64_t TernaryBitMacsNeon(int64_t turns);
int64_t Int8MacsNeon(int64_t turns);
int64_t FloatMacsNeon(int64_t turns);
void ReadNeon(const uint8_t* data, int64_t bytes);

}  // namespace bitmill
