// A table for a terminal: titles, then rows; numbers to the right.
#pragma once

#include <string>
#include <vector>

namespace bitmill {

class TextTable {
 public:
  explicit TextTable(std::vector<std::string> titles) : titles_(std::move(titles)) {}
  // As many cells as titles.
  void AddRow(std::vector<std::string> cells);

  // Lines that end with a newline. A column whose cells all start like numbers is set to the right;
  // trailing blanks are left out.
  std::string Text() const;
  // The same as a Markdown table.
  std::string Markdown() const;

 private:
  std::vector<bool> RightAligned() const;

  std::vector<std::string> titles_;
  std::vector<std::vector<std::string>> rows_;
};

// "53,064": whole numbers with separators.
std::string WithCommas(double value);
// "970 us", "1.24 ms", "2.10 s".
std::string Duration(double nanoseconds);
// "512 B", "38.1 KiB", "1.2 MiB".
std::string Bytes(double bytes);

}  // namespace bitmill
