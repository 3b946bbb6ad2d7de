#include "bench/analysis/simulated_server.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <memory>
#include <random>

#include "server/analysis/adapter.h"
#include "server/batch/admission.h"
#include "server/batch/batch_policy.h"
#include "server/batch/cost_model.h"

namespace bitmill {
namespace {

constexpr MonotonicNanos kNever = std::numeric_limits<MonotonicNanos>::max();
constexpr MonotonicNanos kSecond = 1'000'000'000;
constexpr double kNanosPerMilli = 1e6;
constexpr int kWindowSeconds = 5;
constexpr double kForget = 0.8;  // a tick, of what the line was fitted to before

double Uniform(std::mt19937_64& random) { return static_cast<double>(random() >> 11) * 0x1.0p-53; }

// Least squares over executions, older ones counting less. Stands for the analysis' own fit.
class LineFit {
 public:
  void Add(double rows, double ms) {
    n_ += 1;
    x_ += rows;
    y_ += ms;
    xx_ += rows * rows;
    xy_ += rows * ms;
    yy_ += ms * ms;
  }
  void Forget() {
    for (double* const sum : {&n_, &x_, &y_, &xx_, &xy_, &yy_}) *sum *= kForget;
  }
  ServiceLine Line() const {
    ServiceLine line;
    if (n_ < 1) return line;
    const double variance = xx_ / n_ - x_ * x_ / n_ / n_;
    const double mean = y_ / n_;
    if (variance > 0.05) {
      line.b_ms = std::max((xy_ / n_ - x_ * y_ / n_ / n_) / variance, 0.0);
      line.a_ms = std::max(mean - line.b_ms * x_ / n_, 0.0);
    } else {
      line.b_ms = mean / (x_ / n_);
    }
    const double a = line.a_ms, b = line.b_ms;
    const double squares =
        yy_ / n_ + a * a + b * b * xx_ / n_ - 2 * a * mean - 2 * b * xy_ / n_ + 2 * a * b * x_ / n_;
    line.relative_error = std::sqrt(std::max(squares, 0.0)) / std::max(mean, 1e-9);
    line.samples = static_cast<int64_t>(n_);
    return line;
  }

 private:
  double n_ = 0, x_ = 0, y_ = 0, xx_ = 0, xy_ = 0, yy_ = 0;
};

struct Waiting {
  size_t request = 0;
  int32_t rows = 1;
  MonotonicNanos arrive_ns = 0;
};

struct Running {
  MonotonicNanos start_ns = 0, end_ns = 0, predicted_end_ns = 0;
  std::vector<Waiting> members;
  int64_t rows = 0;
  BatchClosed closed = BatchClosed::kNever;
  int instance = 0, beside = 0;
};

class SimulatedModel {
 public:
  SimulatedModel(const SimModel& model, const std::vector<ReplayRequest>& arrivals,
                 const SimSetup& setup, SimOutcome& outcome)
      : model_(model),
        arrivals_(arrivals),
        policy_(setup.policy),
        outcome_(outcome),
        controls_(model.configured),
        aimd_rows_(static_cast<double>(model.configured.max_rows)),
        random_(setup.seed) {
    for (const int64_t rows : {int64_t{1}, model.configured.max_rows}) {  // as the warm-up does
      cost_.Observe(rows, ServiceNanos(rows, 0));
    }
  }

  MonotonicNanos NextArrival() const {
    return next_ < arrivals_.size() ? arrivals_[next_].arrive_ns : kNever;
  }
  MonotonicNanos NextEnd() const {
    MonotonicNanos end = kNever;
    for (const Running& running : running_) end = std::min(end, running.end_ns);
    return end;
  }
  MonotonicNanos turn_ns() const { return turn_ns_; }  // the last
  const ModelControls& controls() const { return controls_; }
  void set_controls(const ModelControls& controls) { controls_ = controls; }
  size_t running() const { return running_.size(); }

  // Whether a batch may start now; otherwise when to ask again.
  bool Ready(MonotonicNanos now, MonotonicNanos* again_ns) const {
    if (waiting_.empty() || running_.size() >= static_cast<size_t>(controls_.instances))
      return false;
    const BatchDecision decision = Decide(Limits(), State(), now);
    if (!decision.close) *again_ns = std::min(*again_ns, decision.wait_until);
    return decision.close;
  }

  void Arrive(MonotonicNanos now) {
    const ReplayRequest& request = arrivals_[next_];
    const size_t index = next_++;
    outcome_.offered_rows += request.rows;
    if (!Admit(request, now)) {
      Remember(request, 0, 0, nullptr);
      return;
    }
    if (waiting_.empty()) ready_since_ns_ = now;
    waiting_.push_back({index, request.rows, request.arrive_ns});
    waiting_rows_ += request.rows;
  }

  void Start(MonotonicNanos now) {
    const BatchDecision decision = Decide(Limits(), State(), now);
    Running run{
        .start_ns = now, .members = {}, .closed = static_cast<BatchClosed>(decision.reason)};
    while (!waiting_.empty() &&
           (run.members.empty() || run.rows + waiting_.front().rows <= decision.rows)) {
      run.rows += waiting_.front().rows;
      waiting_rows_ -= waiting_.front().rows;
      run.members.push_back(waiting_.front());
      waiting_.pop_front();
    }
    admission_.Take(run.rows);
    while (InstanceUsed(run.instance)) ++run.instance;
    const MonotonicNanos woke_ns = now - std::min(now, ready_since_ns_);
    wake_ns_ += ((limits_delay() ? 0 : woke_ns) - wake_ns_) / 8;
    ready_since_ns_ = turn_ns_ = now;
    run.beside = static_cast<int>(running_.size());
    run.end_ns = now + ServiceNanos(run.rows, run.beside);
    run.predicted_end_ns = now + cost_.PredictNanos(run.rows, run.beside);
    running_.push_back(std::move(run));
  }

  // Ends what ends at `now`.
  void Finish(MonotonicNanos now) {
    for (size_t i = 0; i < running_.size();) {
      if (running_[i].end_ns > now) {
        ++i;
        continue;
      }
      End(running_[i]);
      running_.erase(running_.begin() + static_cast<ptrdiff_t>(i));
      ready_since_ns_ = now;
    }
  }

  ModelWindow Window(MonotonicNanos now) {
    const MonotonicNanos begin = std::max<MonotonicNanos>(now - kWindowSeconds * kSecond, 0);
    std::erase_if(records_, [begin](const auto& record) { return record.received_ns < begin; });
    std::erase_if(runs_, [begin](const auto& record) { return record.start_ns < begin; });
    ModelWindow window;
    window.facts.name = model_.name;
    window.facts.version = 1;
    window.controls = controls_;
    window.configured = model_.configured;
    window.objective = {.p99_ms = model_.objective_ms, .adapt = AdaptMode::kOn};
    window.begin_ns = begin;
    window.end_ns = now;
    window.requests = records_;
    std::sort(window.requests.begin(), window.requests.end(),
              [](const auto& l, const auto& r) { return l.received_ns < r.received_ns; });
    window.executions_seen = runs_;
    std::sort(window.executions_seen.begin(), window.executions_seen.end(),
              [](const auto& l, const auto& r) { return l.start_ns < r.start_ns; });
    window.arrived = static_cast<int64_t>(records_.size());
    window.executions = static_cast<int64_t>(runs_.size());
    return window;
  }
  ServiceLine TickLine() {
    const ServiceLine line = fit_.Line();
    fit_.Forget();
    return line;
  }

 private:
  bool limits_delay() const { return controls_.max_delay_ns > 0; }
  BatchLimits Limits() const {
    return {.max_rows = policy_ == SimPolicy::kAimd
                            ? std::max<int64_t>(static_cast<int64_t>(aimd_rows_), 1)
                            : controls_.max_rows,
            .preferred_rows = model_.preferred_rows,
            .max_delay_ns = controls_.max_delay_ns};
  }
  QueueState State() const {
    QueueState state{.rows = waiting_rows_, .closed_rows = admission_.closed_rows()};
    if (!waiting_.empty()) state.oldest_ns = waiting_.front().arrive_ns;
    return state;
  }
  bool InstanceUsed(int instance) const {
    return std::any_of(running_.begin(), running_.end(),
                       [instance](const Running& run) { return run.instance == instance; });
  }

  int64_t ServiceNanos(int64_t rows, int beside) {
    const SimService& service = model_.service;
    const int64_t computed = (rows + service.step - 1) / service.step * service.step;
    const double luck = 1 + service.scatter * std::sqrt(3.0) * (2 * Uniform(random_) - 1);
    const double ms = (service.a_ms + service.b_ms * static_cast<double>(computed)) * luck *
                      (1 + service.contention * beside);
    return std::max<int64_t>(static_cast<int64_t>(ms * kNanosPerMilli), 1);
  }

  // As DynamicBatcher::TryQueue.
  bool Admit(const ReplayRequest& request, MonotonicNanos now) {
    if (static_cast<int64_t>(waiting_.size()) >= controls_.max_queue_requests) return false;
    if (controls_.admit_within_ns <= 0) return true;
    const bool idle =
        waiting_.empty() && running_.size() < static_cast<size_t>(controls_.instances);
    const MonotonicNanos due = request.arrive_ns + controls_.admit_within_ns;
    if (idle) {
      admission_.Begin(due);
      return true;
    }
    std::vector<MonotonicNanos> free;
    for (const Running& run : running_) {
      free.push_back(std::max(now, run.predicted_end_ns + wake_ns_));
    }
    const MonotonicNanos woken = waiting_.empty() ? now : ready_since_ns_;
    const auto instances = static_cast<size_t>(controls_.instances);
    while (free.size() < instances) free.push_back(std::max(now, woken + wake_ns_));
    std::sort(free.begin(), free.end());
    // Those that run beyond the number in use take nothing when they end.
    free.erase(free.begin(), free.end() - static_cast<ptrdiff_t>(instances));
    return admission_.Ask(
               request.rows, due,
               {.max_rows = controls_.max_rows,
                .waiting_rows = waiting_rows_,
                .busy = static_cast<int>(running_.size()),
                .wake_ns = wake_ns_,
                .free_ns = absl::MakeSpan(free)},
               [this](int64_t rows, int beside) { return cost_.PredictNanos(rows, beside); }) <= 0;
  }

  void End(const Running& run) {
    const auto took_ns = run.end_ns - run.start_ns;
    cost_.Observe(run.rows, took_ns, run.beside);
    fit_.Add(static_cast<double>(run.rows), static_cast<double>(took_ns) / kNanosPerMilli);
    ExecutionRecord record;
    record.start_ns = run.start_ns;
    record.compute_ns = took_ns;
    record.rows = static_cast<int32_t>(run.rows);
    record.padded_rows = record.rows;
    record.requests = static_cast<int32_t>(run.members.size());
    record.instance = run.instance;
    record.closed = run.closed;
    runs_.push_back(record);
    bool late = false;
    int64_t not_as_admitted = 0;
    for (const Waiting& member : run.members) {
      const int64_t latency_ns = run.end_ns - member.arrive_ns;
      if (latency_ns > controls_.admit_within_ns) ++not_as_admitted;
      late = late || static_cast<double>(latency_ns) > model_.objective_ms * kNanosPerMilli;
      Remember(arrivals_[member.request], latency_ns, took_ns, &run);
    }
    if (controls_.admit_within_ns > 0) {
      admission_.Learn(not_as_admitted, std::ssize(run.members), controls_.admit_within_ns);
    }
    const double bound = static_cast<double>(model_.configured.max_rows);
    aimd_rows_ = std::clamp(late ? aimd_rows_ * 0.9 : aimd_rows_ + 1, 1.0, bound);
  }

  // `run` is null for a refused request.
  void Remember(const ReplayRequest& request, int64_t latency_ns, int64_t took_ns,
                const Running* run) {
    RequestRecord record;
    record.received_ns = request.arrive_ns;
    record.rows = request.rows;
    record.code = run == nullptr ? 8 : 0;  // RESOURCE_EXHAUSTED
    if (run != nullptr) {
      record.total_ns = latency_ns;
      record.stages[Stage::kQueue] = latency_ns - took_ns;
      record.stages[Stage::kCompute] = took_ns;
      record.batch_rows = static_cast<int32_t>(run->rows);
      record.closed = run->closed;
      if (static_cast<double>(latency_ns) <= model_.objective_ms * kNanosPerMilli) {
        outcome_.good_rows += request.rows;
        const auto second = static_cast<size_t>(request.arrive_ns / kSecond);
        if (second < outcome_.good_by_second.size()) {
          outcome_.good_by_second[second] += request.rows;
        }
      }
    }
    if (policy_ == SimPolicy::kAdapt) records_.push_back(record);
  }

  const SimModel& model_;
  const std::vector<ReplayRequest>& arrivals_;
  const SimPolicy policy_;
  SimOutcome& outcome_;
  ModelControls controls_;
  CostModel cost_;
  LineFit fit_;
  double aimd_rows_;
  size_t next_ = 0;
  std::deque<Waiting> waiting_;
  int64_t waiting_rows_ = 0;
  std::vector<Running> running_;
  MonotonicNanos ready_since_ns_ = 0;  // a batch could have started since, but for a worker
  MonotonicNanos wake_ns_ = 0;
  Admission admission_;
  MonotonicNanos turn_ns_ = -1;
  std::vector<RequestRecord> records_;  // by end
  std::vector<ExecutionRecord> runs_;
  std::mt19937_64 random_;
};

class Simulation final : public ControlSink {
 public:
  explicit Simulation(const SimSetup& setup) : setup_(setup), adapter_(*this) {
    outcome_.good_by_second.assign(static_cast<size_t>(std::ceil(setup.seconds)), 0);
    for (size_t i = 0; i < setup.models.size(); ++i) {
      models_.push_back(
          std::make_unique<SimulatedModel>(setup.models[i], setup.arrivals[i], setup, outcome_));
    }
  }

  absl::Status Apply(absl::string_view name, int64_t, const ModelControls& controls) override {
    for (size_t i = 0; i < models_.size(); ++i) {
      if (setup_.models[i].name == name) models_[i]->set_controls(controls);
    }
    return absl::OkStatus();
  }

  SimOutcome Run() {
    const auto end = static_cast<MonotonicNanos>(setup_.seconds * 1e9);
    MonotonicNanos tick = kSecond;
    MonotonicNanos now = 0;
    if (setup_.policy == SimPolicy::kAdapt) Tick(now);  // loaded, and nothing has come yet
    for (;;) {
      const MonotonicNanos again = StartAll(now);
      MonotonicNanos next = std::min(again, tick);
      for (const auto& model : models_) {
        next = std::min({next, model->NextArrival(), model->NextEnd()});
      }
      now = std::max(now, next);
      if (now >= end && !AnyRunning()) break;
      for (const auto& model : models_) {
        model->Finish(now);
        while (model->NextArrival() <= now) model->Arrive(now);
      }
      if (now >= tick) {
        if (now < end && setup_.policy == SimPolicy::kAdapt) Tick(now);
        tick += kSecond;
      }
    }
    for (const auto& model : models_) outcome_.controls.push_back(model->controls());
    return std::move(outcome_);
  }

 private:
  bool AnyRunning() const {
    return std::any_of(models_.begin(), models_.end(),
                       [](const auto& model) { return model->running() > 0; });
  }

  // Starts what can, the model whose turn is longest ago first; returns when to try again at the
  // latest.
  MonotonicNanos StartAll(MonotonicNanos now) {
    for (;;) {
      MonotonicNanos again = kNever;
      size_t running = 0;
      SimulatedModel* next = nullptr;
      for (const auto& model : models_) {
        running += model->running();
        if (model->Ready(now, &again) && (next == nullptr || model->turn_ns() < next->turn_ns())) {
          next = model.get();
        }
      }
      if (next == nullptr || running >= static_cast<size_t>(setup_.workers)) return again;
      next->Start(now);
    }
  }

  void Tick(MonotonicNanos now) {
    Observation observation;
    observation.now_ns = now;
    observation.unix_millis = now / 1'000'000;
    observation.host.cpu_budget_cores = setup_.workers;
    AnalysisReport report;
    for (const auto& model : models_) {
      observation.models.push_back(model->Window(now));
      ModelReport one;
      one.facts = observation.models.back().facts;
      one.line = model->TickLine();
      report.models.push_back(one);
    }
    const std::vector<Adaptation> before = adapter_.Adaptations();
    adapter_.Tick(observation, report);
    outcome_.changes = adapter_.Adaptations();
    for (size_t i = before.size(); i < outcome_.changes.size(); ++i) {
      outcome_.change_seconds.push_back(static_cast<double>(now) * 1e-9);
    }
  }

  const SimSetup& setup_;
  SimOutcome outcome_;
  std::vector<std::unique_ptr<SimulatedModel>> models_;
  Adapter adapter_;
};

}  // namespace

SimOutcome Simulate(const SimSetup& setup) { return Simulation(setup).Run(); }

}  // namespace bitmill
