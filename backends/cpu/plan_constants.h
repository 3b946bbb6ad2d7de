// What steps pack: weights as kernels want them, tables that take long to make.
//
// A constant has the number of its node and a name. Asked for the first time it is made; after
// that, and when it came with a plan file, it is handed out as it is, without a copy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace bitmill {

// Constant bytes, aligned to 64; copies share them.
class PackedBytes {
 public:
  PackedBytes() = default;
  PackedBytes(std::shared_ptr<const std::byte> data, int64_t size)
      : data_(std::move(data)), size_(size) {}

  const std::byte* data() const { return data_.get(); }
  int64_t size() const { return size_; }
  const std::shared_ptr<const std::byte>& shared() const { return data_; }
  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data_.get());
  }

 private:
  std::shared_ptr<const std::byte> data_;
  int64_t size_ = 0;
};

class PlanConstants {
 public:
  using Key = std::pair<int32_t, std::string>;  // node, name
  // Fills zeroed memory.
  using Fill = absl::FunctionRef<absl::Status(std::byte* to)>;
  // What a constant is made from.
  enum class From : uint8_t {
    kWeights,  // the operation's weights, which a plan file then leaves out
    kOthers,   // other constants and the rest of the operation
  };

  PlanConstants() = default;
  // With those of a plan file.
  explicit PlanConstants(std::map<Key, PackedBytes> stored) : constants_(std::move(stored)) {}

  // `bytes` bytes; errors are those of `fill`, which is called when there is no such constant of
  // that size.
  absl::StatusOr<PackedBytes> Get(int32_t node, absl::string_view name, int64_t bytes, From from,
                                  Fill fill);

  // Forgets what was asked for so far, and drops what has not been asked for since: between them a
  // plan is built that is to be the only one.
  void BeginUse();
  void DropUnused();

  const std::map<Key, PackedBytes>& all() const { return constants_; }
  // Nodes of which a constant was made from the weights.
  const std::set<int32_t>& packed_nodes() const { return packed_nodes_; }
  // Whether constants were made that the plan file did not have.
  bool grown() const { return grown_; }

 private:
  std::map<Key, PackedBytes> constants_;
  std::set<Key> used_;
  std::set<int32_t> packed_nodes_;
  bool grown_ = false;
};

}  // namespace bitmill
