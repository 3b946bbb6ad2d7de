// --tune, the same for every command that compiles models.
#pragma once

namespace CLI {
class App;
class Option;
}  // namespace CLI

namespace bitmill {

// `seconds`: of CompileOptions::tune_seconds; stays as it is without the option.
CLI::Option* AddTuneOption(CLI::App& command, double& seconds);

}  // namespace bitmill
