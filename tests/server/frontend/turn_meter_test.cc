// What the I/O threads tell of their turns.
#include "server/frontend/turn_meter.h"

#include <vector>

#include "server/metrics/request_log.h"
#include "tests/server/frontend/serving.h"

namespace bitmill {
namespace {

class TurnMeterTest : public Serving {
 protected:
  TurnMeterTest() { services.log = &log; }

  std::vector<TurnRecord> Turns() {
    std::vector<TurnRecord> turns;
    log.Drain([](const RequestRecord&) {}, [](const ExecutionRecord&) {},
              [&turns](const TurnRecord& turn) { turns.push_back(turn); });
    return turns;
  }
};

TEST_F(TurnMeterTest, MeasuresOneTurnInSixteen) {
  Add("m");
  Start();
  for (int i = 0; i < 160; ++i) ASSERT_TRUE(Infer(MakeRequest("m", {1, 2})).ok());
  // The last turn may have answered and not told yet.
  std::vector<TurnRecord> turns;
  WaitUntil([&] {
    for (const TurnRecord& turn : Turns()) turns.push_back(turn);
    return turns.size() >= 9;
  });
  EXPECT_LE(turns.size(), 10U);
  for (const TurnRecord& turn : turns) {
    EXPECT_EQ(turn.requests, 1);
    EXPECT_EQ(turn.model, engine->MetricsOf(**repository.Find("m", 1)).id());
    EXPECT_GT(turn.cpu_ns, 1'000);
    EXPECT_LT(turn.cpu_ns, 1'000'000'000);
    EXPECT_GT(turn.end_ns, 0);
  }
}

TEST_F(TurnMeterTest, ATurnOfSeveralModelsIsNobodys) {
  Add("a");
  Add("b");
  Start();
  const ModelHandle a = *repository.Find("a", 1), b = *repository.Find("b", 1);
  InferTask of_a, of_b;
  of_a.model = a;
  of_b.model = b;
  TurnMeter meter(*engine, &log, clock);
  for (int i = 0; i < 16; ++i) meter.Submitted();  // the next one is measured
  InferTask* const both[] = {&of_a, &of_b};
  meter.Submitting(both);
  meter.Submitted();
  EXPECT_TRUE(Turns().empty());
  for (int i = 0; i < 15; ++i) meter.Submitted();
  InferTask* const same[] = {&of_a, &of_a};
  meter.Submitting(same);
  meter.Submitted();
  const std::vector<TurnRecord> turns = Turns();
  ASSERT_EQ(turns.size(), 1U);
  EXPECT_EQ(turns[0].requests, 2);
  EXPECT_EQ(turns[0].model, engine->MetricsOf(*a).id());
}

}  // namespace
}  // namespace bitmill
