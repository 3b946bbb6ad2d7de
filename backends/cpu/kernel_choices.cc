#include "backends/cpu/kernel_choices.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace bitmill {
namespace {

// The break-even densities of the kernel tables are those of one machine.
constexpr double kWorthMeasuring = 1.5;

}  // namespace

std::string LayerChoice::Text() const {
  std::vector<std::string> parts;
  if (!kernel.empty()) parts.push_back(kernel);
  if (!prepared) parts.emplace_back("bytes");
  if (sparse_channels == 0) parts.emplace_back("dense");
  if (sparse_channels > 0) parts.emplace_back("sparse");
  if (block_shift > 0) parts.push_back(absl::StrCat("blocks x ", 1 << block_shift));
  if (block_shift < 0) parts.push_back(absl::StrCat("blocks / ", 1 << -block_shift));
  return absl::StrJoin(parts, ", ");
}

SparseChoice FormOf(int32_t sparse_channels, const SparseForms& forms, bool few_pixels,
                    const std::function<double(int32_t group_channels)>& density) {
  if (sparse_channels == LayerChoice::kByDensity) {
    return ChooseSparseForm(forms, few_pixels, density);
  }
  for (const SparseForm& form : forms) {
    if (form.group_channels == sparse_channels) return {sparse_channels, density(sparse_channels)};
  }
  return {};
}

int32_t OtherSparseForm(const SparseChoice& taken, const SparseForms& forms, bool few_pixels,
                        const std::function<double(int32_t group_channels)>& density) {
  if (taken.group_channels > 0) return 0;
  int32_t other = LayerChoice::kByDensity;
  double least = kWorthMeasuring;
  for (const SparseForm& form : forms) {
    const double left = density(form.group_channels);
    const double expected = left / (few_pixels ? form.break_even_few_pixels : form.break_even);
    if (left >= 1.0 || expected >= least) continue;
    least = expected;
    other = form.group_channels;
  }
  return other;
}

}  // namespace bitmill
