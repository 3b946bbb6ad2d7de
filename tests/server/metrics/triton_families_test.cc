#include "server/metrics/triton_families.h"

#include <filesystem>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/metrics/metrics.h"

namespace bitmill {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(TritonFamiliesTest, AreShownWhenAskedFor) {
  const auto metrics = CreateServerMetrics(HostInfo{}, {.triton_names = true});
  ModelMetrics& model = metrics->ForModel("m", 2);
  StageTimes stages;
  stages[Stage::kDecode] = 1'000;
  stages[Stage::kQueue] = 20'000;
  stages[Stage::kAssemble] = 3'000;
  stages[Stage::kSchedule] = 4'000;
  stages[Stage::kCompute] = 50'000;
  stages[Stage::kSplit] = 6'000;
  stages[Stage::kEncode] = 7'000;
  model.RecordRequest(absl::StatusCode::kOk, 91'000, 3, stages);
  model.RecordRequest(absl::StatusCode::kOk, 91'000, 5, stages);
  model.RecordRequest(absl::StatusCode::kResourceExhausted, 10'000, 1, {});
  model.RecordRequest(absl::StatusCode::kInternal, 10'000, 1, {});
  model.RecordExecution(8, 50'000);
  model.queue_depth = 4;
  const std::string text = metrics->RenderText();
  const std::string labels = "{model=\"m\",version=\"2\"";
  for (const std::string& line : {
           "nv_inference_request_success" + labels + "} 2\n",
           "nv_inference_request_failure" + labels + ",reason=\"REJECTED\"} 1\n",
           "nv_inference_request_failure" + labels + ",reason=\"CANCELED\"} 0\n",
           "nv_inference_request_failure" + labels + ",reason=\"BACKEND\"} 1\n",
           "nv_inference_request_failure" + labels + ",reason=\"OTHER\"} 0\n",
           "nv_inference_count" + labels + "} 8\n",
           "nv_inference_exec_count" + labels + "} 1\n",
           "nv_inference_request_duration_us" + labels + "} 182\n",
           "nv_inference_queue_duration_us" + labels + "} 48\n",
           "nv_inference_compute_input_duration_us" + labels + "} 8\n",
           "nv_inference_compute_infer_duration_us" + labels + "} 100\n",
           "nv_inference_compute_output_duration_us" + labels + "} 26\n",
           "nv_inference_pending_request_count" + labels + "} 4\n",
       }) {
    EXPECT_THAT(text, HasSubstr("\n" + line));
  }
  EXPECT_THAT(text, HasSubstr("# TYPE nv_inference_count counter\n"));
  EXPECT_THAT(text, HasSubstr("\nnv_cpu_utilization "));
  EXPECT_THAT(text, Not(HasSubstr("\nnv_cpu_memory_total_bytes 0\n")));
  EXPECT_THAT(text, HasSubstr("\nnv_cpu_memory_used_bytes "));
  EXPECT_THAT(text, HasSubstr("\nbitmill_requests_total{")) << "beside our own";
}

TEST(TritonFamiliesTest, AreNotShownOtherwise) {
  const auto metrics = CreateServerMetrics(HostInfo{});
  metrics->ForModel("m", 1);
  EXPECT_THAT(metrics->RenderText(), Not(HasSubstr("nv_")));
}

class MachineCpuShareTest : public ::testing::Test {
 protected:
  MachineCpuShareTest() { std::filesystem::create_directories(root_ + "/proc"); }
  void Write(const std::string& line) {
    std::ofstream(root_ + "/proc/stat") << line << "\ncpu0 1 1 1 1\n";
  }
  const std::string root_ = ::testing::TempDir() + "/machine_cpu_share";
  MachineCpuShare share_;
};

TEST_F(MachineCpuShareTest, IsOfTheTimeBetweenTwoLooks) {
  Write("cpu  1000 0 0 3000 0 0 0 0 0 0");
  EXPECT_DOUBLE_EQ(share_.Read(root_), 0.25);
  // 300 user, 100 system, 80 idle, 20 waiting for disks.
  Write("cpu  1300 0 100 3080 20 0 0 0 0 0");
  EXPECT_DOUBLE_EQ(share_.Read(root_), 0.8);
  Write("cpu  1301 0 100 3080 20 0 0 0 0 0");
  EXPECT_DOUBLE_EQ(share_.Read(root_), 0.8) << "too soon to say anything new";
}

TEST_F(MachineCpuShareTest, IsZeroWhereNothingCanBeRead) {
  EXPECT_EQ(share_.Read("/nonexistent"), 0);
  Write("cpu  a b c d");
  EXPECT_EQ(share_.Read(root_), 0);
}

}  // namespace
}  // namespace bitmill
