#include "tools/address_option.h"

#include "CLI/CLI.hpp"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace bitmill {

std::string WhatIsWrongWithAddress(const std::string& address) {
  for (const absl::string_view scheme : {"unix:", "dns:", "ipv4:", "ipv6:"}) {
    if (absl::StartsWith(address, scheme)) return "";
  }
  std::string expected = absl::StrCat("'", address, "': expected HOST:PORT, as 127.0.0.1:8001");
  for (const absl::string_view scheme : {"http://", "https://"}) {
    if (absl::StartsWith(address, scheme)) return absl::StrCat(expected, ", without ", scheme);
  }
  const size_t colon = address.rfind(':');
  if (colon == std::string::npos) return absl::StrCat(expected, "; the port is missing");
  // Of several colons only those in brackets belong to a host.
  const bool brackets = absl::StartsWith(address, "[") && address[colon - 1] == ']';
  if (colon == 0 || (address.find(':') != colon && !brackets)) return expected;
  constexpr int kLargestPort = 65'535;
  int port = 0;
  const bool is_port = absl::SimpleAtoi(address.substr(colon + 1), &port) && port >= 1;
  return is_port && port <= kLargestPort ? "" : expected;
}

void CheckAddresses(CLI::Option& option) {
  option.check(CLI::Validator([](std::string& address) { return WhatIsWrongWithAddress(address); },
                              "", "HOST:PORT"));
}

}  // namespace bitmill
