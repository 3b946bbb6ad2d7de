#include "kernels/sparse_form.h"

#include <cmath>

namespace bitmill {

std::string SparseChoice::Text() const {
  if (group_channels == 0) return "";
  return " sparse " + std::to_string(std::lround(100 * density)) + " %";
}

SparseChoice ChooseSparseForm(const SparseForms& forms, bool few_pixels,
                              const std::function<double(int32_t group_channels)>& density) {
  SparseChoice best;
  double best_time = 1.0;  // of the dense form
  for (const SparseForm& form : forms) {
    double break_even = form.break_even;
    if (few_pixels && form.break_even_few_pixels < break_even)
      break_even = form.break_even_few_pixels;
    const double part = density(form.group_channels);
    if (part >= best_time * break_even) continue;
    best = {form.group_channels, part};
    best_time = part / break_even;
  }
  return best;
}

}  // namespace bitmill
