// What a request pays for being watched (docs/analysis_collect.md): CPU time of each thing that the
// server does on its way beside serving it, without a network.
//
//   bitmill_request_cost
//
// Headers: those of a client that calls directly, and of a service mesh. gRPC gives them as a map,
// which it makes when it is first asked for it; reading them means to make it and to look into it.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/analysis/cost.h"
#include "grpc/slice.h"
#include "grpcpp/server_context.h"
#include "server/frontend/load_report.h"
#include "server/metrics/metrics.h"
#include "server/metrics/request_log.h"
#include "server/repository/repository.h"
#include "server/tracing/trace_context.h"
#include "server/tracing/tracer.h"

namespace bitmill {
namespace {

constexpr int kRounds = 201, kCalls = 1'000;
constexpr char kParent[] = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

void Print(const std::string& what, const Cost& cost) {
  std::printf("%-56s %7.1f %7.1f\n", what.c_str(), cost.median, cost.least);
}

using Texts = std::vector<std::pair<std::string, std::string>>;

// As gRPC's core receives them.
class Headers {
 public:
  explicit Headers(Texts texts) : texts_(std::move(texts)) {
    for (const auto& [key, value] : texts_) {
      grpc_metadata entry{};
      entry.key = grpc_slice_from_static_buffer(key.data(), key.size());
      entry.value = grpc_slice_from_static_buffer(value.data(), value.size());
      entries_.push_back(entry);
    }
  }
  absl::Span<const grpc_metadata> entries() const { return entries_; }

 private:
  Texts texts_;
  std::vector<grpc_metadata> entries_;
};

class Forgetful final : public TraceSink {
 public:
  void Add(TracedRequest request) override { Keep(request); }
};

absl::string_view Text(const grpc_slice& slice) {
  return {reinterpret_cast<const char*>(GRPC_SLICE_START_PTR(slice)), GRPC_SLICE_LENGTH(slice)};
}

// As grpc::ServerContextBase::client_metadata() and those who read from it.
void ReadHeaders(absl::Span<const grpc_metadata> entries) {
  std::multimap<grpc::string_ref, grpc::string_ref> map;
  for (const grpc_metadata& entry : entries) {
    const absl::string_view key = Text(entry.key), value = Text(entry.value);
    map.emplace(grpc::string_ref(key.data(), key.size()),
                grpc::string_ref(value.data(), value.size()));
  }
  for (const char* const key :
       {"bitmill-sent-unix-ns", "traceparent", "endpoint-load-metrics-format"}) {
    Keep(map.find(key));
  }
}

Texts Sent(bool mesh) {
  Texts texts = {{"user-agent", "grpc-python/1.60.0 grpc-c/37.0.0 (linux; chttp2)"}};
  if (!mesh) return texts;
  for (const char* const key :
       {"x-request-id", "x-forwarded-proto", "x-forwarded-for", "x-envoy-attempt-count",
        "x-envoy-internal", "x-forwarded-client-cert", "x-b3-traceid", "x-b3-spanid",
        "x-b3-parentspanid", "x-b3-sampled", "authorization", "x-tenant", "grpc-accept-encoding"}) {
    texts.emplace_back(key, "7f5c2b0a-8c1e-4d8e-9a51-2f4a6b1c9d3e");
  }
  return texts;
}

void HeadersCost() {
  for (const bool mesh : {false, true}) {
    Texts texts = Sent(mesh);
    texts.emplace_back("traceparent", kParent);
    const Headers headers(texts);
    Print(absl::StrCat("reading ", texts.size(), " headers"), CostOf(kRounds, kCalls, [&] {
            for (int i = 0; i < kCalls; ++i) ReadHeaders(headers.entries());
          }));
  }
}

void TraceCost(ModelMetrics& metrics, const Clock& clock) {
  Print("reading a traceparent", CostOf(kRounds, kCalls, [] {
          for (int i = 0; i < kCalls; ++i) Keep(ParseTraceParent(kParent));
        }));
  const std::optional<TraceContext> caller = ParseTraceParent(kParent);
  Print("its exemplar", CostOf(kRounds, kCalls, [&] {
          for (int i = 0; i < kCalls; ++i) metrics.RecordExemplar(50'000, caller->trace);
        }));
  Forgetful sink;
  Tracer tracer(0.0, 1, sink, clock);
  Print("its spans, without sending them", CostOf(kRounds, kCalls, [&] {
          for (int i = 0; i < kCalls; ++i) tracer.End(tracer.Begin(caller, "ModelInfer"));
        }));
}

void LoadReportCost() {
  LoadReporter reporter;
  AnalysisReport report;
  report.models.emplace_back();
  reporter.Update(report);
  const auto contexts = [&](bool add) {
    return CostOf(kRounds, 100, [&] {
      for (int i = 0; i < 100; ++i) {
        grpc::ServerContext context;
        if (add) AddLoadReport(LoadReports::kPerRequest, reporter, context);
        Keep(context);
      }
    });
  };
  const Cost with = contexts(true), without = contexts(false);
  Print("a load report put into an answer",
        {with.median - without.median, with.least - without.least});
}

void RecordCost(ServerMetrics& all, const Clock& clock) {
  ModelMetrics& metrics = all.ForModel("m", 1);
  ModelMetrics& stated = all.ForModel("stated", 1);
  stated.objective_ns = 10'000'000;
  StageTimes stages;
  stages.ns = {3'000, 20'000, 900, 4'000, 25'000, 700, 1'200};
  const auto record = [&](ModelMetrics& into) {
    return CostOf(kRounds, kCalls, [&] {
      for (int i = 0; i < kCalls; ++i) {
        into.RecordRequest(absl::StatusCode::kOk, 54'800 + i, 1, stages);
      }
    });
  };
  Print("counters and histograms", record(metrics));
  Print("the same of a model with an objective", record(stated));
  Print("in the system: enter and leave", CostOf(kRounds, kCalls, [&] {
          for (int i = 0; i < kCalls; ++i) {
            metrics.in_system.Enter(i);
            metrics.in_system.Leave(i + 50'000);
          }
        }));
  Print("reading the clock", CostOf(kRounds, kCalls, [&] {
          for (int i = 0; i < kCalls; ++i) Keep(clock.Now());
        }));
  RequestLog log;
  const auto drain = [&] {
    log.Drain([](const RequestRecord& taken) { Keep(taken); }, [](const ExecutionRecord&) {},
              [](const TurnRecord&) {});
  };
  RequestRecord one{.received_ns = 1, .total_ns = 54'800, .stages = stages, .rows = 1};
  Print("the record for the analysis", CostOf(
                                           kRounds, kCalls,
                                           [&] {
                                             for (int i = 0; i < kCalls; ++i) {
                                               one.received_ns += i;
                                               log.Add(one);
                                             }
                                           },
                                           drain));
  for (int i = 0; i < kCalls; ++i) log.Add(one);
  Print("taking it from the queue, on the thread of the analysis",
        CostOf(kRounds, kCalls, drain, [&] {
          for (int i = 0; i < kCalls; ++i) log.Add(one);
        }));
}

// The stamp by which idle models are found when others need room (docs/memory_and_power.md): rounds
// with and without it in turns, so that what else the machine does meets both, and the loop and its
// clock count for neither.
Cost StampCost(const ServedModel& model, MonotonicNanos apart_ns) {
  std::vector<double> costs;
  MonotonicNanos now = 1;
  for (int i = 0; i < kRounds; ++i) {
    const auto round = [&](bool stamp) {
      const int64_t begin = ThreadCpuNanos();
      for (int call = 0; call < kCalls; ++call) {
        now += apart_ns;
        if (stamp) model.Use(now);
        Keep(now);
      }
      return static_cast<double>(ThreadCpuNanos() - begin) / kCalls;
    };
    const bool first = i % 2 == 0;
    const double one = round(first), other = round(!first);
    costs.push_back(first ? one - other : other - one);
  }
  std::sort(costs.begin(), costs.end());
  return {costs[costs.size() / 2], costs.front()};
}

void EvictionCost() {
  const ServedModel model;
  Print("the stamp of a model's last use, requests 20 us apart", StampCost(model, 20'000));
  Print("the same, 1 ms apart: each is written", StampCost(model, 1'000'000));
  std::atomic<bool> stop{false};
  const ServedModel shared;
  std::thread other([&] {
    MonotonicNanos now = 1;
    while (!stop.load(std::memory_order_relaxed)) {
      for (int i = 0; i < kCalls; ++i) shared.Use(now += 20'000);
    }
  });
  Print("20 us apart, beside a thread that does nothing else", StampCost(shared, 20'000));
  stop = true;
  other.join();
}

}  // namespace
}  // namespace bitmill

int main() {
  const bitmill::SystemClock clock;
  const auto metrics = bitmill::CreateServerMetrics({});
  std::printf("%-56s %7s %7s\n", "CPU time, nanoseconds a request", "median", "least");
  bitmill::HeadersCost();
  bitmill::TraceCost(metrics->ForModel("m", 1), clock);
  bitmill::LoadReportCost();
  bitmill::RecordCost(*metrics, clock);
  bitmill::EvictionCost();
  return 0;
}
