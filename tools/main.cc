// The program: one subcommand a file.
#include <google/protobuf/stubs/logging.h>

#include <exception>
#include <functional>
#include <string>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "tools/cli.h"
#include "tools/cmd_bench.h"
#include "tools/cmd_compare.h"
#include "tools/cmd_infer.h"
#include "tools/cmd_inspect.h"
#include "tools/cmd_load.h"
#include "tools/cmd_probe.h"
#include "tools/cmd_report.h"
#include "tools/cmd_serve.h"
#include "tools/cmd_top.h"

namespace bitmill {
namespace {

int Report(const absl::StatusOr<int>& result, const std::string& command) {
  if (result.ok()) return *result;
  const bool misuse = absl::IsInvalidArgument(result.status());
  return PrintError(result.status().message(),
                    misuse ? absl::StrCat("see 'bitmill ", command, " --help'") : "");
}

int Main(int argc, char** argv) {
  // Parse errors come back as statuses; protobuf's own lines would be a second voice.
  google::protobuf::SetLogHandler(nullptr);
  CLI::App app("Inference server for binary models, and the tools around it.", "bitmill");
  app.set_version_flag("--version", absl::StrCat("bitmill ", BITMILL_VERSION));
  app.require_subcommand(1);
  app.get_formatter()->column_width(38);
  std::function<int()> run;
  const auto add = [&app, &run](const char* name, const char* about, std::function<int()> command) {
    CLI::App* const added = app.add_subcommand(name, about);
    added->callback([&run, command = std::move(command)] { run = command; });
    return added;
  };

  ServeOptions serve;
  AddServeOptions(
      *add("serve", "Serve a model repository over gRPC", [&serve] { return RunServe(serve); }),
      serve);
  InferOptions infer;
  AddInferOptions(*add("infer", "Run a model on data, here or on a server",
                       [&infer] { return Report(RunInfer(infer), "infer"); }),
                  infer);
  LoadOptions load;
  AddLoadOptions(*add("load", "Send requests to a server and measure it",
                      [&load] { return Report(RunLoad(load), "load"); }),
                 load);
  InspectOptions inspect;
  AddInspectOptions(*add("inspect", "Show what a model file holds and what becomes of it",
                         [&inspect] {
                           const absl::Status status = RunInspect(inspect);
                           return Report(status.ok() ? absl::StatusOr<int>(kExitOk) : status,
                                         "inspect");
                         }),
                    inspect);
  BenchOptions bench;
  AddBenchOptions(*add("bench", "Measure kernels and models against the machine's limits",
                       [&bench] { return Report(RunBench(bench), "bench"); }),
                  bench);
  CompareOptions compare;
  AddCompareOptions(*add("compare", "Hold reports of 'bench --report' against each other",
                         [&compare] { return Report(RunCompare(compare), "compare"); }),
                    compare);
  TopOptions top;
  AddTopOptions(*add("top", "Show what servers are doing and what holds them up, live",
                     [&top] { return Report(RunTop(top), "top"); }),
                top);
  ReportOptions report;
  AddReportOptions(*add("report", "Write a server's performance analysis as one HTML file",
                        [&report] { return Report(RunReport(report), "report"); }),
                   report);
  ProbeOptions probe;
  AddProbeOptions(*add("probe", "Ask a server for its health; exit status 0 when it serves",
                       [&probe] { return RunProbe(probe); }),
                  probe);

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
