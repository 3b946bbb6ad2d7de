#include "server/metrics/triton_families.h"

#include <unistd.h>

#include <array>
#include <fstream>
#include <initializer_list>
#include <sstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace bitmill {
namespace {

using prometheus::MetricFamily;

constexpr auto kCounter = prometheus::MetricType::Counter;
constexpr auto kGauge = prometheus::MetricType::Gauge;

std::string ReadText(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

// Triton's four reasons of a failure.
enum Reason { kRejected, kCanceled, kBackend, kOther, kReasons };
constexpr std::array<const char*, kReasons> kReasonNames = {"REJECTED", "CANCELED", "BACKEND",
                                                            "OTHER"};

Reason ReasonOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kResourceExhausted:
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kDeadlineExceeded:  // in the queue: Triton rejects such a request
      return kRejected;
    case absl::StatusCode::kCancelled:
      return kCanceled;
    case absl::StatusCode::kInternal:
      return kBackend;
    default:
      return kOther;
  }
}

struct MachineMemory {
  int64_t total_bytes = 0, used_bytes = 0;
};

MachineMemory ReadMachineMemory() {
  int64_t total_kib = 0, available_kib = 0;
  for (const absl::string_view line : absl::StrSplit(ReadText("/proc/meminfo"), '\n')) {
    const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
    if (words.size() < 2) continue;
    int64_t kib = 0;
    if (!absl::SimpleAtoi(words[1], &kib)) continue;
    if (words[0] == "MemTotal:") total_kib = kib;
    if (words[0] == "MemAvailable:") available_kib = kib;
  }
  return {.total_bytes = total_kib * 1024, .used_bytes = (total_kib - available_kib) * 1024};
}

void AddOne(std::vector<MetricFamily>& families, const char* name, const char* help, double value) {
  AddValue(families.emplace_back(NewFamily(name, kGauge, help)), {}, value);
}

// One counter of each model.
void AddPerModel(const std::vector<ModelSeries>& models, const std::vector<ModelCounts>& counts,
                 const char* name, const char* help, double (*value)(const ModelCounts&),
                 std::vector<MetricFamily>& families) {
  MetricFamily& family = families.emplace_back(NewFamily(name, kCounter, help));
  for (size_t i = 0; i < models.size(); ++i) AddValue(family, models[i].labels, value(counts[i]));
}

// Whole microseconds.
double Micros(int64_t ns) {
  const int64_t micros = ns / 1000;
  return static_cast<double>(micros);
}

double StageMicros(const ModelCounts& counts, std::initializer_list<Stage> stages) {
  int64_t ns = 0;
  for (const Stage stage : stages) ns += counts.stages[static_cast<size_t>(stage)].sum;
  return Micros(ns);
}

void AddFailures(const std::vector<ModelSeries>& models, const std::vector<ModelCounts>& counts,
                 std::vector<MetricFamily>& families) {
  MetricFamily& family = families.emplace_back(
      NewFamily("nv_inference_request_failure", kCounter, "Requests that failed, by reason."));
  for (size_t i = 0; i < models.size(); ++i) {
    std::array<int64_t, kReasons> failed{};
    for (size_t code = 1; code < kStatusCodes; ++code) {
      failed[static_cast<size_t>(ReasonOf(static_cast<absl::StatusCode>(code)))] +=
          counts[i].requests[code];
    }
    for (size_t reason = 0; reason < kReasons; ++reason) {
      AddValue(family, WithLabel(models[i].labels, "reason", kReasonNames[reason]),
               static_cast<double>(failed[reason]));
    }
  }
}

void AddDurations(const std::vector<ModelSeries>& models, const std::vector<ModelCounts>& counts,
                  std::vector<MetricFamily>& families) {
  AddPerModel(
      models, counts, "nv_inference_request_duration_us",
      "Time of successful requests, received to answered.",
      [](const ModelCounts& c) { return Micros(c.success_ns); }, families);
  AddPerModel(
      models, counts, "nv_inference_queue_duration_us",
      "Time that successful requests waited to be computed.",
      [](const ModelCounts& c) {
        return StageMicros(c, {Stage::kQueue, Stage::kSchedule});
      },
      families);
  AddPerModel(
      models, counts, "nv_inference_compute_input_duration_us",
      "Time of decoding requests and putting batches together.",
      [](const ModelCounts& c) {
        return StageMicros(c, {Stage::kDecode, Stage::kAssemble});
      },
      families);
  AddPerModel(
      models, counts, "nv_inference_compute_infer_duration_us", "Time in the model.",
      [](const ModelCounts& c) { return StageMicros(c, {Stage::kCompute}); }, families);
  AddPerModel(
      models, counts, "nv_inference_compute_output_duration_us",
      "Time of taking batches apart and encoding answers.",
      [](const ModelCounts& c) {
        return StageMicros(c, {Stage::kSplit, Stage::kEncode});
      },
      families);
}

}  // namespace

double MachineCpuShare::Read(const std::string& filesystem_root) {
  const std::string text = ReadText(filesystem_root + "/proc/stat");
  const absl::string_view line = absl::string_view(text).substr(0, text.find('\n'));
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ', absl::SkipEmpty());
  int64_t total = 0, idle = 0;
  // "cpu" user nice system idle iowait irq softirq steal; guests are in user already.
  for (size_t i = 1; i < words.size() && i <= 8; ++i) {
    int64_t ticks = 0;
    if (!absl::SimpleAtoi(words[i], &ticks)) return 0;
    total += ticks;
    if (i == 4 || i == 5) idle += ticks;
  }
  MutexLock lock(&mutex_);
  const int64_t elapsed = total - total_;
  if (elapsed >= sysconf(_SC_CLK_TCK)) {
    share_ = static_cast<double>(total - idle - busy_) / static_cast<double>(elapsed);
    busy_ = total - idle;
    total_ = total;
  }
  return share_;
}

void AddTritonFamilies(const std::vector<ModelSeries>& models, MachineCpuShare& cpu_share,
                       std::vector<MetricFamily>& families) {
  if (!models.empty()) {
    std::vector<ModelCounts> counts;
    counts.reserve(models.size());
    for (const ModelSeries& model : models) counts.push_back(model.recorder->Counts());
    AddPerModel(
        models, counts, "nv_inference_request_success", "Requests that succeeded.",
        [](const ModelCounts& c) { return static_cast<double>(c.requests[0]); }, families);
    AddFailures(models, counts, families);
    AddPerModel(
        models, counts, "nv_inference_count", "Rows of requests that succeeded.",
        [](const ModelCounts& c) { return static_cast<double>(c.rows); }, families);
    AddPerModel(
        models, counts, "nv_inference_exec_count", "Executions of the model.",
        [](const ModelCounts& c) {
          int64_t runs = 0;
          for (const int64_t count : c.batch_rows.buckets) runs += count;
          return static_cast<double>(runs);
        },
        families);
    AddDurations(models, counts, families);
    MetricFamily& pending = families.emplace_back(NewFamily(
        "nv_inference_pending_request_count", kGauge, "Requests that wait to be computed."));
    for (const ModelSeries& model : models) {
      AddValue(pending, model.labels,
               static_cast<double>(model.recorder->queue_depth.load(std::memory_order_relaxed)));
    }
  }
  const MachineMemory memory = ReadMachineMemory();
  AddOne(families, "nv_cpu_utilization", "Share of the machine's CPU time in use, 0 to 1.",
         cpu_share.Read());
  AddOne(families, "nv_cpu_memory_total_bytes", "Memory of the machine.",
         static_cast<double>(memory.total_bytes));
  AddOne(families, "nv_cpu_memory_used_bytes", "Memory of the machine in use.",
         static_cast<double>(memory.used_bytes));
}

}  // namespace bitmill
