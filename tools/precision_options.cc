#include "tools/precision_options.h"

#include "CLI/CLI.hpp"

namespace bitmill {

void AddPrecisionOptions(CLI::App& command, PrecisionChoice& choice) {
  command
      .add_option("--precision", choice.precision,
                  "exact, or fast: float layers in int8 where that is faster")
      ->check(CLI::IsMember({"exact", "fast"}))
      ->type_name("NAME")
      ->capture_default_str();
  command
      .add_option("--calibration", choice.calibration,
                  "Sample rows for --precision fast (files as --input takes them)")
      ->type_name("FILE[:ARRAY]");
}

}  // namespace bitmill
