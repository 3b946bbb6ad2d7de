// Text for a terminal that may come from anywhere: made harmless, measured and cut by the columns
// that it takes.
#pragma once

#include <cstddef>
#include <string>

#include "absl/strings/string_view.h"

namespace bitmill {

// `text` with everything left out or replaced that could move the cursor, change colours or the
// direction of writing, or is no UTF-8: control characters become '?', bytes that are no UTF-8
// U+FFFD; invisible formatting is left out.
std::string Printable(absl::string_view text);

// Columns that printable UTF-8 takes: 2 for wide characters (East Asian, most emoji), 0 for marks
// that combine with the character before.
size_t DisplayWidth(absl::string_view text);

// `text` in exactly `columns` columns: filled with blanks, or cut, with '~' in place of the rest.
enum class Align { kLeft, kRight };
std::string Fit(absl::string_view text, size_t columns, Align align = Align::kLeft);
// At most `columns` columns: cut in the same way, not filled.
std::string Cut(absl::string_view text, size_t columns);

}  // namespace bitmill
