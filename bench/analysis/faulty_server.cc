// The server with known faults, for bench/diagnosis.py: the options of `bitmill serve`, and what is
// to be wrong with it.
#include "CLI/CLI.hpp"
#include "bench/analysis/faulty_backend.h"
#include "tools/cli.h"
#include "tools/cmd_serve.h"

int main(int argc, char** argv) {
  CLI::App app("bitmill serve, with faults that are known.", "bitmill_faulty_server");
  bitmill::ServeOptions options;
  bitmill::Faults faults;
  bitmill::AddServeOptions(app, options);
  app.add_option("--lock-us", faults.lock_us, "Microseconds that an execution holds a shared lock")
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--busy-us", faults.busy_us, "Microseconds that an execution takes longer")
      ->check(CLI::Range(0, 1'000'000));
  app.add_option("--pad-rows", faults.pad_rows, "Rows that executions are padded to a multiple of")
      ->check(CLI::Range(1, 4096));
  CLI11_PARSE(app, argc, argv);
  const bitmill::ServeParts parts{
      .wrap_backend = [&faults](std::unique_ptr<bitmill::Backend> backend) {
        return bitmill::AddFaults(std::move(backend), faults);
      }};
  return bitmill::RunServe(options, parts);
}
