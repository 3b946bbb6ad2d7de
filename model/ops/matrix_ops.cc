// Matrix products: Gemm, MatMul with batch broadcasting, and the integer forms.
#include <algorithm>
#include <cmath>

#include "model/ops/integer_math.h"
#include "model/ops/op_support.h"
#include "model/ops/ops.h"

namespace bitmill {
namespace {

// ---- Gemm --------------------------------------------------------------------------------------

InferResult InferGemm(const Node& node, int64_t, absl::Span<const InputInfo> inputs) {
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].dtype != DType::kInvalid)
      BITMILL_RETURN_IF_ERROR(WantFloat(inputs[i], "an input"));
  }
  BITMILL_RETURN_IF_ERROR(WantRank(inputs[0], 2, "A"));
  BITMILL_RETURN_IF_ERROR(WantRank(inputs[1], 2, "B"));
  const bool ta = AttrInt(node, "transA", 0) != 0;
  const bool tb = AttrInt(node, "transB", 0) != 0;
  const int64_t m = inputs[0].shape[ta ? 1 : 0];
  const int64_t k = inputs[0].shape[ta ? 0 : 1];
  const int64_t n = inputs[1].shape[tb ? 0 : 1];
  if (inputs[1].shape[tb ? 1 : 0] != k) {
    return absl::InvalidArgumentError(absl::StrCat("A ", ShapeToString(inputs[0].shape), " and B ",
                                                   ShapeToString(inputs[1].shape),
                                                   " do not multiply"));
  }
  Shape shape{m, n};
  if (inputs.size() > 2 && inputs[2].dtype != DType::kInvalid) {
    BITMILL_ASSIGN_OR_RETURN(const Shape wide, BroadcastShapes(shape, inputs[2].shape));
    if (wide != shape) {
      return absl::InvalidArgumentError(
          absl::StrCat("C ", ShapeToString(inputs[2].shape), " does not broadcast to the product"));
    }
  }
  return OneOutput(DType::kFloat32, std::move(shape));
}

absl::Status EvalGemm(const Node& node, int64_t, absl::Span<const TensorView> in,
                      absl::Span<const MutableTensorView> out) {
  const bool ta = AttrInt(node, "transA", 0) != 0;
  const bool tb = AttrInt(node, "transB", 0) != 0;
  const float alpha = AttrFloat(node, "alpha", 1.0F);
  const float beta = AttrFloat(node, "beta", 1.0F);
  const int64_t m = out[0].shape[0];
  const int64_t n = out[0].shape[1];
  const int64_t k = in[0].shape[ta ? 0 : 1];
  const float* a = in[0].as<float>();
  const float* b = in[1].as<float>();
  float* to = out[0].as<float>();
  for (int64_t i = 0; i < m; ++i) {
    float* row = to + i * n;
    std::fill_n(row, n, 0.0F);
    if (tb) {
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t l = 0; l < k; ++l) row[j] += a[ta ? l * m + i : i * k + l] * b[j * k + l];
      }
    } else {
      for (int64_t l = 0; l < k; ++l) {
        const float factor = a[ta ? l * m + i : i * k + l];
        for (int64_t j = 0; j < n; ++j) row[j] += factor * b[l * n + j];
      }
    }
    for (int64_t j = 0; j < n; ++j) row[j] *= alpha;
  }
  if (in.size() > 2 && in[2].data != nullptr) {
    const Shape strides = BroadcastStrides(in[2].shape, out[0].shape);
    const float* c = in[2].as<float>();
    ForEachBroadcast(out[0].shape, strides, strides,
                     [&](int64_t s, int64_t, int64_t i) { to[i] += beta * c[s]; });
  }
  return absl::OkStatus();
}

// ---- MatMul: [..., M, K] x [..., K, N]; vectors as in numpy ------------------------------------

struct Product {
  int64_t m = 1, k = 1, n = 1;
  Shape batch;  // broadcast leading dimensions
  Shape a_batch, b_batch;
  Shape out_shape;
};

absl::StatusOr<Product> ProductOf(absl::Span<const int64_t> a, absl::Span<const int64_t> b) {
  if (a.empty() || b.empty()) return absl::InvalidArgumentError("a scalar in a matrix product");
  Product p;
  Shape wide_a = ToShape(a);
  Shape wide_b = ToShape(b);
  if (a.size() == 1) wide_a.insert(wide_a.begin(), 1);
  if (b.size() == 1) wide_b.push_back(1);
  p.m = wide_a[wide_a.size() - 2];
  p.k = wide_a.back();
  p.n = wide_b.back();
  if (wide_b[wide_b.size() - 2] != p.k) {
    return absl::InvalidArgumentError(
        absl::StrCat(ShapeToString(a), " and ", ShapeToString(b), " do not multiply"));
  }
  p.a_batch.assign(wide_a.begin(), wide_a.end() - 2);
  p.b_batch.assign(wide_b.begin(), wide_b.end() - 2);
  BITMILL_ASSIGN_OR_RETURN(p.batch, BroadcastShapes(p.a_batch, p.b_batch));
  p.out_shape = p.batch;
  if (a.size() > 1) p.out_shape.push_back(p.m);
  if (b.size() > 1) p.out_shape.push_back(p.n);
  return p;
}

// Sums of neighbouring columns grow side by side, each in the order of k.
constexpr int64_t kStretch = 64;

// value_a(index), value_b(index, column), store(index, column, sum)
template <typename Acc, typename A, typename B, typename Store>
void Multiply(const Product& p, A value_a, B value_b, Store store) {
  const Shape sa = BroadcastStrides(p.a_batch, p.batch);
  const Shape sb = BroadcastStrides(p.b_batch, p.batch);
  Acc sums[kStretch];
  ForEachBroadcast(p.batch, sa, sb, [&](int64_t ia, int64_t ib, int64_t io) {
    for (int64_t i = 0; i < p.m; ++i) {
      for (int64_t j0 = 0; j0 < p.n; j0 += kStretch) {
        const int64_t count = std::min(kStretch, p.n - j0);
        std::fill_n(sums, count, Acc{});
        for (int64_t l = 0; l < p.k; ++l) {
          const auto factor = value_a((ia * p.m + i) * p.k + l);
          const int64_t row = (ib * p.k + l) * p.n + j0;
          for (int64_t j = 0; j < count; ++j) sums[j] += factor * value_b(row + j, j0 + j);
        }
        for (int64_t j = 0; j < count; ++j) store((io * p.m + i) * p.n + j0 + j, j0 + j, sums[j]);
      }
    }
  });
}

InferResult InferMatMul(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[0], "A"));
  BITMILL_RETURN_IF_ERROR(WantFloat(inputs[1], "B"));
  BITMILL_ASSIGN_OR_RETURN(Product p, ProductOf(inputs[0].shape, inputs[1].shape));
  return OneOutput(DType::kFloat32, std::move(p.out_shape));
}

absl::Status EvalMatMul(const Node&, int64_t, absl::Span<const TensorView> in,
                        absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const Product p, ProductOf(in[0].shape, in[1].shape));
  const float* a = in[0].as<float>();
  const float* b = in[1].as<float>();
  float* to = out[0].as<float>();
  Multiply<float>(
      p, [a](int64_t i) { return a[i]; }, [b](int64_t i, int64_t) { return b[i]; },
      [to](int64_t i, int64_t, float sum) { to[i] = sum; });
  return absl::OkStatus();
}

absl::Status CheckBytes(const InputInfo& a, const InputInfo& b) {
  BITMILL_RETURN_IF_ERROR(WantByte(a, "A"));
  return WantByte(b, "B");
}

// Sums of products of bytes minus their zero points; store(output index, column, sum).
template <typename Store>
void MultiplyBytes(const Product& p, const TensorView& a, int32_t a_zero, const TensorView& b,
                   const ZeroPoints& b_zero, Store store) {
  WithBytes(a, [&](const auto* values) {
    WithBytes(b, [&](const auto* weights) {
      Multiply<int64_t>(
          p, [=](int64_t i) { return values[i] - a_zero; },
          [&](int64_t i, int64_t j) { return int64_t{weights[i]} - b_zero.at(j); }, store);
    });
  });
}

InferResult InferMatMulInteger(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(CheckBytes(inputs[0], inputs[1]));
  BITMILL_ASSIGN_OR_RETURN(Product p, ProductOf(inputs[0].shape, inputs[1].shape));
  BITMILL_RETURN_IF_ERROR(CheckZeroPoints(inputs, 2, 1));
  BITMILL_RETURN_IF_ERROR(CheckZeroPoints(inputs, 3, p.n));
  return OneOutput(DType::kInt32, std::move(p.out_shape));
}

absl::Status EvalMatMulInteger(const Node&, int64_t, absl::Span<const TensorView> in,
                               absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const Product p, ProductOf(in[0].shape, in[1].shape));
  auto* to = out[0].as<int32_t>();
  MultiplyBytes(p, in[0], ZeroPoints(in, 2).at(0), in[1], ZeroPoints(in, 3),
                [to](int64_t i, int64_t, int64_t sum) { to[i] = static_cast<int32_t>(sum); });
  return absl::OkStatus();
}

// QLinearMatMul(a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero)
InferResult InferQLinearMatMul(const Node&, int64_t, absl::Span<const InputInfo> inputs) {
  BITMILL_RETURN_IF_ERROR(CheckBytes(inputs[0], inputs[3]));
  BITMILL_ASSIGN_OR_RETURN(Product p, ProductOf(inputs[0].shape, inputs[3].shape));
  for (const size_t i : {1, 6}) BITMILL_RETURN_IF_ERROR(CheckScales(inputs, i, 1));
  for (const size_t i : {2, 7}) BITMILL_RETURN_IF_ERROR(CheckZeroPoints(inputs, i, 1));
  BITMILL_RETURN_IF_ERROR(CheckScales(inputs, 4, p.n));
  BITMILL_RETURN_IF_ERROR(CheckZeroPoints(inputs, 5, p.n));
  return OneOutput(inputs[7].dtype, std::move(p.out_shape));
}

absl::Status EvalQLinearMatMul(const Node&, int64_t, absl::Span<const TensorView> in,
                               absl::Span<const MutableTensorView> out) {
  BITMILL_ASSIGN_OR_RETURN(const Product p, ProductOf(in[0].shape, in[3].shape));
  const float a_scale = in[1].as<float>()[0];
  const float y_scale = in[6].as<float>()[0];
  const int32_t y_zero = ZeroPoints(in, 7).at(0);
  const bool per_column = in[4].elements() > 1;
  MultiplyBytes(p, in[0], ZeroPoints(in, 2).at(0), in[3], ZeroPoints(in, 5),
                [&](int64_t i, int64_t j, int64_t sum) {
                  const float scale = a_scale * in[4].as<float>()[per_column ? j : 0] / y_scale;
                  StoreQuantized(out[0], i, static_cast<float>(sum) * scale, y_zero);
                });
  return absl::OkStatus();
}

constexpr OpDef kOps[] = {
    {"Gemm", 2, 3, 1, 1, InferGemm, EvalGemm},
    {"MatMul", 2, 2, 1, 1, InferMatMul, EvalMatMul},
    {"MatMulInteger", 2, 4, 1, 1, InferMatMulInteger, EvalMatMulInteger},
    {"QLinearMatMul", 8, 8, 1, 1, InferQLinearMatMul, EvalQLinearMatMul},
};

}  // namespace

absl::Span<const OpDef> MatrixOps() { return kOps; }

}  // namespace bitmill
