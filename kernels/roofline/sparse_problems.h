// Pruned layers for the sparse suite.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "kernels/isa.h"
#include "kernels/sparse_form.h"

namespace bitmill {

struct SparseProblem {
  std::function<void()> dense, sparse;
  std::function<bool()> right;  // runs both once, compares with the reference
};

// One kernel, kind of weights and shape; its problems differ in density.
struct SparseCase {
  std::string name, kind, shape;
  Isa isa = Isa::kRef;
  SparseForm form;
  bool few_pixels = false;
  std::function<SparseProblem(double density)> make;
};

// Kernels that take sparse weights and `isa` allows; of each kind of weights all, or only the
// forms of the kernel that `isa` selects.
std::vector<SparseCase> SparseCases(Isa isa, bool only_best);

}  // namespace bitmill
