// Options that name a server.
#pragma once

#include <string>

namespace CLI {
class Option;
}

namespace bitmill {

// What is wrong with an address, as "expected HOST:PORT, ..."; "" for HOST:PORT, [IPV6]:PORT and
// what gRPC knows by a scheme of its own (unix:/path, dns:///name).
std::string WhatIsWrongWithAddress(const std::string& address);

// Says so for each value of the option before anything is asked.
void CheckAddresses(CLI::Option& option);

}  // namespace bitmill
