#include "tools/load/load_runner.h"

#include <errno.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <random>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/grpcpp.h"
#include "grpcpp/support/proto_buffer_reader.h"
#include "proto/inference.pb.h"
#include "tools/load/answer_judge.h"

namespace bitmill {
namespace {

constexpr const char* kMethod = "/inference.GRPCInferenceService/ModelInfer";
constexpr int64_t kProgressNanos = 100'000'000;
constexpr int64_t kDrainNanos = 10'000'000'000;
constexpr int64_t kGonePauseNanos = 1'000'000;
constexpr int64_t kConnectMillis = 5000;

gpr_timespec AtMonotonic(int64_t nanos) {
  return {nanos / 1'000'000'000, static_cast<int32_t>(nanos % 1'000'000'000), GPR_CLOCK_MONOTONIC};
}

int64_t ToNanos(double seconds) { return static_cast<int64_t>(seconds * 1e9); }

void SleepUntil(int64_t nanos) {
  const timespec time = {nanos / 1'000'000'000, nanos % 1'000'000'000};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nullptr) == EINTR) {
  }
}

std::string CodeName(grpc::StatusCode code) {
  return absl::StatusCodeToString(static_cast<absl::StatusCode>(code));
}

struct Model {
  LoadModel source;
  std::vector<grpc::ByteBuffer> payloads;  // of source.requests; shared by all sends
  size_t next = 0;
};

// One request in flight; reused.
struct Call {
  std::unique_ptr<grpc::ClientContext> context;
  std::unique_ptr<grpc::GenericClientAsyncResponseReader> reader;
  grpc::ByteBuffer answer;
  grpc::Status status;
  size_t model = 0, request = 0;
  int64_t start_ns = 0;  // what its latency is measured from
  size_t connection = 0;
  std::atomic<bool> in_flight{false};
};

// What one model did within the window.
struct Tally {
  ModelTally counts;
  std::vector<int64_t> latencies_ns;
};

}  // namespace

int64_t ModelTally::error_count() const {
  int64_t count = 0;
  for (const auto& [code, number] : errors) count += number;
  return count;
}

class LoadRunner::Impl {
 public:
  Impl(const LoadSettings& settings, std::vector<LoadModel> models)
      : settings_(settings), random_(settings.seed) {
    std::vector<double> weights;
    for (LoadModel& model : models) {
      BITMILL_CHECK(!model.requests.empty() && model.weight > 0.0);
      Model& added = models_.emplace_back();
      added.source = std::move(model);
      for (PreparedRequest& request : added.source.requests) {
        const grpc::Slice slice(request.bytes);
        added.payloads.emplace_back(&slice, 1);
        request.bytes.clear();
        request.bytes.shrink_to_fit();
      }
      weights.push_back(added.source.weight);
    }
    choose_ = std::discrete_distribution<size_t>(weights.begin(), weights.end());
  }

  absl::Status Connect() {
    for (int i = 0; i < settings_.connections; ++i) {
      grpc::ChannelArguments arguments;
      arguments.SetMaxReceiveMessageSize(-1);
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // a connection each
      arguments.SetInt(GRPC_ARG_ENABLE_RETRIES, 0);             // an error is an error
      const auto channel = grpc::CreateCustomChannel(settings_.address,
                                                     grpc::InsecureChannelCredentials(), arguments);
      if (!channel->WaitForConnected(std::chrono::system_clock::now() +
                                     std::chrono::milliseconds(kConnectMillis))) {
        return absl::UnavailableError(absl::StrCat("no gRPC server answers at ", settings_.address,
                                                   " within ", kConnectMillis,
                                                   " ms; start one, or check host and port"));
      }
      stubs_.push_back(std::make_unique<grpc::GenericStub>(channel));
    }
    return absl::OkStatus();
  }

  LoadResult Run(const LoadPoint& point, const LoadProgress& progress) {
    Begin(point);
    std::thread pacer;
    if (open_) {
      pacer = std::thread([this] { Pace(); });
    } else {
      for (Call& call : calls_) Start(call, clock_.Now());
    }
    ReceiveUntil(window_start_, progress);
    const Reading before = Read();
    measuring_ = true;
    ReceiveUntil(window_end_, progress);
    measuring_ = false;
    const Reading after = Read();
    sending_ = false;
    Drain();
    if (pacer.joinable()) pacer.join();
    if (progress) progress(1.0);
    return Report(point, before, after);
  }

 private:
  void Begin(const LoadPoint& point) {
    open_ = point.rate > 0.0;
    calls_.clear();
    free_calls_.clear();
    for (int i = 0; i < point.concurrency; ++i) {
      Call& call = calls_.emplace_back();
      call.connection = static_cast<size_t>(i) % stubs_.size();
      if (open_) free_calls_.push_back(&call);
    }
    tallies_.clear();
    tallies_.resize(models_.size());
    for (size_t i = 0; i < models_.size(); ++i) tallies_[i].counts.name = models_[i].source.name;
    send_lags_ns_.clear();
    unsent_ = 0;
    finished_ = 0;
    finished_rows_ = 0;
    cancelled_ = false;
    pacer_done_ = !open_;
    sending_ = true;
    begin_ = clock_.Now();
    window_start_ = begin_ + ToNanos(settings_.warmup_seconds);
    window_end_ = window_start_ + ToNanos(settings_.duration_seconds);
    if (open_) {
      schedule_ = std::make_unique<ArrivalSchedule>(point.arrivals, point.rate, settings_.seed);
    }
  }

  // Called by one thread only: the receiver in a closed loop, the pacer in an open one.
  void Start(Call& call, int64_t start_ns) {
    call.model = models_.size() == 1 ? 0 : choose_(random_);
    Model& model = models_[call.model];
    call.request = model.next;
    model.next = (model.next + 1) % model.payloads.size();
    call.start_ns = start_ns;
    call.reader.reset();  // before its context
    call.context = std::make_unique<grpc::ClientContext>();
    if (settings_.timeout_seconds > 0.0) {
      call.context->set_deadline(AtMonotonic(clock_.Now() + ToNanos(settings_.timeout_seconds)));
    }
    call.reader = stubs_[call.connection]->PrepareUnaryCall(call.context.get(), kMethod,
                                                            model.payloads[call.request], &queue_);
    outstanding_.fetch_add(1);
    call.reader->StartCall();
    call.in_flight.store(true);
    call.reader->Finish(&call.answer, &call.status, &call);
  }

  // The sending thread of an open loop.
  void Pace() {
    for (int64_t due = begin_ + schedule_->NextNanos(); due < window_end_;
         due = begin_ + schedule_->NextNanos()) {
      if (due > clock_.Now()) SleepUntil(due);
      Call* call = TakeFreeCall();
      if (call == nullptr) {
        unsent_.fetch_add(1);
        continue;
      }
      if (due >= window_start_) send_lags_ns_.push_back(std::max<int64_t>(0, clock_.Now() - due));
      Start(*call, due);
    }
    pacer_done_.store(true);
  }

  // Waits for one; null once the run was cancelled.
  Call* TakeFreeCall() {
    std::unique_lock<std::mutex> lock(free_mutex_);
    free_changed_.wait(lock, [this] { return !free_calls_.empty() || cancelled_.load(); });
    if (cancelled_.load()) return nullptr;
    Call* call = free_calls_.back();
    free_calls_.pop_back();
    return call;
  }

  // Handles answers until `until`.
  void ReceiveUntil(int64_t until, const LoadProgress& progress) {
    int64_t next_progress = clock_.Now() + kProgressNanos;
    for (int64_t now = clock_.Now(); now < until;) {
      ReceiveOne(std::min(until, next_progress), &now);
      if (now < next_progress) continue;
      next_progress = now + kProgressNanos;
      if (progress) {
        progress(static_cast<double>(now - begin_) / static_cast<double>(window_end_ - begin_));
      }
    }
  }

  // Handles one answer; false when none came before `deadline`. `now` is the time afterwards.
  bool ReceiveOne(int64_t deadline, int64_t* now) {
    void* tag = nullptr;
    bool ok = false;
    const auto status = queue_.AsyncNext(&tag, &ok, AtMonotonic(deadline));
    *now = clock_.Now();
    if (status != grpc::CompletionQueue::GOT_EVENT) return false;
    Finish(*static_cast<Call*>(tag), *now);
    return true;
  }

  void Finish(Call& call, int64_t now) {
    call.in_flight.store(false);
    outstanding_.fetch_sub(1);
    if (measuring_) {
      ++finished_;
      if (call.status.ok())
        finished_rows_ += models_[call.model].source.requests[call.request].rows;
    }
    if (open_ ? call.start_ns >= window_start_ : measuring_) Record(call, now);
    call.answer.Clear();
    if (open_) {
      {
        const std::lock_guard<std::mutex> lock(free_mutex_);
        free_calls_.push_back(&call);
      }
      free_changed_.notify_one();
    } else if (sending_) {
      // A server that is gone refuses at once; do not spin on it.
      const bool gone = call.status.error_code() == grpc::StatusCode::UNAVAILABLE;
      if (gone) SleepUntil(now + kGonePauseNanos);
      Start(call, gone ? clock_.Now() : now);
    }
  }

  void Record(Call& call, int64_t now) {
    Tally& tally = tallies_[call.model];
    if (!call.status.ok()) {
      AddError(tally, CodeName(call.status.error_code()), call.status.error_message());
      return;
    }
    const PreparedRequest& request = models_[call.model].source.requests[call.request];
    if (settings_.check || !request.labels.empty()) {
      const std::string error = Judge(call, request, tally.counts);
      if (!error.empty()) {
        AddError(tally, "MISMATCH", error);
        return;
      }
    }
    ++tally.counts.requests;
    tally.counts.rows += request.rows;
    tally.latencies_ns.push_back(now - call.start_ns);
  }

  // What is wrong with the answer; empty when nothing.
  std::string Judge(Call& call, const PreparedRequest& request, ModelTally& counts) {
    inference::ModelInferResponse response;
    grpc::ProtoBufferReader reader(&call.answer);
    if (!response.ParseFromZeroCopyStream(&reader)) {
      return "the answer is not a ModelInferResponse";
    }
    if (settings_.check) {
      const absl::Status same = judge_.SameAsFirst(call.model, call.request, response);
      if (!same.ok()) return std::string(same.message());
    }
    if (!request.labels.empty()) {
      const absl::StatusOr<int64_t> correct = CountCorrect(response, request.labels);
      if (!correct.ok()) return std::string(correct.status().message());
      counts.labelled_rows += static_cast<int64_t>(request.labels.size());
      counts.correct_rows += *correct;
    }
    return "";
  }

  static void AddError(Tally& tally, const std::string& code, const std::string& message) {
    if (tally.counts.errors.empty()) tally.counts.first_error = absl::StrCat(code, ": ", message);
    ++tally.counts.errors[code];
  }

  // Waits for what is in flight, and for what an open loop has yet to send; then cancels it.
  void Drain() {
    const int64_t limit = clock_.Now() + kDrainNanos;
    while (outstanding_.load() > 0 || !pacer_done_.load()) {
      int64_t now = clock_.Now();
      if (now >= limit) {
        {
          const std::lock_guard<std::mutex> lock(free_mutex_);
          cancelled_ = true;
        }
        free_changed_.notify_all();
        for (Call& call : calls_) {
          if (call.in_flight.load()) call.context->TryCancel();
        }
      }
      ReceiveOne(now + kProgressNanos, &now);
    }
  }

  struct Reading {
    int64_t time_ns = 0, client_cpu_ns = 0, server_cpu_ns = 0, server_rss_bytes = 0;
  };

  Reading Read() const {
    Reading reading;
    reading.time_ns = clock_.Now();
    reading.client_cpu_ns = ProcessCpuNanos();
    if (settings_.server.has_value()) {
      reading.server_cpu_ns = settings_.server->CpuNanos();
      reading.server_rss_bytes = settings_.server->RssBytes();
    }
    return reading;
  }

  LoadResult Report(const LoadPoint& point, const Reading& before, const Reading& after) {
    LoadResult result;
    result.point = point;
    result.seconds = static_cast<double>(after.time_ns - before.time_ns) / 1e9;
    std::vector<int64_t> all_ns;
    for (Tally& tally : tallies_) {
      Add(tally.counts, result.total);
      all_ns.insert(all_ns.end(), tally.latencies_ns.begin(), tally.latencies_ns.end());
      tally.counts.latency = Summarize(std::move(tally.latencies_ns));
      result.models.push_back(tally.counts);
    }
    if (unsent_ > 0) {
      result.total.errors["NOT_SENT"] += unsent_;
      if (result.total.first_error.empty()) {
        result.total.first_error = "NOT_SENT: the server never caught up with the schedule";
      }
    }
    result.total.latency = Summarize(std::move(all_ns));
    const double finished = static_cast<double>(std::max<int64_t>(1, finished_));
    result.requests_per_second = static_cast<double>(finished_) / result.seconds;
    result.rows_per_second = static_cast<double>(finished_rows_) / result.seconds;
    result.client_cpu_us =
        static_cast<double>(after.client_cpu_ns - before.client_cpu_ns) / 1e3 / finished;
    if (settings_.server.has_value()) {
      result.server_cpu_us =
          static_cast<double>(after.server_cpu_ns - before.server_cpu_ns) / 1e3 / finished;
      result.server_rss_bytes = after.server_rss_bytes;
    }
    result.send_lag = Summarize(std::move(send_lags_ns_));
    return result;
  }

  static void Add(const ModelTally& part, ModelTally& total) {
    total.requests += part.requests;
    total.rows += part.rows;
    total.labelled_rows += part.labelled_rows;
    total.correct_rows += part.correct_rows;
    for (const auto& [code, count] : part.errors) total.errors[code] += count;
    if (total.first_error.empty() && !part.first_error.empty()) {
      total.first_error = absl::StrCat("model '", part.name, "': ", part.first_error);
    }
  }

  const LoadSettings settings_;
  const SystemClock clock_;
  std::vector<Model> models_;
  AnswerJudge judge_;
  std::vector<std::unique_ptr<grpc::GenericStub>> stubs_;
  grpc::CompletionQueue queue_;

  // Of the sending thread.
  std::mt19937_64 random_;
  std::discrete_distribution<size_t> choose_;
  std::unique_ptr<ArrivalSchedule> schedule_;
  std::vector<int64_t> send_lags_ns_;

  // Of the receiving thread; those before the start of a run are read by both.
  std::deque<Call> calls_;
  std::vector<Tally> tallies_;
  bool open_ = false, sending_ = false, measuring_ = false;
  int64_t begin_ = 0, window_start_ = 0, window_end_ = 0;
  int64_t finished_ = 0, finished_rows_ = 0;

  std::atomic<int64_t> outstanding_{0}, unsent_{0};
  std::atomic<bool> cancelled_{false}, pacer_done_{true};
  std::mutex free_mutex_;
  std::condition_variable free_changed_;
  std::vector<Call*> free_calls_;  // guarded by free_mutex_
};

LoadRunner::LoadRunner(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
LoadRunner::~LoadRunner() = default;

absl::StatusOr<std::unique_ptr<LoadRunner>> LoadRunner::Create(const LoadSettings& settings,
                                                               std::vector<LoadModel> models) {
  BITMILL_CHECK(!models.empty() && settings.connections > 0);
  auto impl = std::make_unique<Impl>(settings, std::move(models));
  BITMILL_RETURN_IF_ERROR(impl->Connect());
  return std::unique_ptr<LoadRunner>(new LoadRunner(std::move(impl)));
}

LoadResult LoadRunner::Run(const LoadPoint& point, const LoadProgress& progress) {
  return impl_->Run(point, progress);
}

}  // namespace bitmill
