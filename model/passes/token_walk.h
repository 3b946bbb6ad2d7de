// The walk behind TokensToImages, for the files that implement it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/graph.h"

namespace bitmill {

// Which axis of a value the channels of its image are.
enum class TokenForm : uint8_t { kNone, kLast, kFirst };

class TokenWalk {
 public:
  explicit TokenWalk(Graph& graph) : graph_(graph) {}
  void Run();

 private:
  // The images that hold a value's elements, kNoValue where there is none (yet).
  //   last:  [..., C] as [1, C, H, W]: [1, H, W, C] keeps its axes, others have H = 1
  //   first: [1, C, T] as [1, C, 1, T]; a value of rank 4 as it is
  struct Images {
    ValueId last = kNoValue, first = kNoValue;
  };

  // Each is true when it has replaced the node by operations on images.
  bool VisitMatMul(const Node& node);
  bool VisitGemm(const Node& node);
  bool VisitElementwise(const Node& node);
  bool VisitQuantizer(const Node& node);
  bool VisitWithConstant(const Node& node);
  bool VisitBinary(const Node& node);
  bool VisitTranspose(const Node& node);
  bool VisitReshape(const Node& node);
  bool VisitBatchNorm(const Node& node);
  bool VisitMean(const Node& node);

  // Emits the node on the image of input `data` in one form, its other inputs as given.
  void EmitOnImage(const Node& node, size_t data, TokenForm form, std::vector<ValueId> inputs);
  void EmitConv(const Node& node, ValueId input, const Tensor& matrix, bool rows_first,
                ValueId bias);
  // The operand of an elementwise operation as it lies on the image; nothing when it would have to
  // broadcast in a way that images cannot.
  std::optional<ValueId> OperandFor(const Tensor& constant, const Shape& data, TokenForm form);

  Images& images(ValueId id) { return images_[id]; }
  // The form in which an image exists, kLast preferred; kNone when only the value does.
  TokenForm FormOf(ValueId id);
  // The image in that form, made if need be.
  ValueId ImageOf(ValueId id, TokenForm form);
  ValueId LastImage(ValueId id);
  ValueId FirstImage(ValueId id);
  void SetImage(ValueId id, TokenForm form, ValueId image);
  // Makes the value itself, for a reader that is none of the above.
  void EnsurePlain(ValueId id);

  bool IsMade(ValueId id) const;
  void Keep(Node node);
  ValueId NewLike(ValueId id, const char* what, const Shape& shape);
  ValueId NewConstant(const std::string& name, const Shape& shape,
                      const std::vector<float>& values);
  void EmitReshape(ValueId from, ValueId to);
  void EmitTranspose(ValueId from, ValueId to, std::vector<int64_t> perm);

  Graph& graph_;
  std::vector<Node> done_;
  std::map<ValueId, Images> images_;
  std::vector<bool> made_;
  std::vector<bool> for_product_;  // of the values of the file: products of tokens read them
};

// Whether the value has tokens: a last axis of channels and something before it that is not just
// the batch of one.
bool HasTokens(const Shape& shape);

// The image of a value with tokens, channels being the last axis.
Shape LastImageShape(const Shape& shape);

}  // namespace bitmill
