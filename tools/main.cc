// The program: one subcommand a file.
#include <google/protobuf/stubs/logging.h>

#include <array>
#include <exception>
#include <functional>
#include <memory>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "tools/cli.h"
#include "tools/cmd_bench.h"
#include "tools/cmd_compare.h"
#include "tools/cmd_devices.h"
#include "tools/cmd_infer.h"
#include "tools/cmd_inspect.h"
#include "tools/cmd_load.h"
#include "tools/cmd_probe.h"
#include "tools/cmd_report.h"
#include "tools/cmd_serve.h"
#include "tools/cmd_top.h"

namespace bitmill {
namespace {

int ExitStatusOf(int status, const std::string& /*command*/) { return status; }

int ExitStatusOf(const absl::StatusOr<int>& result, const std::string& command) {
  if (result.ok()) return *result;
  const bool misuse = absl::IsInvalidArgument(result.status());
  return PrintError(result.status().message(),
                    misuse ? absl::StrCat("see 'bitmill ", command, " --help'") : "");
}

int ExitStatusOf(const absl::Status& status, const std::string& command) {
  return ExitStatusOf(status.ok() ? absl::StatusOr<int>(kExitOk) : status, command);
}

using Run = std::function<int()>;

template <typename Options>
Options OptionsOf(void (*add_options)(CLI::App&, Options&));

// Gives the command its options, which live as long as what is returned: it runs the command.
template <auto kAddOptions, auto kRun>
Run Add(CLI::App& command) {
  const auto options = std::make_shared<decltype(OptionsOf(kAddOptions))>();
  kAddOptions(command, *options);
  return [options, name = command.get_name()] { return ExitStatusOf(kRun(*options), name); };
}

int Serve(const ServeOptions& options) { return RunServe(options); }

struct Command {
  const char* name;
  const char* about;
  Run (*add)(CLI::App& command);
};

// In the order of --help.
constexpr std::array kCommands = std::to_array<Command>({
    {"serve", "Serve a model repository over gRPC", Add<AddServeOptions, Serve>},
    {"infer", "Run a model on data, here or on a server", Add<AddInferOptions, RunInfer>},
    {"load", "Send requests to a server and measure it", Add<AddLoadOptions, RunLoad>},
    {"inspect", "Show what a model file holds and what becomes of it",
     Add<AddInspectOptions, RunInspect>},
    {"bench", "Measure kernels and models against the machine's limits",
     Add<AddBenchOptions, RunBench>},
    {"compare", "Hold reports of 'bench --report' against each other",
     Add<AddCompareOptions, RunCompare>},
    {"devices", "List what models can run on here", Add<AddDevicesOptions, RunDevices>},
    {"top", "Show what servers are doing and what holds them up, live", Add<AddTopOptions, RunTop>},
    {"report", "Write a server's performance analysis as one HTML file",
     Add<AddReportOptions, RunReport>},
    {"probe", "Ask a server for its health; exit status 0 when it serves",
     Add<AddProbeOptions, RunProbe>},
});

int Main(int argc, char** argv) {
  // Parse errors come back as statuses; protobuf's own lines would be a second voice.
  google::protobuf::SetLogHandler(nullptr);
  CLI::App app("Inference server for binary models, and the tools around it.", "bitmill");
  app.set_version_flag("--version", absl::StrCat("bitmill ", BITMILL_VERSION));
  app.require_subcommand(1);
  app.get_formatter()->column_width(38);
  Run run;
  for (const Command& command : kCommands) {
    CLI::App& added = *app.add_subcommand(command.name, command.about);
    added.callback([&run, chosen = command.add(added)] { run = chosen; });
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& wanted) {  // --help, --version
    return app.exit(wanted);
  } catch (const CLI::ParseError& error) {
    std::string command;
    for (const CLI::App* used : app.get_subcommands()) command = used->get_name() + " ";
    return PrintError(error.what(), absl::StrCat("see 'bitmill ", command, "--help'"), kExitMisuse);
  }
  return run();
}

}  // namespace
}  // namespace bitmill

int main(int argc, char** argv) {
  try {
    return bitmill::Main(argc, argv);
  } catch (const std::exception& error) {  // of a library: ours returns statuses
    return bitmill::PrintError(error.what(), "");
  }
}
