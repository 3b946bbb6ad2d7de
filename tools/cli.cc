#include "tools/cli.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/log.h"

namespace bitmill {
namespace {

constexpr int kBarWidth = 26;
constexpr char kClearLine[] = "\r\x1b[K";

std::string Colour(std::FILE* stream, const char* code, absl::string_view text) {
  if (!IsRichTerminal(stream)) return std::string(text);
  return absl::StrCat("\x1b[", code, "m", text, "\x1b[0m");
}

}  // namespace

int PrintError(absl::string_view what_is_wrong, absl::string_view what_to_do, ExitStatus status) {
  const std::string line =
      absl::StrCat("bitmill: ", EscapeForLog(what_is_wrong), what_to_do.empty() ? "" : "; ",
                   EscapeForLog(what_to_do), "\n");
  std::fputs(line.c_str(), stderr);
  return status;
}

bool IsRichTerminal(std::FILE* stream) {
  const char* const term = std::getenv("TERM");
  return std::getenv("NO_COLOR") == nullptr && term != nullptr && std::strcmp(term, "dumb") != 0 &&
         isatty(fileno(stream)) == 1;
}

std::string Bold(std::FILE* stream, absl::string_view text) { return Colour(stream, "1", text); }
std::string Green(std::FILE* stream, absl::string_view text) { return Colour(stream, "32", text); }
std::string Red(std::FILE* stream, absl::string_view text) { return Colour(stream, "31", text); }

ProgressBar::ProgressBar(std::string label)
    : shown_(IsRichTerminal(stderr)), label_(std::move(label)) {
  Draw();
}

ProgressBar::~ProgressBar() {
  if (shown_) std::fputs(kClearLine, stderr);
}

void ProgressBar::Update(double fraction) {
  fraction_ = std::clamp(fraction, 0.0, 1.0);
  Draw();
}

void ProgressBar::SetLabel(std::string label) {
  label_ = std::move(label);
  fraction_ = 0;
  drawn_percent_ = -1;
  Draw();
}

void ProgressBar::Draw() {
  const int percent = static_cast<int>(fraction_ * 100);
  if (!shown_ || percent == drawn_percent_) return;
  drawn_percent_ = percent;
  const int filled = static_cast<int>(fraction_ * kBarWidth);
  const std::string bar = std::string(static_cast<size_t>(filled), '#') +
                          std::string(static_cast<size_t>(kBarWidth - filled), '.');
  std::fprintf(stderr, "%s%s  [%s]  %d %%", kClearLine, label_.c_str(), bar.c_str(), percent);
  std::fflush(stderr);
}

}  // namespace bitmill
