#include "server/repository/warmup.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/checked_math.h"
#include "base/file.h"
#include "base/status_macros.h"
#include "server/repository/complete_config.h"
#include "server/repository/model_path.h"

namespace bitmill {
namespace {

constexpr int64_t kMaxWarmupBytes = int64_t{1} << 30;

absl::Status Wrong(const GivenConfig& given, int entry, const std::string& what) {
  return absl::InvalidArgumentError(
      absl::StrCat(given.places.Of({{"model_warmup", entry}}), ": model_warmup ",
                   QuoteName(given.proto.model_warmup(entry).name()), ": ", what));
}

// Values that every type can hold without becoming NaN: bytes of integers are taken as they come,
// floats are between 0 and 1.
template <typename T>
void FillUniform(std::string& bytes, std::minstd_rand& random) {
  std::uniform_real_distribution<double> uniform(0, 1);
  for (size_t i = 0; i + sizeof(T) <= bytes.size(); i += sizeof(T)) {
    const T value = static_cast<T>(uniform(random));
    std::memcpy(bytes.data() + i, &value, sizeof(T));
  }
}

void FillRandom(DType dtype, std::string& bytes, std::minstd_rand& random) {
  switch (dtype) {
    case DType::kFloat32:
      return FillUniform<float>(bytes, random);
    case DType::kFloat64:
      return FillUniform<double>(bytes, random);
    case DType::kFloat16:
    case DType::kBFloat16:
      return;  // zeros: there is no portable type to convert with, and time does not depend on it
    case DType::kBool:
      for (char& byte : bytes) byte = static_cast<char>(random() >> 8 & 1);
      return;
    default:
      for (char& byte : bytes) byte = static_cast<char>(random() >> 8);
  }
}

class WarmupRunner {
 public:
  WarmupRunner(const GivenConfig& given, const Executable& executable, std::string real_root,
               std::string model_folder)
      : given_(given),
        executable_(executable),
        real_root_(std::move(real_root)),
        model_folder_(std::move(model_folder)),
        context_(executable.CreateContext()) {}

  absl::Status Run(int entry) {
    const inference::ModelWarmup& warmup = given_.proto.model_warmup(entry);
    const Signature& signature = executable_.signature();
    const int64_t rows = std::max<int64_t>(1, warmup.batch_size());
    const int64_t max_rows = signature.batchable ? executable_.max_rows() : 1;
    if (rows > max_rows) {
      return Wrong(given_, entry,
                   absl::StrCat("batch_size ", rows, ", the model takes at most ", max_rows));
    }
    for (const auto& [name, input] : warmup.inputs()) {
      if (std::ranges::none_of(signature.inputs, [&key = name](const TensorSpec& spec) {
            return spec.name == key;
          })) {
        return Wrong(given_, entry, absl::StrCat("the model has no input ", QuoteName(name)));
      }
    }
    std::vector<std::string> inputs;
    for (const TensorSpec& spec : signature.inputs) {
      BITMILL_ASSIGN_OR_RETURN(inputs.emplace_back(), Data(entry, warmup, spec, rows));
    }
    return Execute(entry, rows, inputs, std::max<int64_t>(1, warmup.count()));
  }

 private:
  absl::StatusOr<std::string> Data(int entry, const inference::ModelWarmup& warmup,
                                   const TensorSpec& spec, int64_t rows) {
    const std::optional<int64_t> bytes = CheckedMul(rows, spec.row_bytes);
    if (!bytes || *bytes > kMaxWarmupBytes) {
      return Wrong(
          given_, entry,
          absl::StrCat("input ", QuoteName(spec.name), ": more than ", kMaxWarmupBytes, " bytes"));
    }
    const auto found = warmup.inputs().find(spec.name);
    if (found == warmup.inputs().end()) return std::string(static_cast<size_t>(*bytes), '\0');
    const inference::ModelWarmup::Input& input = found->second;
    BITMILL_RETURN_IF_ERROR(CheckFits(entry, input, spec));
    if (input.input_data_type_case() == inference::ModelWarmup::Input::kInputDataFile) {
      const std::string path = absl::StrCat(model_folder_, "/warmup/", input.input_data_file());
      BITMILL_ASSIGN_OR_RETURN(const std::string real, ResolveInside(real_root_, path));
      BITMILL_ASSIGN_OR_RETURN(std::string data, ReadFile(real, *bytes));
      if (static_cast<int64_t>(data.size()) != *bytes) {
        return Wrong(given_, entry,
                     absl::StrCat(path, ": ", data.size(), " bytes, input ", QuoteName(spec.name),
                                  " takes ", *bytes));
      }
      return data;
    }
    std::string data(static_cast<size_t>(*bytes), '\0');
    if (input.random_data()) FillRandom(spec.dtype, data, random_);
    return data;
  }

  absl::Status CheckFits(int entry, const inference::ModelWarmup::Input& input,
                         const TensorSpec& spec) const {
    if (input.data_type() != ToConfigType(spec.dtype)) {
      return Wrong(given_, entry,
                   absl::StrCat("input ", QuoteName(spec.name), ": data_type ",
                                DataType_Name(input.data_type()), ", the model has ",
                                DataType_Name(ToConfigType(spec.dtype))));
    }
    if (!std::ranges::equal(input.dims(), spec.row_shape)) {
      return Wrong(
          given_, entry,
          absl::StrCat("input ", QuoteName(spec.name), ": dims [", absl::StrJoin(input.dims(), ","),
                       "], the model has [", absl::StrJoin(spec.row_shape, ","), "]"));
    }
    return absl::OkStatus();
  }

  absl::Status Execute(int entry, int64_t rows, const std::vector<std::string>& inputs,
                       int64_t count) {
    const Signature& signature = executable_.signature();
    const auto row_count = static_cast<size_t>(rows);
    std::vector<std::vector<const std::byte*>> input_rows;
    for (size_t i = 0; i < inputs.size(); ++i) {
      auto& pointers = input_rows.emplace_back();
      const auto* data = reinterpret_cast<const std::byte*>(inputs[i].data());
      for (size_t r = 0; r < row_count; ++r) {
        pointers.push_back(data + r * static_cast<size_t>(signature.inputs[i].row_bytes));
      }
    }
    // All rows write to one place: nobody reads the answers.
    std::vector<std::string> outputs;
    outputs.reserve(signature.outputs.size());
    for (const TensorSpec& spec : signature.outputs) {
      outputs.emplace_back(static_cast<size_t>(spec.row_bytes), '\0');
    }
    std::vector<std::vector<std::byte*>> output_rows;
    output_rows.reserve(outputs.size());
    for (std::string& output : outputs) {
      output_rows.emplace_back(row_count, reinterpret_cast<std::byte*>(output.data()));
    }
    std::vector<const std::byte* const*> in;
    in.reserve(input_rows.size());
    for (const auto& pointers : input_rows) in.push_back(pointers.data());
    std::vector<std::byte* const*> out;
    out.reserve(output_rows.size());
    for (const auto& pointers : output_rows) out.push_back(pointers.data());
    for (int64_t run = 0; run < count; ++run) {
      const absl::Status status = executable_.Run({rows, in, out}, *context_);
      if (!status.ok()) {
        return absl::Status(status.code(),
                            Wrong(given_, entry, std::string(status.message())).message());
      }
    }
    return absl::OkStatus();
  }

  const GivenConfig& given_;
  const Executable& executable_;
  const std::string real_root_, model_folder_;
  const std::unique_ptr<ExecutionContext> context_;
  std::minstd_rand random_{20260131};
};

}  // namespace

absl::Status RunWarmup(const GivenConfig& given, const Executable& executable,
                       const std::string& real_root, const std::string& model_folder) {
  if (given.proto.model_warmup_size() == 0) return absl::OkStatus();
  WarmupRunner runner(given, executable, real_root, model_folder);
  for (int i = 0; i < given.proto.model_warmup_size(); ++i) {
    BITMILL_RETURN_IF_ERROR(runner.Run(i));
  }
  return absl::OkStatus();
}

}  // namespace bitmill
