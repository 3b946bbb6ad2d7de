#include "backends/cpu/dnnl_library.h"

#include "absl/strings/str_cat.h"
#include "dnnl.hpp"

namespace bitmill {

void LimitDnnlIsa(Isa isa) {
  if (isa == BestIsa()) return;
  switch (isa) {
    case Isa::kRef:
      static_cast<void>(dnnl_set_max_cpu_isa(dnnl_cpu_isa_sse41));
      return;
    case Isa::kAvx2:
      static_cast<void>(dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2));
      return;
    case Isa::kAvxVnni:
      static_cast<void>(dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx2_vnni));
      return;
    case Isa::kAvx512:
      static_cast<void>(dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core));
      return;
    case Isa::kAvx512Vpopcnt:
      static_cast<void>(dnnl_set_max_cpu_isa(dnnl_cpu_isa_avx512_core_vnni));
      return;
    case Isa::kAmx:
    case Isa::kNeon:
      return;
  }
}

bool DnnlHasBf16(Isa isa) {
  LimitDnnlIsa(isa);
  const auto has = static_cast<unsigned>(dnnl_get_effective_cpu_isa());
  constexpr auto kWanted = static_cast<unsigned>(dnnl_cpu_isa_avx512_core_bf16);
  return IsaAllows(isa, Isa::kAvx512Vpopcnt) && (has & kWanted) == kWanted;
}

std::string DnnlVersion() {
  const dnnl_version_t* const version = dnnl_version();
  return absl::StrCat(version->major, ".", version->minor, ".", version->patch, " ",
                      version->hash == nullptr ? "" : version->hash);
}

}  // namespace bitmill
