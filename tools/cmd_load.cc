#include "tools/cmd_load.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <optional>
#include <utility>

#include "CLI/CLI.hpp"
#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tools/address_option.h"
#include "tools/cli.h"
#include "tools/client/signature.h"
#include "tools/load/http2_connection.h"
#include "tools/load/load_report.h"
#include "tools/load/prepare.h"
#include "tools/named_file.h"

namespace bitmill {
namespace {

constexpr int64_t kRandomRequests = 16;  // different ones, when no file is given

std::vector<LoadPoint> PointsOf(const LoadOptions& options) {
  std::vector<LoadPoint> points;
  if (options.rates.empty()) {
    for (const int concurrency : options.concurrency) points.push_back({concurrency});
  }
  for (const double rate : options.rates) {
    points.push_back(
        {options.max_in_flight, rate,
         options.arrivals == "poisson" ? ArrivalKind::kPoisson : ArrivalKind::kConstant});
  }
  return points;
}

absl::StatusOr<LoadModel> PrepareModel(const LoadOptions& options, const WeightedModel& model,
                                       const OipClient& client) {
  const auto about = [&model](const absl::Status& status) {
    return absl::Status(status.code(),
                        absl::StrCat("model '", model.name, "': ", status.message()));
  };
  const absl::StatusOr<RemoteModel> described = client.Describe(model.name, model.version);
  if (!described.ok()) return described.status();  // names the model itself
  const absl::StatusOr<Signature> signature = SignatureOf(*described);
  if (!signature.ok()) return about(signature.status());
  if (signature->inputs.empty()) return about(absl::InvalidArgumentError("it has no inputs"));

  ModelInputs data;
  if (!options.input.files.empty()) {
    absl::StatusOr<ModelInputs> read = ReadModelInputs(*signature, options.input);
    if (!read.ok()) return about(read.status());
    data = *std::move(read);
  } else {
    data.rows = options.batch * kRandomRequests;
    for (const TensorSpec& input : signature->inputs) {
      absl::StatusOr<RowSet> rows = RandomRows(input, data.rows, options.settings.seed);
      if (!rows.ok()) return about(rows.status());
      data.inputs.push_back(*std::move(rows));
    }
  }
  absl::StatusOr<std::vector<PreparedRequest>> requests = PrepareRequests(
      {model.name, model.version}, *signature, data.inputs, data.labels, options.batch);
  if (!requests.ok()) return requests.status();
  return LoadModel{model.name, model.weight, *std::move(requests)};
}

// Asks the server what its models take; that connection is closed again before the load begins.
absl::StatusOr<std::vector<LoadModel>> PrepareModels(const LoadOptions& options) {
  if (options.input.files.empty() && !options.input.labels.empty()) {
    return absl::InvalidArgumentError("--labels needs the data that they belong to, as --input");
  }
  std::vector<WeightedModel> models;
  for (const std::string& text : options.models) {
    BITMILL_ASSIGN_OR_RETURN(WeightedModel model, ParseWeightedModel(text));
    models.push_back(std::move(model));
  }
  BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<OipClient> client,
                           OipClient::Connect(options.settings.address));
  std::vector<LoadModel> prepared;
  for (const WeightedModel& model : models) {
    BITMILL_ASSIGN_OR_RETURN(LoadModel ready, PrepareModel(options, model, *client));
    prepared.push_back(std::move(ready));
  }
  return prepared;
}

// The process behind the address; nullopt when it is on another machine or not ours to look at.
absl::StatusOr<std::optional<ServerProcess>> FindServer(const LoadOptions& options) {
  if (options.server_pid != 0) {
    std::optional<ServerProcess> server = ServerProcess::Find(options.server_pid);
    if (!server.has_value()) {
      return absl::NotFoundError(
          absl::StrCat("--server-pid ", options.server_pid, ": there is no such process"));
    }
    return server;
  }
  const std::optional<int> port = LoopbackPort(options.settings.address);
  if (!port.has_value()) return std::optional<ServerProcess>();
  const std::optional<int> pid = FindListener(*port);
  return pid.has_value() ? ServerProcess::Find(*pid) : std::nullopt;
}

}  // namespace

absl::StatusOr<WeightedModel> ParseWeightedModel(const std::string& text) {
  WeightedModel model;
  model.name = text;
  const size_t colon = model.name.rfind(':');
  if (colon != std::string::npos) {
    if (!absl::SimpleAtod(model.name.substr(colon + 1), &model.weight) ||
        !std::isfinite(model.weight) || model.weight <= 0.0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--model ", text, ": the weight after ':' is a number above 0, as in digits:0.5"));
    }
    model.name.resize(colon);
  }
  const size_t slash = model.name.rfind('/');
  if (slash != std::string::npos) {
    model.version = model.name.substr(slash + 1);
    model.name.resize(slash);
  }
  if (model.name.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--model ", text, ": give a name, as in digits or digits/2:0.5"));
  }
  return model;
}

absl::StatusOr<std::vector<std::pair<std::string, std::string>>> ParseHeaders(
    const std::vector<std::string>& texts) {
  constexpr size_t kMostHeaders = 32, kTooLong = 127, kOfEntry = 32;
  std::vector<std::pair<std::string, std::string>> headers;
  size_t bytes = 0;
  for (const std::string& text : texts) {
    const size_t colon = text.find(':');
    const std::string name = text.substr(0, colon);
    const std::string value = colon == std::string::npos ? "" : text.substr(colon + 1);
    const auto is_name = [](char c) {
      return absl::ascii_islower(c) || absl::ascii_isdigit(c) || c == '-' || c == '_' || c == '.';
    };
    if (name.empty() || !std::ranges::all_of(name, is_name) || name == "te" ||
        name == "content-type" || name.starts_with("grpc-") || name.size() >= kTooLong) {
      return absl::InvalidArgumentError(
          absl::StrCat("--header ", text,
                       ": give NAME:VALUE, the name in lower case and none of "
                       "gRPC's own, as in x-tenant:a"));
    }
    if (value.empty() || value.size() >= kTooLong ||
        !std::ranges::all_of(value, [](char c) { return absl::ascii_isprint(c); })) {
      return absl::InvalidArgumentError(absl::StrCat(
          "--header ", text, ": the value is 1 to 126 printable characters, got ", value.size()));
    }
    bytes += name.size() + value.size() + kOfEntry;
    headers.emplace_back(name, value);
  }
  if (headers.size() > kMostHeaders || bytes > kMostHeaderBytes) {
    return absl::InvalidArgumentError(absl::StrCat("--header: ", headers.size(), " of ", bytes,
                                                   " bytes, at most ", kMostHeaders, " of ",
                                                   kMostHeaderBytes, " together"));
  }
  return headers;
}

void AddLoadOptions(CLI::App& command, LoadOptions& options) {
  LoadSettings& settings = options.settings;
  const auto add = [&command](const char* group, const char* name, auto& value, const char* type,
                              const char* about) {
    return command.add_option(name, value, about)->type_name(type)->group(group);
  };
  constexpr const char *kRequests = "Requests", *kLoad = "Load", *kMeasurement = "Measurement";
  CheckAddresses(*command.add_option("address", settings.address, "Server")
                      ->type_name("HOST:PORT")
                      ->required());
  add(kRequests, "-m,--model", options.models, "NAME[/VERSION][:WEIGHT]",
      "Model to ask; repeat to mix several by weight")
      ->required();
  add(kRequests, "-i,--input", options.input.files, "[INPUT=]FILE[:ARRAY]",
      "Rows to send (npz, npy, idx, png, raw; .gz too); random data when left out");
  add(kRequests, "--labels", options.input.labels, "ARRAY|FILE",
      "Right classes: an array of the input file, or a file; prints accuracy");
  add(kRequests, "-b,--batch", options.batch, "ROWS", "Rows a request")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 20))
      ->capture_default_str();
  add(kRequests, "--timeout", settings.timeout_seconds, "SECONDS", "Deadline of a request; 0: none")
      ->check(CLI::Range(0.0, 3'600.0))
      ->capture_default_str();
  add(kRequests, "--objective", settings.objective_ms, "MILLISECONDS",
      "Count the answers within it; 0: none")
      ->check(CLI::Range(0.0, 3'600'000.0))
      ->capture_default_str();
  command
      .add_flag("--check", settings.check,
                "Compare every answer with the first one to the same request")
      ->group(kRequests);

  add(kRequests, "--header", options.headers, "NAME:VALUE",
      "Metadata of each request, as a proxy would add them; may be repeated");

  command
      .add_flag("--send-time", settings.send_time,
                "Tell the server when each request was sent, so that it knows the way here; needs "
                "clocks that agree")
      ->group(kRequests);

  add(kLoad, "-c,--concurrency", options.concurrency, "N[,N...]",
      "Closed loop: requests in flight; a list is a sweep")
      ->delimiter(',')
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  add(kLoad, "-r,--rate", options.rates, "RATE[,RATE...]",
      "Open loop: requests a second, whatever the server does; a list is a sweep")
      ->delimiter(',')
      ->check(CLI::Range(0.001, 1e7))
      ->excludes("--concurrency");
  add(kLoad, "--arrivals", options.arrivals, "KIND", "Gaps of an open loop: poisson, constant")
      ->check(CLI::IsMember({"poisson", "constant"}))
      ->capture_default_str();
  add(kLoad, "--max-in-flight", options.max_in_flight, "N",
      "Open loop: most requests in flight; later ones wait, and their wait counts")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  add(kLoad, "--connections", settings.connections, "N", "TCP connections")
      ->check(CLI::Range(1, 1024))
      ->capture_default_str();
  add(kLoad, "--seed", settings.seed, "N", "Of random data, arrivals and the mix of models")
      ->capture_default_str();

  add(kMeasurement, "-d,--duration", settings.duration_seconds, "SECONDS",
      "Length of the measurement of each point")
      ->check(CLI::Range(0.05, 86'400.0))
      ->capture_default_str();
  add(kMeasurement, "-w,--warmup", settings.warmup_seconds, "SECONDS",
      "Load before that, not counted")
      ->check(CLI::Range(0.0, 3'600.0))
      ->capture_default_str();
  add(kMeasurement, "--server-pid", options.server_pid, "PID",
      "Process whose CPU time and memory are read; found by the port on this machine")
      ->check(CLI::PositiveNumber);
  add(kMeasurement, "--json", options.json, "FILE",
      "Write the results as JSON; '-' for standard output instead of the table");
  command.add_flag("--allow-errors", options.allow_errors, "Exit with 0 even when requests failed")
      ->group(kMeasurement);
}

absl::StatusOr<int> RunLoad(LoadOptions options) {
  BITMILL_RETURN_IF_ERROR(CheckNamedOutput(options.json));
  BITMILL_ASSIGN_OR_RETURN(options.settings.metadata, ParseHeaders(options.headers));
  BITMILL_ASSIGN_OR_RETURN(std::vector<LoadModel> prepared, PrepareModels(options));
  BITMILL_ASSIGN_OR_RETURN(options.settings.server, FindServer(options));
  BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<LoadRunner> runner,
                           LoadRunner::Create(options.settings, std::move(prepared)));

  LoadReport report;
  report.settings = options.settings;
  report.batch = options.batch;
  int64_t failed = 0;
  const std::vector<LoadPoint> points = PointsOf(options);
  {
    ProgressBar bar("load");
    for (size_t i = 0; i < points.size(); ++i) {
      bar.SetLabel(PointName(points[i]));
      const LoadProgress progress = [&bar, i, &points](double fraction) {
        bar.Update((static_cast<double>(i) + fraction) / static_cast<double>(points.size()));
      };
      report.results.push_back(runner->Run(points[i], progress));
      failed += report.results.back().total.error_count();
    }
  }  // takes the bar away
  const bool json_to_stdout = options.json == "-";
  if (json_to_stdout) {
    std::fputs(LoadJson(report).c_str(), stdout);
  } else {
    std::fputs(LoadTable(report).c_str(), stdout);
    if (!options.json.empty()) {
      BITMILL_RETURN_IF_ERROR(WriteNamedFile(options.json, LoadJson(report)));
    }
  }
  return failed > 0 && !options.allow_errors ? 1 : 0;
}

}  // namespace bitmill
