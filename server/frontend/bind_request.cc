#include "server/frontend/bind_request.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/checked_math.h"
#include "base/status_macros.h"
#include "base/tensor.h"
#include "server/frontend/typed_contents.h"

namespace bitmill {
namespace {

constexpr size_t kQuotedChars = 128;

absl::string_view View(std::string_view text) { return {text.data(), text.size()}; }

template <typename... Parts>
absl::Status InputError(std::string_view name, const Parts&... parts) {
  return absl::InvalidArgumentError(absl::StrCat("input ", Quoted(View(name)), " ", parts...));
}

// -1 when there is none.
int IndexOf(const std::vector<TensorSpec>& specs, std::string_view name) {
  for (size_t i = 0; i < specs.size(); ++i) {
    if (specs[i].name == name) return static_cast<int>(i);
  }
  return -1;
}

std::string Names(const std::vector<TensorSpec>& specs) {
  std::string names;
  for (const TensorSpec& spec : specs) {
    if (names.size() > kQuotedChars * 4) return absl::StrCat(names, ", ...");
    absl::StrAppend(&names, names.empty() ? "" : ", ", Quoted(spec.name));
  }
  return names;
}

std::string WantedShape(const TensorSpec& spec, bool batchable) {
  std::string shape = batchable ? "[rows" : "[";
  for (const int64_t size : spec.row_shape) {
    absl::StrAppend(&shape, shape.size() > 1 ? "," : "", size);
  }
  return absl::StrCat(shape, "]");
}

// Rows of the input; 1 for a model that does not batch.
absl::StatusOr<int64_t> CheckShape(const InputView& input, const TensorSpec& spec, bool batchable,
                                   int64_t max_rows) {
  const size_t batch_dimensions = batchable ? 1 : 0;
  const bool fits = input.shape.size() == spec.row_shape.size() + batch_dimensions &&
                    std::equal(spec.row_shape.begin(), spec.row_shape.end(),
                               input.shape.begin() + static_cast<std::ptrdiff_t>(batch_dimensions));
  if (!fits) {
    return InputError(input.name, "has shape ", ShapeToString(input.shape), ", the model wants ",
                      WantedShape(spec, batchable));
  }
  if (!batchable) return 1;
  const int64_t rows = input.shape.front();
  if (rows < 1 || rows > max_rows) {
    return InputError(input.name, "has ", rows, " rows (shape ", ShapeToString(input.shape),
                      "), the model takes 1 to ", max_rows);
  }
  return rows;
}

class Binder {
 public:
  Binder(const InferRequestView& request, const Signature& signature, const RequestLimits& limits)
      : request_(request), signature_(signature), limits_(limits) {
    bound_.inputs.assign(signature.inputs.size(), nullptr);
  }

  absl::StatusOr<BoundRequest> Bind() && {
    BITMILL_RETURN_IF_ERROR(BindParameters());
    for (size_t i = 0; i < request_.inputs.size(); ++i) BITMILL_RETURN_IF_ERROR(BindInput(i));
    for (size_t i = 0; i < bound_.inputs.size(); ++i) {
      if (bound_.inputs[i] == nullptr) {
        return InputError(signature_.inputs[i].name, "is missing; the model wants ",
                          Names(signature_.inputs));
      }
    }
    if (request_.raw_inputs.size() > request_.inputs.size()) return RawCountError();
    BITMILL_RETURN_IF_ERROR(BindOutputs());
    return std::move(bound_);
  }

 private:
  // A count of at least 0 from a parameter of either integer kind; 0 when it is absent.
  static absl::StatusOr<uint64_t> CountParameter(const char* name, const ParameterView& parameter) {
    using Kind = ParameterView::Kind;
    if (parameter.kind == Kind::kNone) return uint64_t{0};
    const bool whole =
        parameter.kind == Kind::kUInt64 ||
        (parameter.kind == Kind::kInt64 && static_cast<int64_t>(parameter.bits) >= 0);
    if (!whole) {
      return absl::InvalidArgumentError(
          absl::StrCat("parameter '", name, "' must be a whole number of at least 0"));
    }
    return parameter.bits;
  }

  absl::Status BindParameters() {
    BITMILL_ASSIGN_OR_RETURN(bound_.priority, CountParameter("priority", request_.priority));
    BITMILL_ASSIGN_OR_RETURN(const uint64_t timeout, CountParameter("timeout", request_.timeout));
    bound_.timeout_us =
        static_cast<int64_t>(std::min<uint64_t>(timeout, std::numeric_limits<int64_t>::max()));
    return absl::OkStatus();
  }

  absl::Status RawCountError() const {
    return absl::InvalidArgumentError(
        absl::StrCat("raw_input_contents has ", request_.raw_inputs.size(),
                     " buffers, the request has ", request_.inputs.size(), " inputs"));
  }

  absl::Status BindInput(size_t position) {
    const InputView& input = request_.inputs[position];
    const int index = IndexOf(signature_.inputs, input.name);
    if (index < 0) {
      return InputError(input.name, "is not an input of the model; it has ",
                        Names(signature_.inputs));
    }
    const TensorSpec& spec = signature_.inputs[static_cast<size_t>(index)];
    const std::byte*& data = bound_.inputs[static_cast<size_t>(index)];
    if (data != nullptr) return InputError(input.name, "is given more than once");
    if (!input.shared_memory_region.empty()) {
      return absl::UnimplementedError(absl::StrCat(
          "input ", Quoted(View(input.name)), " is in shared memory region ",
          Quoted(View(input.shared_memory_region)), ": shared memory is not supported"));
    }
    if (input.datatype !=
        std::string_view(DTypeName(spec.dtype).data(), DTypeName(spec.dtype).size())) {
      return InputError(input.name, "has datatype ", Quoted(View(input.datatype)),
                        ", the model wants ", DTypeName(spec.dtype));
    }
    if (spec.dtype == DType::kBytes) {
      return absl::UnimplementedError(absl::StrCat("input ", Quoted(View(input.name)),
                                                   " has datatype BYTES, which is not supported"));
    }
    BITMILL_ASSIGN_OR_RETURN(const int64_t rows,
                             CheckShape(input, spec, signature_.batchable, limits_.max_rows));
    if (position == 0) bound_.rows = rows;
    if (rows != bound_.rows) {
      return InputError(input.name, "has ", rows, " rows, input ",
                        Quoted(View(request_.inputs.front().name)), " has ", bound_.rows);
    }
    const std::optional<int64_t> bytes = CheckedMul(rows, spec.row_bytes);
    if (!bytes) return InputError(input.name, "is too large");
    return BindData(input, spec, position, rows, *bytes, data);
  }

  absl::Status BindData(const InputView& input, const TensorSpec& spec, size_t position,
                        int64_t rows, int64_t bytes, const std::byte*& data) {
    if (!request_.raw_inputs.empty()) {
      if (!input.contents.empty()) {
        return InputError(input.name, "has typed contents beside raw_input_contents; send one");
      }
      if (request_.raw_inputs.size() != request_.inputs.size()) {
        return absl::InvalidArgumentError(
            absl::StrCat(RawCountError().message(), " (input ", Quoted(View(input.name)), ")"));
      }
      const std::string_view raw = request_.raw_inputs[position];
      if (raw.size() != static_cast<size_t>(bytes)) {
        return InputError(input.name, "has ", raw.size(), " raw bytes, shape ",
                          ShapeToString(input.shape), " of ", DTypeName(spec.dtype), " wants ",
                          bytes);
      }
      data = reinterpret_cast<const std::byte*>(raw.data());
      return absl::OkStatus();
    }
    if (input.contents.empty()) {
      return InputError(input.name, "has no data: neither raw_input_contents nor contents");
    }
    // Exact: row_bytes is a whole number of elements.
    const int64_t elements = rows * (spec.row_bytes / DTypeSize(spec.dtype));
    absl::StatusOr<PackedContents> packed = PackContents(input.contents, spec.dtype, elements);
    if (!packed.ok()) return InputError(input.name, packed.status().message());
    data = packed->data;
    if (packed->owned != nullptr) bound_.converted.push_back(std::move(packed->owned));
    return absl::OkStatus();
  }

  absl::Status BindOutputs() {
    if (request_.outputs.empty()) {
      for (size_t i = 0; i < signature_.outputs.size(); ++i) {
        bound_.outputs.push_back(static_cast<int>(i));
      }
      return absl::OkStatus();
    }
    for (const RequestedOutputView& output : request_.outputs) {
      const std::string name = Quoted(View(output.name));
      const int index = IndexOf(signature_.outputs, output.name);
      if (index < 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            "output ", name, " is not an output of the model; it has ", Names(signature_.outputs)));
      }
      if (std::ranges::find(bound_.outputs, index) != bound_.outputs.end()) {
        return absl::InvalidArgumentError(
            absl::StrCat("output ", name, " is asked for more than once"));
      }
      if (!output.shared_memory_region.empty()) {
        return absl::UnimplementedError(absl::StrCat(
            "output ", name, " is in shared memory region ",
            Quoted(View(output.shared_memory_region)), ": shared memory is not supported"));
      }
      if (output.classification) {
        return absl::UnimplementedError(absl::StrCat(
            "output ", name, " is asked for as classification, which is not supported"));
      }
      bound_.outputs.push_back(index);
    }
    return absl::OkStatus();
  }

  const InferRequestView& request_;
  const Signature& signature_;
  const RequestLimits& limits_;
  BoundRequest bound_;
};

}  // namespace

std::string Quoted(absl::string_view text) {
  const bool cut = text.size() > kQuotedChars;
  return absl::StrCat("'", absl::Utf8SafeCEscape(text.substr(0, kQuotedChars)), cut ? "...'" : "'");
}

absl::StatusOr<BoundRequest> BindRequest(const InferRequestView& request,
                                         const Signature& signature, const RequestLimits& limits) {
  return Binder(request, signature, limits).Bind();
}

absl::StatusOr<int64_t> ParseVersion(absl::string_view model, absl::string_view version) {
  if (version.empty()) return 0;
  int64_t number = 0;
  if (!absl::SimpleAtoi(version, &number) || number <= 0 || absl::StrCat(number) != version) {
    return absl::NotFoundError(
        absl::StrCat("model ", Quoted(model), " has no version ", Quoted(version)));
  }
  return number;
}

}  // namespace bitmill
