#include "backends/device/canary.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

constexpr int64_t kRows = 3;
// Of the length of the vector of outputs. A kernel that computes something else is off by about 1.
constexpr double kFloatTolerance = 0.05;
constexpr double kFloatFloor = 1e-4;

using Rows = std::vector<std::vector<std::byte>>;  // of one port

// A row of bits or codes that there are, zeros behind the last channel of each pixel.
void FillCodes(const TensorSpec& spec, std::mt19937& random, std::byte* data) {
  const int64_t pixel_bytes = spec.row_shape.back();
  for (int64_t at = 0; at < spec.row_bytes; at += pixel_bytes) {
    for (int64_t c = 0; c < spec.channels; ++c) {
      if (spec.code.kind == CodeKind::kBits) {
        data[at + c / 8] |= static_cast<std::byte>((random() & 1U) << (c % 8));
      } else {
        data[at + c] = static_cast<std::byte>(random() % static_cast<uint32_t>(spec.code.levels));
      }
    }
  }
}

// Rows of pixels and of small numbers around 0; of types that are not numbers, zeros.
Rows MakeRows(const TensorSpec& spec, std::mt19937& random) {
  Rows rows(kRows, std::vector<std::byte>(static_cast<size_t>(spec.row_bytes)));
  for (int64_t r = 0; r < kRows; ++r) {
    std::byte* const data = rows[static_cast<size_t>(r)].data();
    if (spec.code.kind != CodeKind::kNone) {
      FillCodes(spec, random, data);
    } else if (spec.dtype == DType::kFloat32) {
      std::uniform_real_distribution<float> small(-2.0F, 2.0F);
      for (size_t i = 0; i < rows[0].size() / sizeof(float); ++i) {
        const float value = r % 2 == 0 ? static_cast<float>(random() % 256) : small(random);
        std::memcpy(data + i * sizeof(float), &value, sizeof(value));
      }
    } else if (spec.dtype == DType::kInt8 || spec.dtype == DType::kUInt8) {
      for (size_t i = 0; i < rows[0].size(); ++i) data[i] = static_cast<std::byte>(random() % 256);
    }
  }
  return rows;
}

class CanaryRun {
 public:
  // `rows` of the inputs, from row `first`.
  static absl::StatusOr<std::vector<Rows>> Run(const Executable& executable,
                                               std::vector<Rows>& inputs, int64_t first,
                                               int64_t rows) {
    const Signature& signature = executable.signature();
    std::vector<Rows> outputs;
    outputs.reserve(signature.outputs.size());
    for (const TensorSpec& spec : signature.outputs) {
      outputs.emplace_back(rows, std::vector<std::byte>(static_cast<size_t>(spec.row_bytes)));
    }
    const std::vector<std::vector<std::byte*>> input_rows = PointersOf(inputs, first, rows);
    const std::vector<std::vector<std::byte*>> output_rows = PointersOf(outputs, 0, rows);
    std::vector<const std::byte* const*> input_ports;
    input_ports.reserve(input_rows.size());
    for (const auto& port : input_rows) input_ports.push_back(port.data());
    std::vector<std::byte* const*> output_ports;
    output_ports.reserve(output_rows.size());
    for (const auto& port : output_rows) output_ports.push_back(port.data());
    const std::unique_ptr<ExecutionContext> context = executable.CreateContext();
    BITMILL_RETURN_IF_ERROR(executable.Run({rows, input_ports, output_ports}, *context));
    return outputs;
  }

 private:
  static std::vector<std::vector<std::byte*>> PointersOf(std::vector<Rows>& ports, int64_t first,
                                                         int64_t rows) {
    std::vector<std::vector<std::byte*>> pointers;
    for (Rows& port : ports) {
      std::vector<std::byte*>& own = pointers.emplace_back();
      for (int64_t r = first; r < first + rows; ++r) {
        own.push_back(port[static_cast<size_t>(r)].data());
      }
    }
    return pointers;
  }
};

bool AreClose(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  double gap = 0.0, length = 0.0;
  for (size_t i = 0; i < a.size() / sizeof(float); ++i) {
    float x = 0.0F, y = 0.0F;
    std::memcpy(&x, a.data() + i * sizeof(float), sizeof(float));
    std::memcpy(&y, b.data() + i * sizeof(float), sizeof(float));
    if (std::isnan(x) || std::isnan(y) || std::isinf(x) || std::isinf(y)) {
      if (x != y && !(std::isnan(x) && std::isnan(y))) return false;
      continue;
    }
    gap += (double{x} - y) * (double{x} - y);
    length += double{y} * y;
  }
  return std::sqrt(gap) <= kFloatTolerance * std::sqrt(length) + kFloatFloor;
}

}  // namespace

absl::Status CompareOnCanary(const Executable& tested, const Executable& trusted, bool exact,
                             bool only_one) {
  std::mt19937 random(20170601);  // always the same rows
  const Signature& signature = trusted.signature();
  std::vector<Rows> inputs;
  inputs.reserve(signature.inputs.size());
  for (const TensorSpec& spec : signature.inputs) inputs.push_back(MakeRows(spec, random));
  const int64_t batch = only_one ? 1 : std::min({kRows, tested.max_rows(), trusted.max_rows()});
  // The first row alone, then those that fit together: an answer does not depend on its batch.
  for (const int64_t rows : only_one ? std::vector<int64_t>{1} : std::vector<int64_t>{1, batch}) {
    const int64_t end = only_one || rows != batch ? 1 : kRows;
    for (int64_t first = 0; first + rows <= end; first += rows) {
      BITMILL_ASSIGN_OR_RETURN(const std::vector<Rows> got,
                               CanaryRun::Run(tested, inputs, first, rows));
      BITMILL_ASSIGN_OR_RETURN(const std::vector<Rows> wanted,
                               CanaryRun::Run(trusted, inputs, first, rows));
      for (size_t o = 0; o < got.size(); ++o) {
        const bool floats = signature.outputs[o].dtype == DType::kFloat32;
        if (!exact && !floats) continue;
        for (size_t r = 0; r < got[o].size(); ++r) {
          if (exact ? got[o][r] == wanted[o][r] : AreClose(got[o][r], wanted[o][r])) continue;
          return absl::InternalError(
              absl::StrCat("wrong result: output '", signature.outputs[o].name, "' of made-up row ",
                           first + static_cast<int64_t>(r), " in a batch of ", rows,
                           " is not what the CPU computes"));
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace bitmill
