// Requests that tests start from.
#pragma once

#include <string>
#include <vector>

#include "proto/inference.pb.h"

namespace bitmill {

// FP32 input "x" [rows, 4] in raw form, output "y" asked for by name.
inline inference::ModelInferRequest RawRequest(int64_t rows = 2) {
  inference::ModelInferRequest request;
  request.set_model_name("m");
  request.set_model_version("1");
  request.set_id("id-7");
  (*request.mutable_parameters())["priority"].set_int64_param(2);
  (*request.mutable_parameters())["timeout"].set_uint64_param(5'000);
  auto& input = *request.add_inputs();
  input.set_name("x");
  input.set_datatype("FP32");
  input.add_shape(rows);
  input.add_shape(4);
  (*input.mutable_parameters())["unknown"].set_double_param(0.5);
  request.add_outputs()->set_name("y");
  std::vector<float> values(static_cast<size_t>(rows * 4));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i) - 1.5F;
  request.add_raw_input_contents(values.data(), values.size() * sizeof(float));
  return request;
}

// One input of each typed field, and one with none.
inline inference::ModelInferRequest TypedRequest() {
  inference::ModelInferRequest request;
  request.set_model_name("m");
  const auto add = [&request](const char* datatype) -> inference::InferTensorContents& {
    auto& input = *request.add_inputs();
    input.set_name(datatype);
    input.set_datatype(datatype);
    input.add_shape(3);
    return *input.mutable_contents();
  };
  for (const int value : {0, 1, 1}) add("BOOL").add_bool_contents(value != 0);
  auto& ints = add("INT16");
  for (const int value : {-32768, 0, 32767}) ints.add_int_contents(value);
  auto& longs = add("INT64");
  for (const int64_t value : {int64_t{-1} << 62, int64_t{-1}, int64_t{300}}) {
    longs.add_int64_contents(value);
  }
  auto& bytes = add("UINT8");
  for (const uint32_t value : {0U, 128U, 255U}) bytes.add_uint_contents(value);
  auto& unsigned_longs = add("UINT64");
  for (const uint64_t value : {uint64_t{0}, ~uint64_t{0}, uint64_t{1} << 40}) {
    unsigned_longs.add_uint64_contents(value);
  }
  auto& floats = add("FP32");
  for (const float value : {0.5F, -0.0F, 3e38F}) floats.add_fp32_contents(value);
  auto& doubles = add("FP64");
  for (const double value : {0.25, -1e300, 7.0}) doubles.add_fp64_contents(value);
  auto& texts = add("BYTES");
  for (const char* const value : {"", "a", "bc"}) texts.add_bytes_contents(value);
  add("FP16").Clear();
  return request;
}

}  // namespace bitmill
