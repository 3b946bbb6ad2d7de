#include "kernels/cache_sizes.h"

#include <stdio.h>
#include <unistd.h>

namespace bitmill {
namespace {

constexpr int64_t kKiB = 1024;
constexpr int64_t kMiB = 1024 * kKiB;

// The first line of a file of the first core's cache `index`; false when there is none.
bool ReadLine(int index, const char* name, char* line, int size) {
  char path[96];
  snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name);
  FILE* file = fopen(path, "r");
  if (file == nullptr) return false;
  const bool read = fgets(line, size, file) != nullptr;
  fclose(file);
  return read;
}

// Bytes of the data or unified cache of `level`; 0: not listed. The size reads "2048K".
int64_t ListedSize(int level) {
  constexpr int kMostCaches = 8;
  for (int index = 0; index < kMostCaches; ++index) {
    char type[32], size[32], text[32];
    if (!ReadLine(index, "level", text, sizeof(text))) return 0;
    int found = 0;
    if (sscanf(text, "%d", &found) != 1 || found != level) continue;
    if (!ReadLine(index, "type", type, sizeof(type)) || type[0] == 'I') continue;
    long long count = 0;
    char unit = '\0';
    if (!ReadLine(index, "size", size, sizeof(size))) continue;
    if (sscanf(size, "%lld%c", &count, &unit) < 1 || count <= 0) continue;
    return count * (unit == 'M' ? kMiB : unit == 'K' ? kKiB : 1);
  }
  return 0;
}

int64_t SizeOf(int level, int name, int64_t otherwise) {
  int64_t bytes = ListedSize(level);
  if (bytes <= 0) bytes = sysconf(name);
  return bytes > 0 ? bytes : otherwise;
}

}  // namespace

const CacheSizes& MachineCaches() {
  static const CacheSizes sizes = {SizeOf(1, _SC_LEVEL1_DCACHE_SIZE, 32 * kKiB),
                                   SizeOf(2, _SC_LEVEL2_CACHE_SIZE, 512 * kKiB),
                                   SizeOf(3, _SC_LEVEL3_CACHE_SIZE, 16 * kMiB)};
  return sizes;
}

}  // namespace bitmill
