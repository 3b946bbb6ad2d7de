// Whether a model's settings follow its objective while it is served.
#pragma once

#include <cstdint>

namespace bitmill {

enum class AdaptMode : uint8_t {
  kOff,
  kAdvise,  // changes are proposed, not made
  kOn
};

}  // namespace bitmill
