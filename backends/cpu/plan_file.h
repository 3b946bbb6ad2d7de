// The container of a plan file: parts with a hash each, found through a table.
//
//   header   64 bytes: magic, format, byte order, size of the file, number of parts, hash of header
//            and table
//   table    32 bytes a part: kind, offset, size, hash
//   parts    each on a page of its own
//
// All numbers are little-endian. Kinds that a reader does not know are passed over, so that others
// can be added.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/mapped_file.h"

namespace bitmill {

enum class PlanPart : uint32_t {
  kKey = 1,      // what the plan is good for
  kSource = 2,   // what it was made from
  kModel = 3,    // the lowered graph, and where its constants are
  kBlobs = 4,    // elements of constants
  kChoices = 5,  // how layers are computed, where that was measured
  kParts = 6,    // of a bundle: what each part has packed, and notes
};

struct PlanPartContents {
  PlanPart part = PlanPart::kKey;
  std::vector<absl::string_view> pieces;  // one behind the other
};

// Atomically. AlreadyExists, and nothing is done, when there is something at `path` that does not
// begin as a plan file does; otherwise errors of WriteFileAtomically.
absl::Status WritePlanFile(const std::string& path, const std::vector<PlanPartContents>& parts);

// `bytes` bytes of `whole` from `offset` on; nothing when they lie outside or `offset` is no
// multiple of `boundary`.
std::optional<absl::string_view> PieceOf(absl::string_view whole, uint64_t offset, uint64_t bytes,
                                         uint64_t boundary);

class PlanFile {
 public:
  // Maps the file and checks header and table, not yet the parts. NotFound; PermissionDenied when
  // it belongs to somebody else than us, root and `model_owner`, or anybody may write to it;
  // FailedPrecondition for another format; DataLoss when it is damaged or no plan file.
  static absl::StatusOr<PlanFile> Open(const std::string& path, uint32_t model_owner);

  bool Has(PlanPart part) const { return parts_.contains(part); }
  // Lies in the file, aligned to a page. DataLoss when it is not there or its hash is wrong.
  absl::StatusOr<absl::string_view> Part(PlanPart part) const;
  const std::shared_ptr<const MappedFile>& file() const { return file_; }

 private:
  struct Place {
    absl::string_view bytes;
    uint64_t hash = 0;
  };

  std::shared_ptr<const MappedFile> file_;
  std::map<PlanPart, Place> parts_;
};

}  // namespace bitmill
