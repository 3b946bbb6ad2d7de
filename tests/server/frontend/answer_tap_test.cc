// The tap of a watched model sees what its clients were answered.
#include "server/metrics/answer_tap.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "base/mutex.h"
#include "tests/server/frontend/serving.h"

namespace bitmill {
namespace {

using ::testing::ElementsAre;

struct Seen {
  std::string id;
  int64_t rows = 0;
  std::vector<int32_t> inputs, outputs;
  MonotonicNanos answered_ns = 0;
  int64_t serve_ns = 0;
};

// Of a model with one INT32 input and output of [2].
class RecordingTap final : public AnswerTap {
 public:
  void OnAnswer(const Answer& answer) override {
    Seen seen{
        std::string(answer.request_id), answer.rows, {}, {}, answer.answered_ns, answer.serve_ns};
    const auto values = static_cast<size_t>(answer.rows) * 2;
    seen.inputs.resize(values);
    seen.outputs.resize(values);
    std::memcpy(seen.inputs.data(), answer.inputs[0], values * sizeof(int32_t));
    std::memcpy(seen.outputs.data(), answer.outputs[0], values * sizeof(int32_t));
    MutexLock lock(&mutex_);
    seen_.push_back(std::move(seen));
  }
  std::vector<Seen> seen() const {
    MutexLock lock(&mutex_);
    return seen_;
  }

 private:
  mutable Mutex mutex_;
  std::vector<Seen> seen_ ABSL_GUARDED_BY(mutex_);
};

class AnswerTapTest : public Serving {
 protected:
  void AddWatched(const std::string& name) {
    Add(name, [this](ServedModel& model, FakeExecutable& executable) {
      model.tap = tap;
      executable.before_run = [](const BatchRows& batch) {
        int32_t first = 0;
        std::memcpy(&first, batch.inputs[0][0], sizeof(first));
        return first < 0 ? absl::InvalidArgumentError("negative") : absl::OkStatus();
      };
    });
  }
  std::shared_ptr<RecordingTap> tap = std::make_shared<RecordingTap>();
};

TEST_F(AnswerTapTest, SeesRequestAndAnswer) {
  AddWatched("m");
  Add("unwatched");
  Start();
  EXPECT_TRUE(Infer(MakeRequest("unwatched", {9, 9}, "u")).ok());
  EXPECT_TRUE(Infer(MakeRequest("m", {1, 2, 3, 4}, "id-1")).ok());
  WaitUntil([&] { return !tap->seen().empty(); });
  const Seen seen = tap->seen().front();
  EXPECT_EQ(seen.id, "id-1");
  EXPECT_EQ(seen.rows, 2);
  EXPECT_THAT(seen.inputs, ElementsAre(1, 2, 3, 4));
  EXPECT_THAT(seen.outputs, ElementsAre(1, 2, 3, 4));
  EXPECT_GT(seen.serve_ns, 0);
  EXPECT_LE(seen.answered_ns, clock.Now());
}

TEST_F(AnswerTapTest, DoesNotSeeWhatFailed) {
  AddWatched("m");
  Start();
  EXPECT_FALSE(Infer(MakeRequest("m", {-1, 2}, "bad")).ok());
  inference::ModelInferRequest wrong = MakeRequest("m", {1, 2}, "wrong");
  wrong.mutable_inputs(0)->set_datatype("FP32");
  EXPECT_FALSE(Infer(wrong).ok());
  EXPECT_TRUE(Infer(MakeRequest("m", {5, 6}, "good")).ok());
  WaitUntil([&] { return !tap->seen().empty(); });
  EXPECT_EQ(tap->seen().front().id, "good");
}

TEST_F(AnswerTapTest, SeesEveryAnswerOfAStream) {
  AddWatched("m");
  Start();
  grpc::ClientContext context;
  context.set_deadline(Patience());
  const auto stream = stub->ModelStreamInfer(&context);
  constexpr int kRequests = 100;
  for (int i = 0; i < kRequests; ++i) {
    ASSERT_TRUE(stream->Write(MakeRequest("m", {i, i + 1}, std::to_string(i))));
  }
  stream->WritesDone();
  inference::ModelStreamInferResponse response;
  while (stream->Read(&response)) EXPECT_EQ(response.error_message(), "");
  EXPECT_TRUE(stream->Finish().ok());
  WaitUntil([&] { return tap->seen().size() == kRequests; });
  for (const Seen& seen : tap->seen()) {
    const int32_t number = std::stoi(seen.id);
    EXPECT_THAT(seen.inputs, ElementsAre(number, number + 1));
    EXPECT_THAT(seen.outputs, ElementsAre(number, number + 1));
  }
}

}  // namespace
}  // namespace bitmill
