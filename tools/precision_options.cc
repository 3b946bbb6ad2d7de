#include "tools/precision_options.h"

#include "CLI/CLI.hpp"

namespace bitmill {

void AddPrecisionOptions(CLI::App& command, PrecisionChoice& choice) {
  command
      .add_option("--precision", choice.precision,
                  "exact; fast: float layers in int8 where that is faster; bf16: float layers in "
                  "bfloat16 where the CPU has it")
      ->check(CLI::IsMember({"exact", "fast", "bf16"}))
      ->type_name("NAME")
      ->capture_default_str();
  command
      .add_option(
          "--calibration", choice.calibration,
          "Sample rows for --precision fast, or for inspect to compare bf16 on (files as --input "
          "takes them)")
      ->type_name("FILE[:ARRAY]");
}

}  // namespace bitmill
