#include <string>

#include "absl/strings/str_cat.h"
#include "backends/cpu/step_builder.h"

namespace bitmill {
namespace {

std::string AvailableIsas() {
  std::string names = "auto";
  for (const Isa isa : kAllIsas) {
    if (IsaAllows(BestIsa(), isa)) absl::StrAppend(&names, ", ", IsaName(isa));
  }
  return names;
}

}  // namespace

absl::StatusOr<KernelSet> SelectKernels(const std::string& isa) {
  Isa level = BestIsa();
  if (isa != "auto") {
    if (!ParseIsa(isa.c_str(), &level)) {
      return absl::InvalidArgumentError(
          absl::StrCat("unknown instruction set '", isa, "'; this machine has: ", AvailableIsas()));
    }
    if (!IsaAllows(BestIsa(), level)) {
      return absl::InvalidArgumentError(absl::StrCat("this machine does not have instruction set '",
                                                     isa, "'; it has: ", AvailableIsas()));
    }
  }
  KernelSet kernels;
  kernels.isa = level;
  kernels.bconv = &SelectBconv(level);
  kernels.qconv = &SelectQconv(level);
  kernels.pack = &SelectPack(level);
  kernels.pool = &SelectPool(level);
  kernels.requant = &SelectRequant(level);
  kernels.fdense = &SelectFdense(level);
  kernels.fmap = &SelectFmap(level);
  kernels.gather = &SelectGather(level);
  kernels.transpose = &SelectTranspose(level);
  return kernels;
}

}  // namespace bitmill
