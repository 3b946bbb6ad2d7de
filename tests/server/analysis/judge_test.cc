#include "server/analysis/judge.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "tests/server/analysis/injected_windows.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;

InjectedWindow Injected(Cause cause, SimulatedModel model = SimulatedModel::kCompute) {
  return MakeInjectedWindow({.model = model, .causes = {cause}, .intensity = 2, .seed = 7});
}

InjectedWindow Healthy(SimulatedModel model = SimulatedModel::kCompute) {
  return MakeInjectedWindow({.model = model, .seed = 7});
}

Diagnosis Judge(const InjectedWindow& of, const JudgeThresholds& thresholds = {}) {
  return JudgeModel(of.window, of.host, of.limits, of.line, thresholds);
}

TEST(JudgeTest, TooFewRequestsAreUnknownAndSaySo) {
  InjectedWindow few = Injected(Cause::kOverload);
  few.window.requests.resize(19);
  const Diagnosis diagnosis = Judge(few);
  EXPECT_EQ(diagnosis.cause, Cause::kUnknown);
  EXPECT_EQ(diagnosis.confidence, 0);
  EXPECT_THAT(diagnosis.findings[0].evidence, HasSubstr("19 requests"));
  EXPECT_EQ(diagnosis.p99_ms, 0);
  EXPECT_EQ(Judge({}).cause, Cause::kUnknown);
}

TEST(JudgeTest, NothingAnsweredWhileMostIsRefusedIsOverload) {
  InjectedWindow refused = Healthy();
  refused.window.requests.clear();
  refused.window.arrived = 1000;
  refused.window.answered = 0;
  refused.window.refused = 900;
  EXPECT_EQ(Judge(refused).cause, Cause::kOverload);
}

TEST(JudgeTest, RecordsWhoseStagesDoNotAddUpAreNoEvidence) {
  InjectedWindow broken = Injected(Cause::kOverload);
  for (RequestRecord& request : broken.window.requests) request.total_ns *= 2;
  const Diagnosis diagnosis = Judge(broken);
  EXPECT_EQ(diagnosis.cause, Cause::kUnknown);
  EXPECT_THAT(diagnosis.findings[0].evidence, HasSubstr("differ by"));
}

TEST(JudgeTest, AnObjectiveThatIsMetIsHealthyWhateverDisturbs) {
  InjectedWindow throttled = Injected(Cause::kCpuThrottled);
  throttled.window.objective.p99_ms = 100'000;
  const Diagnosis diagnosis = Judge(throttled);
  EXPECT_EQ(diagnosis.cause, Cause::kHealthy);
  throttled.window.objective.p99_ms = 5;
  EXPECT_EQ(Judge(throttled).cause, Cause::kCpuThrottled);
}

TEST(JudgeTest, AnObjectiveThatIsMissedHereIsNeverTheClientsVerdict) {
  InjectedWindow late = Injected(Cause::kSlowClient);
  late.window.objective.p99_ms = 50;
  for (RequestRecord& request : late.window.requests) {
    request.transit_ns = request.write_ns = 200'000'000;
  }
  EXPECT_EQ(Judge(late).cause, Cause::kSlowClient);
  late.window.objective.p99_ms = 1;  // an execution takes 3, a hundredth of what the client waits
  const Diagnosis limit = Judge(late);
  EXPECT_EQ(limit.cause, Cause::kComputeBound);
  EXPECT_EQ(limit.findings[0].cause, Cause::kSlowClient);
  const Diagnosis diagnosis = Judge(late, {.limit_share = 2});  // nothing is at the limit
  EXPECT_EQ(diagnosis.cause, Cause::kUnknown);
  ASSERT_EQ(diagnosis.findings.size(), 2U);
  EXPECT_EQ(diagnosis.findings[1].cause, Cause::kSlowClient);
}

TEST(JudgeTest, BatchesThatWaitForWorkersOfABusyServerAreItsOverload) {
  InjectedWindow waiting = Healthy();
  for (RequestRecord& request : waiting.window.requests) {
    request.stages[Stage::kSchedule] += 50'000'000;
    request.total_ns += 50'000'000;
  }
  waiting.host.process_cpu_cores = 1.9;  // of 2
  const Diagnosis diagnosis = Judge(waiting);
  EXPECT_EQ(diagnosis.cause, Cause::kOverload);
  EXPECT_THAT(diagnosis.findings[0].evidence, HasSubstr("for a thread of the server"));
}

TEST(JudgeTest, RequestsThatABusyServerTakesLateAreItsOverloadAndNotTheirClients) {
  InjectedWindow late = Healthy();
  for (RequestRecord& request : late.window.requests) request.transit_ns = 50'000'000;
  EXPECT_EQ(Judge(late).cause, Cause::kSlowClient);
  late.host.process_cpu_cores = 1.9;  // of 2
  EXPECT_EQ(Judge(late).cause, Cause::kOverload);
}

TEST(JudgeTest, AServerWithoutCpuIsOverloadedBeforeItIsSoForAWholeWindow) {
  InjectedWindow late = Healthy();
  int count = 0;
  for (RequestRecord& request : late.window.requests) {
    request.transit_ns = ++count % 10 == 0 ? 50'000'000 : 100'000;
  }
  late.host.process_cpu_cores = 0.9;  // of 2
  late.host.newest_cpu_cores = 1.9;
  EXPECT_EQ(Judge(late).cause, Cause::kOverload);
  // Unless a load of the model is what takes it.
  late.window.loads = {{.begin_ns = late.window.begin_ns, .end_ns = late.window.end_ns}};
  EXPECT_EQ(Judge(late).cause, Cause::kColdStart);
}

// Seen with a worker that is bound to a CPU where another process runs.
TEST(JudgeTest, AThreadThatHardlyRunsBesideOthersThatDoIsAnImbalance) {
  InjectedWindow bound = Injected(Cause::kNoisyNeighbour);
  bound.window.controls.instances = 2;
  EXPECT_EQ(Judge(bound).cause, Cause::kNoisyNeighbour);
  bound.host.starved_wait_cores = 0.8;
  const Diagnosis diagnosis = Judge(bound);
  EXPECT_EQ(diagnosis.cause, Cause::kImbalance);
  EXPECT_THAT(diagnosis.findings[0].evidence, HasSubstr("waited for one 0.80 s a second"));
  bound.window.controls.instances = 1;
  EXPECT_EQ(Judge(bound).cause, Cause::kNoisyNeighbour);
}

// Seen with a control group whose mapped files were taken from it again and again.
TEST(JudgeTest, RequestsThatAPagedOutServerTakesLateAreNotTheirClients) {
  InjectedWindow late = Healthy();
  int count = 0;
  for (RequestRecord& request : late.window.requests) {
    request.transit_ns = ++count % 10 == 0 ? 50'000'000 : 100'000;
  }
  late.host.major_faults_per_s = 1;  // which happens
  EXPECT_EQ(Judge(late).cause, Cause::kSlowClient);
  late.host.major_faults_per_s = 50;
  const Diagnosis diagnosis = Judge(late);
  EXPECT_EQ(diagnosis.cause, Cause::kMemoryPressure);
  EXPECT_GT(diagnosis.findings[0].recoverable_p99_ms, 40);
  // A load reads from a disk as well, but only for a while.
  const auto loaded_before = [&](int64_t seconds) {
    const MonotonicNanos end_ns = late.window.end_ns - seconds * 1'000'000'000;
    late.window.loads = {{.begin_ns = end_ns - 1'000'000'000, .end_ns = end_ns}};
    return Judge(late).cause;
  };
  EXPECT_NE(loaded_before(1), Cause::kMemoryPressure);
  EXPECT_EQ(loaded_before(60), Cause::kMemoryPressure);
  // Clients that are far away stay so.
  for (RequestRecord& request : late.window.requests) request.transit_ns = 50'000'000;
  EXPECT_EQ(Judge(late).cause, Cause::kSlowClient);
}

TEST(JudgeTest, WhatAnyCallTakesOnItsWayIsNobodysFault) {
  InjectedWindow near = Healthy(SimulatedModel::kMicro);
  near.window.objective.p99_ms = 0;
  int64_t way_ns = 0;  // up to 0.9 ms, as the scheduling of threads on both sides gives
  for (RequestRecord& request : near.window.requests) {
    request.transit_ns = way_ns;
    way_ns = (way_ns + 10'000) % 900'000;
  }
  EXPECT_EQ(Judge(near).cause, Cause::kHealthy);
  EXPECT_EQ(Judge(near, {.usual_way_ms = 0.2}).cause, Cause::kSlowClient);
}

TEST(JudgeTest, RequestsThatWaitForAThreadWhileOthersUseTheCpusAreNotTheirClients) {
  InjectedWindow late = Healthy();
  int count = 0;
  for (RequestRecord& request : late.window.requests) {
    request.transit_ns = ++count % 10 == 0 ? 50'000'000 : 100'000;
  }
  EXPECT_EQ(Judge(late).cause, Cause::kSlowClient) << Judge(late).findings[0].evidence;
  late.host.machine_busy_cores = late.host.process_cpu_cores + 1;
  EXPECT_EQ(Judge(late).cause, Cause::kSlowClient);  // none of our threads waits for a CPU
  late.host.run_queue_wait_cores = 0.5;
  EXPECT_EQ(Judge(late).cause, Cause::kNoisyNeighbour);
}

TEST(JudgeTest, RequestsThatWaitForTheServersOwnThreadsAreNotTheirClients) {
  InjectedWindow late = Healthy();
  int count = 0;
  for (RequestRecord& request : late.window.requests) {
    request.transit_ns = ++count % 10 == 0 ? 20'000'000 : 100'000;  // 2 ms on average
  }
  late.host.requests_per_s = 100;
  late.host.run_queue_wait_cores = 0.02;  // 0.2 ms a request
  EXPECT_EQ(Judge(late).cause, Cause::kSlowClient);
  late.host.run_queue_wait_cores = 0.3;
  const Diagnosis diagnosis = Judge(late);
  for (const Finding& finding : diagnosis.findings) EXPECT_NE(finding.cause, Cause::kSlowClient);
}

// Nothing is found in a p99 of 8 ms; whether that is to be expected is told by the CPUs in use.
InjectedWindow SlowForNoReason() {
  InjectedWindow slow = Healthy(SimulatedModel::kMicro);
  slow.window.objective.p99_ms = 0;
  int count = 0;
  for (RequestRecord& request : slow.window.requests) {
    if (++count % 50 != 0) continue;
    request.stages[Stage::kQueue] += 8'000'000;
    request.total_ns += 8'000'000;
  }
  slow.host.steal_share = 0;
  return slow;
}

TEST(JudgeTest, TurnsOnTheServersCpusAreUsualForTheLoad) {
  InjectedWindow slow = SlowForNoReason();
  slow.host.cpu_budget_cores = 1;
  slow.host.requests_per_s = 700;
  slow.host.process_cpu_cores = 0.7;  // 1 ms a request: p99 15 ms
  EXPECT_EQ(Judge(slow).cause, Cause::kHealthy);
  slow.host.process_cpu_cores = 0.07;  // 0.1 ms a request
  EXPECT_EQ(Judge(slow).cause, Cause::kUnknown);
}

TEST(JudgeTest, AHypervisorThatTakesHalfAPercentIsFeltInTheSlowestHundredth) {
  InjectedWindow slow = SlowForNoReason();
  slow.host.steal_share = 0.004;
  EXPECT_EQ(Judge(slow).cause, Cause::kUnknown);
  slow.host.steal_share = 0.006;
  const Diagnosis diagnosis = Judge(slow);
  EXPECT_EQ(diagnosis.cause, Cause::kNoisyNeighbour);
  EXPECT_THAT(diagnosis.findings[0].evidence, HasSubstr("0.6 %"));
}

TEST(JudgeTest, AServerThatIsHeldBackByItsQuotaIsNotOverloadedBeside) {
  InjectedWindow held = Injected(Cause::kCpuThrottled);
  for (RequestRecord& request : held.window.requests) request.transit_ns = 50'000'000;
  held.host.process_cpu_cores = held.host.cpu_budget_cores;
  const Diagnosis diagnosis = Judge(held);
  EXPECT_EQ(diagnosis.cause, Cause::kCpuThrottled);
  for (const Finding& finding : diagnosis.findings) EXPECT_NE(finding.cause, Cause::kOverload);
}

// The quota holds the process back while batches are open, of every so many requests one.
void HoldOpenBatches(int every, int64_t ns, InjectedWindow& injected) {
  int count = 0;
  for (RequestRecord& request : injected.window.requests) {
    if (++count % every != 0) continue;
    request.formation_ns += ns;
    request.stages[Stage::kQueue] += ns;
    request.total_ns += ns;
  }
  injected.host.throttled_share = 0.1;
  injected.host.throttled_periods_share = 0.2;
}

TEST(JudgeTest, AWaitForCompanyBeyondTheDelayIsTheQuotas) {
  InjectedWindow late = Injected(Cause::kBatchFormationWait);
  EXPECT_EQ(Judge(late).findings.size(), 1U);
  HoldOpenBatches(10, 60'000'000, late);
  const Diagnosis diagnosis = Judge(late);
  ASSERT_EQ(diagnosis.findings.size(), 2U);
  EXPECT_EQ(diagnosis.findings[0].cause, Cause::kBatchFormationWait);
  EXPECT_EQ(diagnosis.findings[1].cause, Cause::kCpuThrottled);
  EXPECT_GT(diagnosis.findings[1].recoverable_p99_ms, 10);
}

// Little beside the quota, and all there is once that is gone.
TEST(JudgeTest, ADelayIsNamedBesideAQuotaThatCostsAHundredTimesAsMuch) {
  InjectedWindow both = MakeInjectedWindow({.model = SimulatedModel::kCompute,
                                            .causes = {Cause::kBatchFormationWait},
                                            .intensity = 0,
                                            .seed = 7});
  const double alone_ms = Judge(both).findings[0].recoverable_p99_ms;
  HoldOpenBatches(3, 400'000'000, both);
  const Diagnosis diagnosis = Judge(both);
  ASSERT_EQ(diagnosis.findings.size(), 2U);
  EXPECT_EQ(diagnosis.cause, Cause::kCpuThrottled);
  EXPECT_GT(diagnosis.findings[0].recoverable_p99_ms, 350);
  EXPECT_EQ(diagnosis.findings[1].cause, Cause::kBatchFormationWait);
  EXPECT_NEAR(diagnosis.findings[1].recoverable_p99_ms, alone_ms, 0.3 * alone_ms);
  EXPECT_THAT(diagnosis.findings[1].advice, HasSubstr("the quota has not"));
}

TEST(JudgeTest, PaddingIsSeenThoughAllSizesTakeTheSameBecauseOfIt) {
  InjectedWindow padded = Healthy();
  for (ExecutionRecord& execution : padded.window.executions_seen) execution.padded_rows = 32;
  padded.line.a_ms += padded.line.b_ms * 32;  // as the forecast learns it, by rows asked for
  padded.line.b_ms = 0;
  EXPECT_EQ(Judge(padded).cause, Cause::kPaddingWaste);
}

TEST(JudgeTest, AnImbalanceOfThreadsIsSeenThoughInstancesTakeTurnsOnThem) {
  InjectedWindow uneven = Injected(Cause::kImbalance);
  int turn = 0;
  for (ExecutionRecord& execution : uneven.window.executions_seen) {
    execution.worker = execution.instance;
    execution.instance = ++turn % uneven.window.controls.instances;
  }
  const Diagnosis diagnosis = Judge(uneven);
  EXPECT_EQ(diagnosis.cause, Cause::kImbalance);
  EXPECT_THAT(diagnosis.findings[0].evidence, HasSubstr("threads"));
  for (ExecutionRecord& execution : uneven.window.executions_seen) execution.worker = -1;
  EXPECT_NE(Judge(uneven).cause, Cause::kImbalance);
}

TEST(JudgeTest, SlowExecutionsNowAndThenAfterALoadAreNoColdStart) {
  InjectedWindow slow = Healthy();
  std::vector<ExecutionRecord>& executions = slow.window.executions_seen;
  for (size_t i = 0; i < executions.size(); i += 5) {
    executions[i].compute_ns *= 4;
    executions[i].cpu_ns = executions[i].compute_ns;
  }
  const auto has_cold_start = [](const Diagnosis& diagnosis) {
    return std::ranges::any_of(diagnosis.findings, [](const Finding& finding) {
      return finding.cause == Cause::kColdStart;
    });
  };
  slow.window.facts.loaded_ns = slow.window.begin_ns;
  EXPECT_FALSE(has_cold_start(Judge(slow)));
  EXPECT_TRUE(has_cold_start(Judge(slow, {.cold_share = 0.1})));
}

TEST(JudgeTest, PagesThatAModelWaitsForAfterItWasWarmAreMissingMemory) {
  InjectedWindow paged = Injected(Cause::kMemoryPressure, SimulatedModel::kMemory);
  paged.host.memory_limit_hits_per_s = 0;  // nothing but the faults
  paged.host.psi_memory_some = paged.host.psi_group_memory_some = 0;
  const MonotonicNanos loaded_ns = paged.window.begin_ns - 3'000'000'000;
  paged.window.facts.loaded_ns = loaded_ns;
  paged.window.loads = {{.begin_ns = loaded_ns - 1, .end_ns = loaded_ns}};
  EXPECT_NE(Judge(paged).cause, Cause::kMemoryPressure);
  paged.window.loads[0].warm_ns = loaded_ns + 1'000'000'000;
  EXPECT_EQ(Judge(paged).cause, Cause::kMemoryPressure);
}

TEST(JudgeTest, SaysSinceWhenAModelIsWarm) {
  const auto warm_since = [](const InjectedWindow& of) {
    return WarmSince(of.window, of.host, of.limits, of.line);
  };
  InjectedWindow healthy = Healthy();
  healthy.window.facts.loaded_ns = healthy.window.begin_ns;
  EXPECT_NEAR(static_cast<double>(warm_since(healthy) - healthy.window.begin_ns), 0, 1e9);
  healthy.window.facts.loaded_ns -= 11'000'000'000;  // a load that long ago is nobody's question
  EXPECT_EQ(warm_since(healthy), 0);
  InjectedWindow cold = Injected(Cause::kColdStart);
  const MonotonicNanos warm_ns = warm_since(cold);
  EXPECT_GE(warm_ns, cold.window.facts.loaded_ns + 1'000'000'000);
  EXPECT_LE(warm_ns, cold.window.end_ns);
  // Early on the cold ones are all there is, and by their own measure as fast as usual.
  const MonotonicNanos early_ns = cold.window.facts.loaded_ns + 500'000'000;
  std::erase_if(cold.window.executions_seen,
                [=](const ExecutionRecord& of) { return of.start_ns >= early_ns; });
  cold.window.end_ns = early_ns;
  EXPECT_FALSE(cold.window.executions_seen.empty());
  EXPECT_EQ(warm_since(cold), 0);
}

TEST(JudgeTest, RequestsThatWaitWhileAModelIsLoadedAreItsColdStarts) {
  InjectedWindow loading = Healthy();
  loading.host.machine_busy_cores = loading.host.process_cpu_cores;
  std::vector<RequestRecord>& requests = loading.window.requests;
  for (size_t i = 0; i < requests.size(); i += 20) {
    const MonotonicNanos begin_ns = requests[i].received_ns - 1'000;
    loading.window.loads.push_back({.begin_ns = begin_ns, .end_ns = begin_ns + 60'000'000});
    requests[i].stages[Stage::kSchedule] += 50'000'000;
    requests[i].total_ns += 50'000'000;
  }
  loading.window.facts.loaded_ns = loading.window.loads.back().end_ns;
  EXPECT_EQ(Judge(loading).cause, Cause::kColdStart);
  loading.window.loads.clear();
  EXPECT_NE(Judge(loading).cause, Cause::kColdStart);
}

TEST(JudgeTest, RequestsThatAreTakenLateWhileAModelIsLoadedAreNotTheirClients) {
  InjectedWindow loading = Healthy();
  std::vector<RequestRecord>& requests = loading.window.requests;
  for (RequestRecord& request : requests) request.transit_ns = 200'000;
  for (size_t i = 0; i < requests.size(); i += 40) {
    const MonotonicNanos sent_ns = requests[i].received_ns - 50'000'000;
    loading.window.loads.push_back({.begin_ns = sent_ns, .end_ns = requests[i].received_ns});
    requests[i].transit_ns = 50'000'000;
    requests[i].write_ns = 3'000'000;
  }
  loading.window.facts.loaded_ns = loading.window.loads.back().end_ns;
  const auto names_client = [](const Diagnosis& diagnosis) {
    return std::ranges::any_of(diagnosis.findings, [](const Finding& finding) {
      return finding.cause == Cause::kSlowClient;
    });
  };
  EXPECT_FALSE(names_client(Judge(loading)));
  loading.window.loads.clear();
  EXPECT_TRUE(names_client(Judge(loading)));
}

TEST(JudgeTest, TheWayOfManyBytesIsSerialization) {
  InjectedWindow large = Healthy();
  for (RequestRecord& request : large.window.requests) {
    request.transit_ns = 20'000'000;
    request.input_bytes = 20'000'000;
  }
  EXPECT_EQ(Judge(large).cause, Cause::kSerialization);
  for (RequestRecord& request : large.window.requests) request.input_bytes = 20'000;
  EXPECT_EQ(Judge(large).cause, Cause::kSlowClient);
}

TEST(JudgeTest, OthersOnCpusThatAreNotOursAreNoNeighbours) {
  InjectedWindow disturbed = Injected(Cause::kNoisyNeighbour);
  EXPECT_EQ(Judge(disturbed).cause, Cause::kNoisyNeighbour);
  disturbed.host.allowed_cores = 2;
  disturbed.host.allowed_busy_cores = disturbed.host.process_cpu_cores;
  EXPECT_NE(Judge(disturbed).cause, Cause::kNoisyNeighbour);
}

TEST(JudgeTest, SlowWithoutAnyCauseIsUnknown) {
  InjectedWindow slow = Healthy();
  for (RequestRecord& request : slow.window.requests) {
    request.stages[Stage::kAssemble] += 500'000'000;
    request.total_ns += 500'000'000;
  }
  slow.host.machine_busy_cores = slow.host.process_cpu_cores;
  EXPECT_EQ(Judge(slow).cause, Cause::kUnknown);
  slow.host.process_cpu_cores = slow.host.machine_busy_cores = slow.host.cpu_budget_cores;
  EXPECT_EQ(Judge(slow).cause, Cause::kOverload);  // there is nobody else to wait for
}

TEST(JudgeTest, FullBatchesShortOfSaturationAreHealthyThoughFarAboveALoneRequest) {
  InjectedWindow busy = MakeInjectedWindow(
      {.model = SimulatedModel::kCompute, .intensity = 2, .seed = 112});  // p99 31 ms, alone 3 ms
  EXPECT_EQ(Judge(busy).cause, Cause::kHealthy);
  EXPECT_EQ(Judge(busy, {.usual_share = 1.5}).cause, Cause::kUnknown);
}

TEST(JudgeTest, TheMachinesLimitIsNamedOnlyWhenThereIsReasonToComplain) {
  InjectedWindow bound = Injected(Cause::kComputeBound);
  EXPECT_EQ(Judge(bound).cause, Cause::kComputeBound);
  InjectedWindow content = bound;
  content.window.objective.p99_ms = 0;  // nobody asked for more
  EXPECT_EQ(Judge(content).cause, Cause::kHealthy);
  InjectedWindow unlimited = bound;
  unlimited.limits = {};
  unlimited.window.facts.compute_floor_ns = 0;
  EXPECT_EQ(Judge(unlimited).cause, Cause::kUnknown);
}

TEST(JudgeTest, MoreLoadThanCanBeComputedIsOverloadEvenAtTheMachinesLimit) {
  InjectedWindow overload = Injected(Cause::kOverload);
  overload.window.facts.compute_floor_ns = 2.4e6;
  const Diagnosis diagnosis = Judge(overload);
  EXPECT_EQ(diagnosis.cause, Cause::kOverload);
  EXPECT_THAT(diagnosis.findings[0].evidence, HasSubstr("can be computed"));
}

TEST(JudgeTest, AdviceNamesTheSettingAndWhatItGains) {
  const Diagnosis formation = Judge(Injected(Cause::kBatchFormationWait));
  EXPECT_THAT(formation.findings[0].advice,
              HasSubstr("max_queue_delay_microseconds from 60000 to 0: p99"));
  InjectedWindow overload = Injected(Cause::kOverload, SimulatedModel::kMemory);
  EXPECT_THAT(Judge(overload).findings[0].advice,
              HasSubstr("instance_group count from 1 to 2: p99"));
  overload.host.cpu_budget_cores = 1;
  EXPECT_THAT(Judge(overload).findings[0].advice, HasSubstr("raise max_batch_size from 16 to"));
  const Diagnosis throttled = Judge(Injected(Cause::kCpuThrottled));
  EXPECT_THAT(throttled.findings[0].advice, HasSubstr("CPU limit"));
}

TEST(JudgeTest, ScoresAreOrderedAndNoneIsMoreThanTheWholeP99) {
  const InjectedWindow pair = MakeInjectedWindow(
      {.model = SimulatedModel::kCompute, .causes = {Cause::kSlowClient, Cause::kLockContention}});
  const Diagnosis diagnosis = Judge(pair);
  ASSERT_GE(diagnosis.findings.size(), 2U);
  int64_t longest_ns = 0;
  for (const RequestRecord& request : pair.window.requests) {
    longest_ns = std::max(longest_ns, request.total_ns + request.write_ns);
  }
  EXPECT_LE(diagnosis.p99_ms, static_cast<double>(longest_ns) * 1e-6);
  EXPECT_GT(diagnosis.p99_ms, 0);
  for (size_t i = 0; i < diagnosis.findings.size(); ++i) {
    const Finding& finding = diagnosis.findings[i];
    EXPECT_LE(finding.recoverable_p99_ms, diagnosis.p99_ms);
    EXPECT_GT(finding.recoverable_p99_ms, 0);
    EXPECT_LE(finding.recoverable_p99_ms, static_cast<double>(longest_ns) * 1e-6);
    EXPECT_GT(finding.confidence, 0);
    EXPECT_LE(finding.confidence, 1);
    if (i > 0) {
      EXPECT_LE(finding.recoverable_p99_ms, diagnosis.findings[i - 1].recoverable_p99_ms);
    }
  }
}

TEST(JudgeTest, WhatRecoversLessThanTheThresholdDoesNotCount) {
  const InjectedWindow lock = Injected(Cause::kLockContention);
  ASSERT_EQ(Judge(lock).cause, Cause::kLockContention);
  EXPECT_EQ(Judge(lock, {.min_recoverable_of_ideal = 1000, .suspicious_of_ideal = 1000}).cause,
            Cause::kHealthy);
}

TEST(JudgeTest, MissingHostValuesAreNotJudgedBy) {
  InjectedWindow healthy = Healthy();
  healthy.host = {.seconds = 5};
  EXPECT_EQ(Judge(healthy).cause, Cause::kHealthy);
}

Observation ObservationOf(const InjectedWindow& injected) {
  return {.limits = injected.limits, .host = injected.host, .models = {injected.window}};
}

TEST(JudgeHostTest, NamesWhatTheHostDoesToTheModelThatSuffersMost) {
  const InjectedWindow throttled = Injected(Cause::kCpuThrottled);
  const Observation observation = ObservationOf(throttled);
  const std::vector<Diagnosis> models = {Judge(throttled)};
  const Diagnosis host = JudgeHost(observation, models);
  EXPECT_EQ(host.cause, Cause::kCpuThrottled);
  EXPECT_EQ(host.findings[0].recoverable_p99_ms, models[0].findings[0].recoverable_p99_ms);
  EXPECT_THAT(host.findings[0].evidence, HasSubstr("most for model model"));
}

TEST(JudgeHostTest, IsHealthyWhenNoModelMindsAndUnknownWithoutValues) {
  const InjectedWindow throttled = Injected(Cause::kCpuThrottled);
  const Observation observation = ObservationOf(throttled);
  const std::vector<Diagnosis> content = {{.cause = Cause::kHealthy, .findings = {}}};
  EXPECT_EQ(JudgeHost(observation, content).cause, Cause::kHealthy);
  EXPECT_EQ(JudgeHost({}, {}).cause, Cause::kUnknown);
}

TEST(JudgeTest, MemoryPressureSaysWhoWaitsForMemory) {
  InjectedWindow pressed = Injected(Cause::kMemoryPressure);
  EXPECT_THAT(Judge(pressed).findings[0].evidence, HasSubstr("something of the machine waited"));
  pressed.host.psi_group_memory_some = 0.25;
  EXPECT_THAT(Judge(pressed).findings[0].evidence,
              HasSubstr("something of our control group waited for memory 25"));
}

TEST(JudgeHostTest, OthersThatWaitForMemoryAreNoPressureOnUs) {
  InjectedWindow pressed = Injected(Cause::kMemoryPressure);
  const std::vector<Diagnosis> models = {Judge(pressed)};
  pressed.host.major_faults_per_s = pressed.host.memory_limit_hits_per_s = 0;
  EXPECT_EQ(JudgeHost(ObservationOf(pressed), models).cause, Cause::kMemoryPressure);
  pressed.host.psi_group_memory_some = 0;
  EXPECT_EQ(JudgeHost(ObservationOf(pressed), models).cause, Cause::kHealthy);
}

TEST(JudgeHostTest, AModelsOwnTroubleIsNotTheHosts) {
  const InjectedWindow formation = Injected(Cause::kBatchFormationWait);
  const std::vector<Diagnosis> models = {Judge(formation)};
  ASSERT_EQ(models[0].cause, Cause::kBatchFormationWait);
  EXPECT_EQ(JudgeHost(ObservationOf(formation), models).cause, Cause::kHealthy);
}

}  // namespace
}  // namespace bitmill
