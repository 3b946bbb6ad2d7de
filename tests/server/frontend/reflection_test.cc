#include "server/frontend/reflection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "google/protobuf/descriptor.pb.h"
#include "grpcpp/support/status.h"
#include "proto/reflection.pb.h"

namespace bitmill {
namespace {

using grpc::reflection::v1::ServerReflectionRequest;
using grpc::reflection::v1::ServerReflectionResponse;
using ::testing::Contains;
using ::testing::ElementsAre;

ServerReflectionResponse Ask(const ServerReflectionRequest& request) {
  ServerReflectionResponse response;
  EXPECT_TRUE(response.ParseFromString(AnswerReflection(request.SerializeAsString())));
  return response;
}

std::vector<std::string> FileNames(const ServerReflectionResponse& response) {
  std::vector<std::string> names;
  for (const std::string& bytes : response.file_descriptor_response().file_descriptor_proto()) {
    google::protobuf::FileDescriptorProto file;
    EXPECT_TRUE(file.ParseFromString(bytes));
    names.push_back(file.name());
  }
  return names;
}

TEST(ReflectionTest, ListsTheServices) {
  ServerReflectionRequest request;
  request.set_list_services("*");
  const ServerReflectionResponse response = Ask(request);
  std::vector<std::string> names;
  for (const auto& service : response.list_services_response().service()) {
    names.push_back(service.name());
  }
  EXPECT_THAT(names, Contains("inference.GRPCInferenceService"));
  EXPECT_THAT(names, Contains("grpc.health.v1.Health"));
}

TEST(ReflectionTest, GivesTheFileOfASymbolWithWhatItImports) {
  ServerReflectionRequest request;
  request.set_host("h");
  request.set_file_containing_symbol("inference.GRPCInferenceService.ModelInfer");
  const ServerReflectionResponse response = Ask(request);
  EXPECT_THAT(FileNames(response),
              ElementsAre("proto/inference.proto", "proto/model_config.proto"));
  EXPECT_EQ(response.valid_host(), "h");
  EXPECT_EQ(response.original_request().SerializeAsString(), request.SerializeAsString());
}

TEST(ReflectionTest, GivesAFileByItsName) {
  ServerReflectionRequest request;
  request.set_file_by_filename("proto/health.proto");
  EXPECT_THAT(FileNames(Ask(request)), ElementsAre("proto/health.proto"));
}

TEST(ReflectionTest, AnswersWhatItCannotFindWithAnError) {
  std::vector<ServerReflectionRequest> requests(4);
  requests[0].set_file_by_filename("no/such.proto");
  requests[1].set_file_containing_symbol("no.such.Symbol");
  requests[2].mutable_file_containing_extension()->set_containing_type("inference.ModelConfig");
  requests[3].set_all_extension_numbers_of_type("no.such.Type");
  for (const ServerReflectionRequest& request : requests) {
    EXPECT_EQ(Ask(request).error_response().error_code(), grpc::StatusCode::NOT_FOUND)
        << request.ShortDebugString();
  }
  EXPECT_EQ(Ask({}).error_response().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  ServerReflectionResponse response;
  ASSERT_TRUE(response.ParseFromString(AnswerReflection("\xFF\xFF")));
  EXPECT_EQ(response.error_response().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

}  // namespace
}  // namespace bitmill
