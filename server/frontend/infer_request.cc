#include "server/frontend/infer_request.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/frontend/utf8.h"
#include "server/frontend/wire.h"

namespace bitmill {

const std::array<std::string_view, kContentsFields> kContentsFieldNames = {"",
                                                                           "bool_contents",
                                                                           "int_contents",
                                                                           "int64_contents",
                                                                           "uint_contents",
                                                                           "uint64_contents",
                                                                           "fp32_contents",
                                                                           "fp64_contents",
                                                                           "bytes_contents"};

namespace {

absl::Status Broken(const char* message, const char* field = nullptr) {
  return absl::InvalidArgumentError(absl::StrCat("the bytes are not a ", message,
                                                 field == nullptr ? "" : ": bad ",
                                                 field == nullptr ? "" : field));
}

absl::Status TooMany(const char* what, size_t limit) {
  return absl::InvalidArgumentError(absl::StrCat("the request has more than ", limit, " ", what));
}

bool ReadString(WireReader& reader, std::string_view& text) {
  return reader.ReadBytes(text) && IsValidUtf8(text);
}

// InferParameter: a oneof, so the last member counts.
bool ParseParameter(std::string_view bytes, ParameterView& parameter) {
  using Kind = ParameterView::Kind;
  WireReader reader(bytes);
  while (!reader.done()) {
    WireTag tag;
    if (!reader.ReadTag(tag)) return false;
    uint64_t bits = 0;
    std::string_view text;
    Kind kind = Kind::kNone;
    if (tag.type == WireType::kVarint && (tag.field == 1 || tag.field == 2 || tag.field == 5)) {
      if (!reader.ReadVarint(bits)) return false;
      kind = tag.field == 1 ? Kind::kBool : tag.field == 2 ? Kind::kInt64 : Kind::kUInt64;
    } else if (tag.type == WireType::kBytes && tag.field == 3) {
      if (!ReadString(reader, text)) return false;
      kind = Kind::kString;
    } else if (tag.type == WireType::kFixed64 && tag.field == 4) {
      if (!reader.ReadFixed(bits)) return false;
      kind = Kind::kDouble;
    } else if (!reader.Skip(tag)) {
      return false;
    }
    if (kind != Kind::kNone) parameter = {.kind = kind, .bits = bits, .text = text};
  }
  return true;
}

// An entry of map<string, InferParameter>; both fields may be missing or repeated.
bool ParseParameterEntry(std::string_view bytes, std::string_view& key, ParameterView& value) {
  WireReader reader(bytes);
  while (!reader.done()) {
    WireTag tag;
    if (!reader.ReadTag(tag)) return false;
    std::string_view inner;
    if (tag.type == WireType::kBytes && tag.field == 1) {
      if (!ReadString(reader, key)) return false;
    } else if (tag.type == WireType::kBytes && tag.field == 2) {
      if (!reader.ReadBytes(inner) || !ParseParameter(inner, value)) return false;
    } else if (!reader.Skip(tag)) {
      return false;
    }
  }
  return true;
}

// Numbers in a packed field; nullopt when it ends within one.
std::optional<uint64_t> CountPacked(ContentsField field, std::string_view bytes) {
  const size_t width = field == ContentsField::kFloat ? 4 : field == ContentsField::kDouble ? 8 : 0;
  if (width != 0) {
    if (bytes.size() % width != 0) return std::nullopt;
    return bytes.size() / width;
  }
  uint64_t count = 0;
  WireReader reader(bytes);
  for (uint64_t number = 0; !reader.done(); ++count) {
    if (!reader.ReadVarint(number)) return std::nullopt;
  }
  return count;
}

WireType UnpackedType(ContentsField field) {
  switch (field) {
    case ContentsField::kFloat:
      return WireType::kFixed32;
    case ContentsField::kDouble:
      return WireType::kFixed64;
    case ContentsField::kBytes:
      return WireType::kBytes;
    default:
      return WireType::kVarint;
  }
}

bool ParseContents(std::string_view bytes, ContentsView& contents) {
  WireReader reader(bytes);
  while (!reader.done()) {
    WireTag tag;
    if (!reader.ReadTag(tag)) return false;
    const auto field = static_cast<ContentsField>(tag.field);
    if (tag.field >= kContentsFields ||
        (tag.type != WireType::kBytes && tag.type != UnpackedType(field))) {
      if (!reader.Skip(tag)) return false;
      continue;
    }
    uint64_t count = 1;
    if (tag.type == WireType::kBytes && field != ContentsField::kBytes) {
      std::string_view packed;
      if (!reader.ReadBytes(packed)) return false;
      const std::optional<uint64_t> numbers = CountPacked(field, packed);
      if (!numbers) return false;
      count = *numbers;
    } else if (!reader.Skip(tag)) {
      return false;
    }
    contents.counts[tag.field] += count;
  }
  return true;
}

absl::Status AppendDimension(uint64_t bits, InputView& input) {
  if (input.shape.size() == kMaxDimensions) return TooMany("dimensions", kMaxDimensions);
  input.shape.push_back(static_cast<int64_t>(bits));
  return absl::OkStatus();
}

absl::Status ParseShape(std::string_view packed, InputView& input) {
  WireReader reader(packed);
  while (!reader.done()) {
    uint64_t bits = 0;
    if (!reader.ReadVarint(bits)) return Broken("ModelInferRequest", "shape");
    BITMILL_RETURN_IF_ERROR(AppendDimension(bits, input));
  }
  return absl::OkStatus();
}

absl::Status ParseInput(std::string_view bytes, InputView& input) {
  WireReader reader(bytes);
  while (!reader.done()) {
    WireTag tag;
    if (!reader.ReadTag(tag)) return Broken("ModelInferRequest", "input");
    std::string_view inner;
    const bool is_bytes = tag.type == WireType::kBytes;
    if (is_bytes && tag.field == 1) {
      if (!ReadString(reader, input.name)) return Broken("ModelInferRequest", "input name");
    } else if (is_bytes && tag.field == 2) {
      if (!ReadString(reader, input.datatype)) return Broken("ModelInferRequest", "datatype");
    } else if (tag.field == 3 && is_bytes) {
      if (!reader.ReadBytes(inner)) return Broken("ModelInferRequest", "shape");
      BITMILL_RETURN_IF_ERROR(ParseShape(inner, input));
    } else if (tag.field == 3 && tag.type == WireType::kVarint) {
      uint64_t bits = 0;
      if (!reader.ReadVarint(bits)) return Broken("ModelInferRequest", "shape");
      BITMILL_RETURN_IF_ERROR(AppendDimension(bits, input));
    } else if (is_bytes && tag.field == 4) {
      std::string_view key;
      ParameterView value;
      if (!reader.ReadBytes(inner) || !ParseParameterEntry(inner, key, value)) {
        return Broken("ModelInferRequest", "input parameter");
      }
      if (key == "shared_memory_region") input.shared_memory_region = value.text;
    } else if (is_bytes && tag.field == 5) {
      if (!reader.ReadBytes(inner) || !ParseContents(inner, input.contents)) {
        return Broken("ModelInferRequest", "contents");
      }
      if (inner.empty()) continue;
      if (input.contents.parts.size() == kMaxContentsParts) {
        return TooMany("contents parts for one input", kMaxContentsParts);
      }
      input.contents.parts.push_back(inner);
    } else if (!reader.Skip(tag)) {
      return Broken("ModelInferRequest", "input");
    }
  }
  return absl::OkStatus();
}

bool ParseOutput(std::string_view bytes, RequestedOutputView& output) {
  WireReader reader(bytes);
  while (!reader.done()) {
    WireTag tag;
    if (!reader.ReadTag(tag)) return false;
    if (tag.type == WireType::kBytes && tag.field == 1) {
      if (!ReadString(reader, output.name)) return false;
    } else if (tag.type == WireType::kBytes && tag.field == 2) {
      std::string_view entry;
      std::string_view key;
      ParameterView value;
      if (!reader.ReadBytes(entry) || !ParseParameterEntry(entry, key, value)) return false;
      if (key == "shared_memory_region") output.shared_memory_region = value.text;
      if (key == "classification") {
        output.classification = value.kind != ParameterView::Kind::kNone && value.bits != 0;
      }
    } else if (!reader.Skip(tag)) {
      return false;
    }
  }
  return true;
}

}  // namespace

absl::Status ParseInferRequest(std::string_view bytes, InferRequestView& view) {
  WireReader reader(bytes);
  while (!reader.done()) {
    WireTag tag;
    if (!reader.ReadTag(tag)) return Broken("ModelInferRequest");
    std::string_view inner;
    if (tag.type != WireType::kBytes || tag.field > 7) {
      if (!reader.Skip(tag)) return Broken("ModelInferRequest");
      continue;
    }
    if (!reader.ReadBytes(inner)) return Broken("ModelInferRequest", "length");
    switch (tag.field) {
      case 1:
      case 2:
      case 3: {
        if (!IsValidUtf8(inner)) return Broken("ModelInferRequest", "UTF-8 text");
        (tag.field == 1 ? view.model_name : tag.field == 2 ? view.model_version : view.id) = inner;
        break;
      }
      case 4: {
        std::string_view key;
        ParameterView value;
        if (!ParseParameterEntry(inner, key, value)) {
          return Broken("ModelInferRequest", "parameter");
        }
        if (key == "priority") view.priority = value;
        if (key == "timeout") view.timeout = value;
        break;
      }
      case 5: {
        if (view.inputs.size() == kMaxTensors) return TooMany("inputs", kMaxTensors);
        BITMILL_RETURN_IF_ERROR(ParseInput(inner, view.inputs.emplace_back()));
        break;
      }
      case 6: {
        if (view.outputs.size() == kMaxTensors) return TooMany("outputs", kMaxTensors);
        if (!ParseOutput(inner, view.outputs.emplace_back())) {
          return Broken("ModelInferRequest", "output");
        }
        break;
      }
      case 7: {
        if (view.raw_inputs.size() == kMaxTensors) return TooMany("raw inputs", kMaxTensors);
        view.raw_inputs.push_back(inner);
        break;
      }
      default:
        break;
    }
  }
  return absl::OkStatus();
}

}  // namespace bitmill
