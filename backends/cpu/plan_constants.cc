#include "backends/cpu/plan_constants.h"

#include "base/huge_pages.h"
#include "base/status_macros.h"

namespace bitmill {

absl::StatusOr<PackedBytes> PlanConstants::Get(int32_t node, absl::string_view name, int64_t bytes,
                                               From from, Fill fill) {
  if (from == From::kWeights) packed_nodes_.insert(node);
  const Key key(node, name);
  used_.insert(key);
  PackedBytes& constant = constants_[key];
  if (constant.data() != nullptr && constant.size() == bytes) return constant;
  std::shared_ptr<std::byte> memory = AllocateInHugePages(bytes);
  BITMILL_RETURN_IF_ERROR(fill(memory.get()));
  constant = PackedBytes(std::move(memory), bytes);
  grown_ = true;
  return constant;
}

void PlanConstants::BeginUse() {
  used_.clear();
  packed_nodes_.clear();
}

void PlanConstants::DropUnused() {
  std::erase_if(constants_, [this](const auto& entry) { return !used_.contains(entry.first); });
}

}  // namespace bitmill
