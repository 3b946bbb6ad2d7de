#include "backends/bundle_path.h"

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"

namespace bitmill {

std::string BundlePath(absl::string_view plan_path, absl::string_view way) {
  constexpr absl::string_view kEnding = ".plan";
  absl::string_view stem = plan_path;
  if (absl::EndsWith(stem, kEnding)) stem.remove_suffix(kEnding.size());
  std::string safe;
  for (const char c : way) {
    const bool plain = absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_';
    safe.push_back(plain ? c : '-');
  }
  return absl::StrCat(stem, ".", safe, kEnding);
}

}  // namespace bitmill
