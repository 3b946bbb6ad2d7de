#include "tools/tune_option.h"

#include <string>

#include "CLI/CLI.hpp"

namespace bitmill {

CLI::Option* AddTuneOption(CLI::App& command, double& seconds) {
  const std::string about =
      "Measure here, for 1 second a model or --tune=SECONDS, which way to compute each layer is "
      "fastest; kept with the compiled plan";
  // A flag that may have a value, so that `--tune MODEL` does not take the model for one; CLI11
  // would make a number of a flag a whole one.
  return command.add_flag("--tune{1}", about)
      ->check(CLI::Range(0.0, 3600.0))
      ->each([&seconds](const std::string& text) { CLI::detail::lexical_cast(text, seconds); })
      ->type_name("[=SECONDS]");
}

}  // namespace bitmill
