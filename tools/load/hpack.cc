#include "tools/load/hpack.h"

#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "tools/load/hpack_tables.h"

namespace bitmill {
namespace {

constexpr size_t kEntryOverhead = 32;  // RFC 7541, 4.1
constexpr size_t kMaxTableBytes = 4096;

absl::Status Malformed(absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat("malformed header block: ", what));
}

// An integer whose first bits share a byte with something else (5.1).
bool ReadInteger(absl::string_view* in, int prefix_bits, uint64_t* value) {
  if (in->empty()) return false;
  const uint64_t mask = (uint64_t{1} << prefix_bits) - 1;
  *value = static_cast<uint8_t>(in->front()) & mask;
  in->remove_prefix(1);
  if (*value < mask) return true;
  for (int shift = 0; shift <= 28; shift += 7) {
    if (in->empty()) return false;
    const auto byte = static_cast<uint8_t>(in->front());
    in->remove_prefix(1);
    *value += uint64_t{byte & 0x7fU} << shift;
    if ((byte & 0x80) == 0) return true;
  }
  return false;
}

bool ReadString(absl::string_view* in, std::string* text) {
  if (in->empty()) return false;
  const bool huffman = (static_cast<uint8_t>(in->front()) & 0x80) != 0;
  uint64_t length = 0;
  if (!ReadInteger(in, 7, &length) || length > in->size()) return false;
  const absl::string_view bytes = in->substr(0, length);
  in->remove_prefix(length);
  text->clear();
  if (huffman) return HuffmanDecode(bytes, text);
  *text = std::string(bytes);
  return true;
}

// The codes are canonical (ordered by length, then by symbol), so lengths say everything: for each
// length the first code, and where its symbols start in the list of all.
struct HuffmanTable {
  std::array<uint32_t, kHuffmanMaxBits + 2> first_code{}, first_symbol{}, count{};
  std::array<uint16_t, kHuffmanSymbols> symbols{};
};

HuffmanTable MakeHuffmanTable() {
  HuffmanTable table;
  size_t filled = 0;
  uint32_t code = 0;
  for (size_t bits = 1; bits <= kHuffmanMaxBits; ++bits) {
    code <<= 1;
    table.first_code[bits] = code;
    table.first_symbol[bits] = static_cast<uint32_t>(filled);
    for (size_t symbol = 0; symbol < kHuffmanSymbols; ++symbol) {
      if (kHuffmanBits[symbol] != bits) continue;
      table.symbols[filled++] = static_cast<uint16_t>(symbol);
      ++table.count[bits];
      ++code;
    }
  }
  return table;
}

}  // namespace

bool HuffmanDecode(absl::string_view code, std::string* text) {
  static const HuffmanTable table = MakeHuffmanTable();
  constexpr size_t kEndOfString = 256;
  uint32_t value = 0;
  size_t bits = 0;
  bool only_ones = true;
  for (const char c : code) {
    for (int bit = 7; bit >= 0; --bit) {
      const uint32_t next = (static_cast<uint8_t>(c) >> bit) & 1U;
      only_ones = only_ones && next == 1;
      value = value << 1 | next;
      if (++bits > kHuffmanMaxBits) return false;
      const uint32_t offset = value - table.first_code[bits];
      if (value < table.first_code[bits] || offset >= table.count[bits]) continue;
      const uint16_t symbol = table.symbols[table.first_symbol[bits] + offset];
      if (symbol == kEndOfString) return false;
      *text += static_cast<char>(symbol);
      value = 0;
      bits = 0;
      only_ones = true;
    }
  }
  return bits < 8 && only_ones;  // padding is the start of the end-of-string code
}

absl::Status HpackDecoder::Lookup(uint64_t index, absl::string_view* name,
                                  absl::string_view* value) const {
  if (index == 0 || index > kHpackStaticEntries + table_.size()) return Malformed("no such index");
  if (index <= kHpackStaticEntries) {
    const HpackStaticEntry& entry = kHpackStatic[index - 1];
    *name = entry.name;
    *value = entry.value;
  } else {
    const Entry& entry = table_[index - kHpackStaticEntries - 1];
    *name = entry.name;
    *value = entry.value;
  }
  return absl::OkStatus();
}

void HpackDecoder::Shrink(size_t bytes) {
  while (table_bytes_ > bytes) {
    const Entry& oldest = table_.back();
    table_bytes_ -= oldest.name.size() + oldest.value.size() + kEntryOverhead;
    table_.pop_back();
  }
}

void HpackDecoder::Insert(std::string name, std::string value) {
  const size_t bytes = name.size() + value.size() + kEntryOverhead;
  if (bytes > max_bytes_) {
    Shrink(0);
    return;
  }
  Shrink(max_bytes_ - bytes);
  table_bytes_ += bytes;
  table_.push_front({std::move(name), std::move(value)});
}

absl::Status HpackDecoder::Decode(absl::string_view block, const Field& field) {
  absl::string_view in = block;
  while (!in.empty()) {
    const auto first = static_cast<uint8_t>(in.front());
    uint64_t index = 0;
    absl::string_view name;
    absl::string_view value;
    if ((first & 0x80) != 0) {  // a header of a table
      if (!ReadInteger(&in, 7, &index)) return Malformed("an index is cut off");
      BITMILL_RETURN_IF_ERROR(Lookup(index, &name, &value));
      field(name, value);
      continue;
    }
    if ((first & 0xe0) == 0x20) {  // a new size of the table
      if (!ReadInteger(&in, 5, &index) || index > kMaxTableBytes) {
        return Malformed("the table grows beyond what was allowed");
      }
      max_bytes_ = index;
      Shrink(max_bytes_);
      continue;
    }
    const bool insert = (first & 0x40) != 0;
    if (!ReadInteger(&in, insert ? 6 : 4, &index)) return Malformed("an index is cut off");
    std::string own_name;
    std::string own_value;
    if (index == 0) {
      if (!ReadString(&in, &own_name)) return Malformed("bad name");
    } else {
      BITMILL_RETURN_IF_ERROR(Lookup(index, &name, &value));
      own_name = std::string(name);
    }
    if (!ReadString(&in, &own_value)) return Malformed("bad value");
    field(own_name, own_value);
    if (insert) Insert(std::move(own_name), std::move(own_value));
  }
  return absl::OkStatus();
}

std::string HpackInsert(absl::string_view name, absl::string_view value) {
  BITMILL_CHECK(name.size() < 127 && value.size() < 127);
  std::string text = "\x40";
  text += static_cast<char>(name.size());
  absl::StrAppend(&text, name);
  text += static_cast<char>(value.size());
  absl::StrAppend(&text, value);
  return text;
}

std::string HpackInserted(int position) {
  BITMILL_CHECK(position >= 0 && position < 65);
  return std::string(
      1, static_cast<char>(0x80 | (kHpackStaticEntries + 1 + static_cast<size_t>(position))));
}

}  // namespace bitmill
