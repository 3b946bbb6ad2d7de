#include "model/ops/attributes.h"

#include <algorithm>
#include <iterator>
#include <string>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace bitmill {
namespace {

// Indices of the alternatives of Attribute.
enum Type : size_t { kInt, kFloat, kString, kInts, kFloats, kStrings, kTensor };
constexpr const char* kTypeNames[] = {"INT",    "FLOAT",   "STRING", "INTS",
                                      "FLOATS", "STRINGS", "TENSOR"};

// One name has one type in all operators, except for `value` (see below).
constexpr struct {
  absl::string_view name;
  Type type;
} kTypes[] = {
    {"allowzero", kInt},
    {"alpha", kFloat},
    {"antialias", kInt},
    {"auto_pad", kString},
    {"axes", kInts},
    {"axis", kInt},
    {"beta", kFloat},
    {"block_size", kInt},
    {"blocksize", kInt},
    {"ceil_mode", kInt},
    {"coordinate_transformation_mode", kString},
    {"count_include_pad", kInt},
    {"data_layout", kString},
    {"dilations", kInts},
    {"end", kInt},
    {"ends", kInts},
    {"epsilon", kFloat},
    {"group", kInt},
    {"k", kInt},
    {"keep_aspect_ratio_policy", kString},
    {"keepdims", kInt},
    {"kernel_shape", kInts},
    {"largest", kInt},
    {"max", kFloat},
    {"max_val", kFloat},
    {"min", kFloat},
    {"min_val", kFloat},
    {"mode", kString},
    {"narrow", kInt},
    {"nearest_mode", kString},
    {"noop_with_empty_axes", kInt},
    {"out_bias", kFloat},
    {"out_dtype", kString},
    {"out_scale", kFloat},
    {"output_dtype", kInt},
    {"pads", kInts},
    {"perm", kInts},
    {"rounding_mode", kString},
    {"scales", kFloats},
    {"select_last_index", kInt},
    {"signed", kInt},
    {"sorted", kInt},
    {"spatial", kInt},
    {"start", kInt},
    {"starts", kInts},
    {"storage_order", kInt},
    {"strides", kInts},
    {"to", kInt},
    {"training_mode", kInt},
    {"transA", kInt},
    {"transB", kInt},
    {"value_float", kFloat},
    {"value_floats", kFloats},
    {"value_int", kInt},
    {"value_ints", kInts},
};

}  // namespace

absl::Status CheckAttributeTypes(const Node& node) {
  for (const auto& entry : node.attributes) {
    const std::string& name = entry.first;
    const Attribute& attribute = entry.second;
    const auto found = std::find_if(std::begin(kTypes), std::end(kTypes),
                                    [&](const auto& row) { return row.name == name; });
    size_t wanted = 0;
    if (name == "value") {
      wanted = node.op == "Pad" ? kFloat : kTensor;
    } else if (found != std::end(kTypes)) {
      wanted = found->type;
    } else {
      continue;
    }
    const bool is_null = attribute.index() == kTensor && std::get<kTensor>(attribute) == nullptr;
    if (attribute.index() != wanted || is_null) {
      return absl::InvalidArgumentError(absl::StrCat("attribute '", name, "' is of type ",
                                                     kTypeNames[attribute.index()], ", wanted ",
                                                     kTypeNames[wanted]));
    }
  }
  return absl::OkStatus();
}

}  // namespace bitmill
