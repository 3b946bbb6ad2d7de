// Values and their images: which exist, and how one is made of the other.
#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "model/passes/token_walk.h"

namespace bitmill {
namespace {

bool IsNhwc(const Shape& shape) { return shape.size() == 4 && shape[0] == 1; }

int64_t TokensOf(const Shape& shape) {
  return std::accumulate(shape.begin(), shape.end() - 1, int64_t{1}, std::multiplies<>());
}

}  // namespace

bool HasTokens(const Shape& shape) {
  if (shape.size() < 2 || ElementCount(shape) == 0) return false;
  return shape.size() > 2 || shape[0] > 1;
}

Shape LastImageShape(const Shape& shape) {
  if (IsNhwc(shape)) return {1, shape[3], shape[1], shape[2]};
  return {1, shape.back(), 1, TokensOf(shape)};
}

TokenForm TokenWalk::FormOf(ValueId id) {
  const Images& known = images(id);
  if (known.last != kNoValue) return TokenForm::kLast;
  return known.first != kNoValue ? TokenForm::kFirst : TokenForm::kNone;
}

ValueId TokenWalk::ImageOf(ValueId id, TokenForm form) {
  return form == TokenForm::kLast ? LastImage(id) : FirstImage(id);
}

void TokenWalk::SetImage(ValueId id, TokenForm form, ValueId image) {
  (form == TokenForm::kLast ? images(id).last : images(id).first) = image;
}

ValueId TokenWalk::LastImage(ValueId id) {
  if (images(id).last != kNoValue) return images(id).last;
  const Shape shape = graph_.value(id).shape;
  const Shape image = LastImageShape(shape);
  const ValueId result = NewLike(id, "/image", image);
  if (!IsMade(id) && images(id).first != kNoValue && shape.size() == 3) {
    EmitTranspose(images(id).first, result, {0, 3, 2, 1});
  } else {
    EnsurePlain(id);
    ValueId source = id;
    if (!IsNhwc(shape)) {
      source = NewLike(id, "/pixels", {1, image[2], image[3], image[1]});
      EmitReshape(id, source);
    }
    EmitTranspose(source, result, {0, 3, 1, 2});
  }
  images(id).last = result;
  return result;
}

ValueId TokenWalk::FirstImage(ValueId id) {
  if (images(id).first != kNoValue) return images(id).first;
  const Shape shape = graph_.value(id).shape;
  if (shape.size() == 4) {
    EnsurePlain(id);
    return id;
  }
  const ValueId result = NewLike(id, "/image", {1, shape[1], 1, shape[2]});
  if (!IsMade(id) && images(id).last != kNoValue) {
    EmitTranspose(images(id).last, result, {0, 3, 2, 1});
  } else {
    EnsurePlain(id);
    EmitReshape(id, result);
  }
  images(id).first = result;
  return result;
}

void TokenWalk::EnsurePlain(ValueId id) {
  if (IsMade(id)) return;
  const Images known = images(id);
  if (known.first != kNoValue) return EmitReshape(known.first, id);
  if (known.last == kNoValue) return;  // nothing makes it; the verifier has refused such graphs
  const Shape shape = graph_.value(id).shape;
  if (IsNhwc(shape)) return EmitTranspose(known.last, id, {0, 2, 3, 1});
  const Shape image = LastImageShape(shape);
  const ValueId pixels = NewLike(id, "/pixels", {1, image[2], image[3], image[1]});
  EmitTranspose(known.last, pixels, {0, 2, 3, 1});
  EmitReshape(pixels, id);
}

bool TokenWalk::IsMade(ValueId id) const {
  return static_cast<size_t>(id) < made_.size() && made_[static_cast<size_t>(id)];
}

void TokenWalk::Keep(Node node) {
  made_.resize(graph_.values.size(), false);
  for (const ValueId id : node.outputs) {
    if (id != kNoValue) made_[static_cast<size_t>(id)] = true;
  }
  done_.push_back(std::move(node));
}

ValueId TokenWalk::NewLike(ValueId id, const char* what, const Shape& shape) {
  Value value;
  value.name = absl::StrCat(graph_.value(id).name, what);
  value.dtype = graph_.value(id).dtype;
  value.shape = shape;
  return graph_.AddValue(std::move(value));
}

ValueId TokenWalk::NewConstant(const std::string& name, const Shape& shape,
                               const std::vector<float>& values) {
  Value value;
  value.name = name;
  value.dtype = DType::kFloat32;
  value.shape = shape;
  auto tensor = Tensor::Create(DType::kFloat32, shape);
  BITMILL_CHECK(tensor.ok());  // no larger than a constant of the file
  std::copy(values.begin(), values.end(), tensor->span<float>().begin());
  value.constant = std::make_shared<const Tensor>(*std::move(tensor));
  const ValueId id = graph_.AddValue(std::move(value));
  made_.resize(graph_.values.size(), false);
  made_[static_cast<size_t>(id)] = true;
  return id;
}

void TokenWalk::EmitReshape(ValueId from, ValueId to) {
  const Shape shape = graph_.value(to).shape;
  Value sides;
  sides.name = absl::StrCat(graph_.value(to).name, "/shape");
  sides.dtype = DType::kInt64;
  sides.shape = {static_cast<int64_t>(shape.size())};
  sides.constant = std::make_shared<const Tensor>(
      Tensor::Of<int64_t>(DType::kInt64, {static_cast<int64_t>(shape.size())}, shape));
  Node node;
  node.name = graph_.value(to).name;
  node.op = "Reshape";
  node.inputs = {from, graph_.AddValue(std::move(sides))};
  node.outputs = {to};
  Keep(std::move(node));
}

void TokenWalk::EmitTranspose(ValueId from, ValueId to, std::vector<int64_t> perm) {
  Node node;
  node.name = graph_.value(to).name;
  node.op = "Transpose";
  node.attributes["perm"] = std::move(perm);
  node.inputs = {from};
  node.outputs = {to};
  Keep(std::move(node));
}

}  // namespace bitmill
