// config.pbtxt: any bytes give a configuration or a status, and what is accepted stays consistent.
#include <google/protobuf/stubs/logging.h>
#include <google/protobuf/text_format.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "server/repository/complete_config.h"
#include "server/repository/model_config.h"

namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

bitmill::Signature TestSignature(bool batchable) {
  bitmill::Signature signature;
  signature.inputs = {{"x", bitmill::DType::kFloat32, {3, 8, 8}, 768}};
  signature.outputs = {{"y", bitmill::DType::kInt64, {10}, 80}};
  signature.batchable = batchable;
  return signature;
}

}  // namespace

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  google::protobuf::SetLogHandler(nullptr);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const absl::string_view text(reinterpret_cast<const char*>(data), size);
  const auto given = bitmill::ParseModelConfig(text, "config.pbtxt");
  if (!given.ok()) {
    Require(given.status().message().size() < 1024);
    return 0;
  }
  for (const bool batchable : {false, true}) {
    const auto settings = bitmill::MakeSettings(*given, "m", batchable, 64);
    if (!settings.ok()) continue;
    Require(settings->batch.max_rows >= 1 && settings->batch.max_rows <= 65'535);
    Require(settings->batch.max_delay_us >= 0 && settings->batch.default_timeout_us >= 0);
    Require(settings->instances >= 0 && settings->instances <= bitmill::kMaxInstances);
    const auto complete = bitmill::CompleteConfig(*given, *settings, TestSignature(batchable));
    if (!complete.ok()) continue;
    // What we answer is itself a valid configuration.
    inference::ModelConfig again;
    Require(google::protobuf::TextFormat::ParseFromString(*complete, &again));
    Require(again.input_size() == 1 && again.output_size() == 1);
  }
  return 0;
}
