#include "backends/backend_set.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <utility>

namespace bitmill {
namespace {

// Prepares nothing; its status says who was asked.
class NamedBackend final : public Backend {
 public:
  explicit NamedBackend(std::string name) : name_(std::move(name)) {}
  std::string name() const override { return name_; }
  absl::StatusOr<std::unique_ptr<PreparedModel>> Prepare(const Graph&,
                                                         const CompileOptions&) const override {
    return absl::AbortedError(name_);
  }

 private:
  std::string name_;
};

std::string Asked(const Backend& backend, const std::string& wanted) {
  CompileOptions options;
  options.backend = wanted;
  return std::string(backend.Prepare({}, options).status().message());
}

TEST(BackendSetTest, ModelsGetTheBackendThatTheyNameOrTheDefault) {
  BackendSet set(std::make_unique<NamedBackend>("cpu"));
  set.Add("gpu", [] { return std::make_unique<NamedBackend>("gpu"); });
  EXPECT_EQ(Asked(set, ""), "cpu");
  EXPECT_EQ(Asked(set, "gpu"), "gpu");
  ASSERT_TRUE(set.SetDefault("gpu").ok());
  EXPECT_EQ(set.name(), "gpu");
  EXPECT_EQ(Asked(set, ""), "gpu");
  EXPECT_EQ(Asked(set, "cpu"), "cpu");
}

TEST(BackendSetTest, OthersAreMadeOnceWhenTheyAreWanted) {
  BackendSet set(std::make_unique<NamedBackend>("cpu"));
  int made = 0;
  set.Add("gpu", [&made] {
    ++made;
    return std::make_unique<NamedBackend>("gpu");
  });
  Asked(set, "cpu");
  EXPECT_EQ(made, 0);
  Asked(set, "gpu");
  Asked(set, "gpu");
  EXPECT_EQ(made, 1);
}

TEST(BackendSetTest, BackendThatCannotBeMadeSaysWhyEachTime) {
  BackendSet set(std::make_unique<NamedBackend>("cpu"));
  int tries = 0;
  set.Add("gpu", [&tries]() -> absl::StatusOr<std::unique_ptr<Backend>> {
    ++tries;
    return absl::NotFoundError("no driver");
  });
  EXPECT_EQ(Asked(set, "gpu"), "backend gpu: no driver");
  EXPECT_EQ(Asked(set, "gpu"), "backend gpu: no driver");
  EXPECT_EQ(tries, 1);
  EXPECT_TRUE(absl::IsFailedPrecondition(set.SetDefault("gpu")));
  EXPECT_EQ(Asked(set, ""), "cpu");
}

TEST(BackendSetTest, UnknownNameListsWhatThereIs) {
  BackendSet set(std::make_unique<NamedBackend>("cpu"));
  set.Add("gpu", [] { return std::make_unique<NamedBackend>("gpu"); });
  EXPECT_EQ(Asked(set, "tpu"), "backend 'tpu', this program has cpu, gpu");
}

}  // namespace
}  // namespace bitmill
