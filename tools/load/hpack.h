// Header compression of HTTP/2 (RFC 7541), as far as a client of gRPC needs it: everything is
// decoded; what is sent uses literals and the table of what was sent before.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace bitmill {

// The state of one direction of one connection: blocks must be decoded in the order received.
class HpackDecoder {
 public:
  using Field = std::function<void(absl::string_view name, absl::string_view value)>;

  // Calls `field` for each header of one complete block; the views are valid during the call.
  // InvalidArgument for a malformed block, after which the connection is of no use.
  absl::Status Decode(absl::string_view block, const Field& field);

 private:
  struct Entry {
    std::string name, value;
  };

  absl::Status Lookup(uint64_t index, absl::string_view* name, absl::string_view* value) const;
  void Insert(std::string name, std::string value);
  void Shrink(size_t bytes);

  std::deque<Entry> table_;  // newest first
  size_t table_bytes_ = 0, max_bytes_ = 4096;
};

// A header that both sides put into their tables, or `indexed` as the one byte that stands for it
// from then on. `position` is how many headers were put in after it. Names and values are shorter
// than 127 bytes; position is below 65.
std::string HpackInsert(absl::string_view name, absl::string_view value);
std::string HpackInserted(int position);

// Appends the decoded text. False when it is not a valid code (padding included).
bool HuffmanDecode(absl::string_view code, std::string* text);

}  // namespace bitmill
