#include "tools/load/load_runner.h"

#include <sys/prctl.h>

#include <algorithm>
#include <deque>
#include <random>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "proto/inference.pb.h"
#include "tools/load/answer_judge.h"
#include "tools/load/transport.h"

namespace bitmill {
namespace {

constexpr const char* kMethod = "/inference.GRPCInferenceService/ModelInfer";
constexpr int64_t kProgressNanos = 100'000'000;
constexpr int64_t kDrainNanos = 10'000'000'000;
constexpr int64_t kConnectMillis = 3000;
constexpr int64_t kTimerSlackNanos = 1000;  // how late the system may end a wait
// A server enforces a deadline itself; we give up a little later, in case it does not.
constexpr int64_t kDeadlineGraceNanos = 100'000'000;

int64_t ToNanos(double seconds) { return static_cast<int64_t>(seconds * 1e9); }

// One request in flight; reused.
struct Call {
  size_t model = 0, request = 0;
  int64_t start_ns = 0;  // what its latency is measured from
  uint64_t number = 0;   // of the request that it carries now; 0: free
};

struct Model {
  LoadModel source;
  size_t next = 0;
};

// What one model did within the window.
struct Tally {
  ModelTally counts;
  std::vector<int64_t> latencies_ns;
};

struct Reading {
  int64_t time_ns = 0, client_cpu_ns = 0, server_cpu_ns = 0, server_rss_bytes = 0;
};

// A call that must be done by then.
struct Expiry {
  int64_t time_ns;
  size_t call;
  uint64_t number;
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
      weights.push_back(model.weight);
      models_.push_back({std::move(model)});
      keep_answers_ = keep_answers_ || !models_.back().source.requests.front().labels.empty();
    }
    keep_answers_ = keep_answers_ || settings_.check;
    choose_ = std::discrete_distribution<size_t>(weights.begin(), weights.end());
  }

  absl::Status Connect() {
    CallOptions options;
    options.path = kMethod;
    options.authority = settings_.address;
    options.timeout_us = static_cast<int64_t>(settings_.timeout_seconds * 1e6);
    options.keep_answers = keep_answers_;
    options.send_time = settings_.send_time;
    options.metadata = settings_.metadata;
    prctl(PR_SET_TIMERSLACK, kTimerSlackNanos, 0, 0, 0);
    BITMILL_ASSIGN_OR_RETURN(
        transport_, Transport::Connect(
                        settings_.address, settings_.connections, options,
                        [this](size_t call, const absl::Status& status, absl::string_view answer) {
                          Finish(call, status, answer, clock_.Now());
                        },
                        kConnectMillis));
    return absl::OkStatus();
  }

  LoadResult Run(const LoadPoint& point, const LoadProgress& progress) {
    Begin(point);
    if (!open_) {
      for (size_t call = 0; call < calls_.size(); ++call) Start(call, clock_.Now());
    }
    RunUntil(window_start_, progress);
    const Reading before = Read();
    measuring_ = true;
    RunUntil(window_end_, progress);
    measuring_ = false;
    const Reading after = Read();
    sending_ = false;
    Drain();
    if (progress) progress(1.0);
    return Report(point, before, after);
  }

 private:
  void Begin(const LoadPoint& point) {
    open_ = point.rate > 0.0;
    calls_.assign(static_cast<size_t>(point.concurrency), Call());
    free_calls_.clear();
    for (size_t call = calls_.size(); open_ && call > 0; --call) free_calls_.push_back(call - 1);
    expiries_.clear();
    tallies_.clear();
    tallies_.resize(models_.size());
    for (size_t i = 0; i < models_.size(); ++i) tallies_[i].counts.name = models_[i].source.name;
    send_lags_ns_.clear();
    unsent_ = 0;
    finished_ = 0;
    finished_rows_ = 0;
    sending_ = true;
    begin_ = clock_.Now();
    window_start_ = begin_ + ToNanos(settings_.warmup_seconds);
    window_end_ = window_start_ + ToNanos(settings_.duration_seconds);
    if (open_) {
      schedule_ = std::make_unique<ArrivalSchedule>(point.arrivals, point.rate, settings_.seed);
      next_due_ = begin_ + schedule_->NextNanos();
    }
  }

  void Start(size_t index, int64_t start_ns) {
    Call& call = calls_[index];
    call.model = models_.size() == 1 ? 0 : choose_(random_);
    Model& model = models_[call.model];
    call.request = model.next;
    model.next = (model.next + 1) % model.source.requests.size();
    call.start_ns = start_ns;
    call.number = ++requests_started_;
    ++outstanding_;
    if (settings_.timeout_seconds > 0.0) {
      expiries_.push_back({clock_.Now() + ToNanos(settings_.timeout_seconds) + kDeadlineGraceNanos,
                           index, call.number});
    }
    transport_->Start(index, model.source.requests[call.request].bytes);
  }

  // Sends what the schedule of an open loop says is due, as far as there are free calls.
  void SendDue() {
    while (!free_calls_.empty() && next_due_ < window_end_) {
      const int64_t now = clock_.Now();
      if (next_due_ > now) return;
      const size_t call = free_calls_.back();
      free_calls_.pop_back();
      if (next_due_ >= window_start_) send_lags_ns_.push_back(now - next_due_);
      Start(call, next_due_);
      next_due_ = begin_ + schedule_->NextNanos();
    }
  }

  bool BacklogLeft() const { return open_ && next_due_ < window_end_; }

  // Sends and receives until `until`.
  void RunUntil(int64_t until, const LoadProgress& progress) {
    int64_t next_progress = clock_.Now() + kProgressNanos;
    for (int64_t now = clock_.Now(); now < until; now = clock_.Now()) {
      Turn(std::min(until, next_progress));
      if (now < next_progress) continue;
      next_progress = now + kProgressNanos;
      if (progress) {
        progress(static_cast<double>(now - begin_) / static_cast<double>(window_end_ - begin_));
      }
    }
  }

  // One wait for answers, at most until `deadline`.
  void Turn(int64_t deadline) {
    if (open_) {
      SendDue();
      if (!free_calls_.empty() && BacklogLeft()) deadline = std::min(deadline, next_due_);
    }
    if (!expiries_.empty()) deadline = std::min(deadline, expiries_.front().time_ns);
    transport_->Poll(deadline);
    Expire(clock_.Now());
  }

  // Gives up calls whose deadline has passed. Deadlines are equally long, so the oldest is first.
  void Expire(int64_t now) {
    while (!expiries_.empty() && expiries_.front().time_ns <= now) {
      const Expiry expiry = expiries_.front();
      expiries_.pop_front();
      if (calls_[expiry.call].number != expiry.number) continue;
      transport_->Cancel(expiry.call);
      Finish(expiry.call, absl::DeadlineExceededError("no answer within --timeout"), {}, now);
    }
  }

  void Finish(size_t index, const absl::Status& status, absl::string_view answer, int64_t now) {
    Call& call = calls_[index];
    call.number = 0;
    --outstanding_;
    if (measuring_) {
      ++finished_;
      if (status.ok()) finished_rows_ += RequestOf(call).rows;
    }
    if (open_ ? call.start_ns >= window_start_ : measuring_) Record(call, status, answer, now);
    if (open_) {
      free_calls_.push_back(index);
    } else if (sending_) {
      Start(index, now);
    }
  }

  const PreparedRequest& RequestOf(const Call& call) const {
    return models_[call.model].source.requests[call.request];
  }

  void Record(const Call& call, const absl::Status& status, absl::string_view answer, int64_t now) {
    Tally& tally = tallies_[call.model];
    if (!status.ok()) {
      AddError(tally, absl::StatusCodeToString(status.code()), status.message());
      return;
    }
    const PreparedRequest& request = RequestOf(call);
    if (settings_.check || !request.labels.empty()) {
      const std::string error = Judge(call, answer, tally.counts);
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
  std::string Judge(const Call& call, absl::string_view answer, ModelTally& counts) {
    inference::ModelInferResponse response;
    if (!response.ParseFromArray(answer.data(), static_cast<int>(answer.size()))) {
      return "the answer is not a ModelInferResponse";
    }
    if (settings_.check) {
      const absl::Status same = judge_.SameAsFirst(call.model, call.request, response);
      if (!same.ok()) return std::string(same.message());
    }
    const std::vector<int64_t>& labels = RequestOf(call).labels;
    if (!labels.empty()) {
      const absl::StatusOr<int64_t> correct = CountCorrect(response, labels);
      if (!correct.ok()) return std::string(correct.status().message());
      counts.labelled_rows += static_cast<int64_t>(labels.size());
      counts.correct_rows += *correct;
    }
    return "";
  }

  static void AddError(Tally& tally, const std::string& code, absl::string_view message) {
    if (tally.counts.errors.empty()) tally.counts.first_error = absl::StrCat(code, ": ", message);
    ++tally.counts.errors[code];
  }

  // Waits for what is in flight, and for what an open loop has yet to send; then gives it up.
  void Drain() {
    const int64_t limit = clock_.Now() + kDrainNanos;
    while (outstanding_ > 0 || BacklogLeft()) {
      const int64_t now = clock_.Now();
      if (now < limit) {
        Turn(std::min(limit, now + kProgressNanos));
        continue;
      }
      for (; BacklogLeft(); next_due_ = begin_ + schedule_->NextNanos()) ++unsent_;
      for (size_t call = 0; call < calls_.size(); ++call) {
        if (calls_[call].number == 0) continue;
        transport_->Cancel(call);
        Finish(call, absl::DeadlineExceededError("no answer 10 s after the end"), {}, now);
      }
    }
  }

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
      tally.counts.in_time = CountWithin(tally.latencies_ns, settings_.objective_ms);
      result.total.in_time += tally.counts.in_time;
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
  bool keep_answers_ = false;
  std::vector<Model> models_;
  AnswerJudge judge_;
  std::unique_ptr<Transport> transport_;
  std::mt19937_64 random_;
  std::discrete_distribution<size_t> choose_;

  // Of the current run.
  std::vector<Call> calls_;
  std::vector<size_t> free_calls_;  // open loop
  std::deque<Expiry> expiries_;
  std::unique_ptr<ArrivalSchedule> schedule_;
  int64_t next_due_ = 0;
  std::vector<Tally> tallies_;
  std::vector<int64_t> send_lags_ns_;
  bool open_ = false, sending_ = false, measuring_ = false;
  int64_t begin_ = 0, window_start_ = 0, window_end_ = 0;
  int64_t finished_ = 0, finished_rows_ = 0, outstanding_ = 0, unsent_ = 0;
  uint64_t requests_started_ = 0;
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
