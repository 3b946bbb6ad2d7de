#include "backends/plan_cache.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/status_macros.h"
#include "kernels/isa.h"

namespace bitmill {
namespace {

namespace fs = std::filesystem;

// Larger files are not hashed as long as their stamp stays.
constexpr int64_t kMinStampedBytes = int64_t{64} << 20;
// File systems tell times apart that lie this far from each other.
constexpr int64_t kSettledNs = 2'000'000'000;
constexpr int64_t kNanosPerMilli = 1'000'000;

// The model file as it is now, hashed when somebody asks.
class ModelFile {
 public:
  explicit ModelFile(const std::string& path) : path_(path) {
    struct stat info {};
    if (stat(path.c_str(), &info) == 0) owner_ = info.st_uid;
    if (absl::StatusOr<FileStamp> stamp = StampOfFile(path); stamp.ok()) stamp_ = *stamp;
    const int64_t now_ns = SystemClock().UnixMillis() * kNanosPerMilli;
    settled_ = now_ns - std::max(stamp_.modified_ns, stamp_.changed_ns) > kSettledNs;
  }

  uint32_t owner() const { return owner_; }
  bool large() const { return stamp_.bytes >= kMinStampedBytes; }

  bool IsSourceOf(const PlanSource& source) {
    if (large() && HasStamp(source.stamp)) return true;
    if (!hash_.has_value()) {
      const absl::StatusOr<HashedFile> hashed = HashFile(path_);
      if (!hashed.ok() || hashed->stamp != stamp_) return false;
      hash_ = hashed->hash;
    }
    return source.hash == *hash_;
  }
  // `hash`: of the bytes that were read after this object was made. A stamp is worth something only
  // when a change right after would give another one.
  PlanSource SourceOf(uint64_t hash) const { return {settled_ ? stamp_ : FileStamp{}, hash}; }
  // Whether a plan with `source` would be spared hashing by being written again.
  bool GainsStamp(const PlanSource& source) const {
    return large() && settled_ && !HasStamp(source.stamp);
  }

 private:
  // Device numbers of network and overlay file systems change with each mount; the times of a file
  // in nanoseconds do not.
  bool HasStamp(FileStamp stamp) const {
    stamp.device = stamp_.device;
    return stamp == stamp_;
  }

  const std::string& path_;
  uint32_t owner_ = 0;
  FileStamp stamp_;
  bool settled_ = false;
  std::optional<uint64_t> hash_;
};

std::string VariantOf(const CompileOptions& options) {
  const bool own_isa = options.isa != "auto" && options.isa != IsaName(BestIsa());
  const bool exact = options.precision == Precision::kExact;
  return absl::StrCat(exact ? "" : ".", exact ? "" : PrecisionName(options.precision),
                      own_isa ? "." : "", own_isa ? options.isa : "");
}

// Where a plan may lie, the place to write to first.
std::vector<std::string> PlacesOf(const PlanCacheOptions& cache, const CompileRequest& request) {
  const std::string stem = fs::path(request.file).stem().string();
  const std::string variant = VariantOf(request.options);
  std::vector<std::string> places;
  if (!cache.folder.empty()) {
    const uint64_t path_hash = HashBytes(request.file.data(), request.file.size());
    places.push_back(absl::StrCat(cache.folder, "/", stem, "-",
                                  absl::Hex(path_hash, absl::kZeroPad16), variant, ".plan"));
  }
  places.push_back(absl::StrCat(request.plan_folder, "/", stem, variant, ".plan"));
  return places;
}

void LogUnused(const absl::Status& status) {
  const bool strange = absl::IsDataLoss(status) || absl::IsPermissionDenied(status);
  Log(strange ? LogLevel::kWarning : LogLevel::kInfo,
      absl::StrCat("plan not used: ", status.message()));
}

class CachedCompilation {
 public:
  CachedCompilation(const Backend& backend, const PlanCacheOptions& cache,
                    const CompileRequest& request)
      : backend_(backend),
        cache_(cache),
        request_(request),
        file_(request.file),
        start_ns_(clock_.Now()) {
    if (cache.enabled) places_ = PlacesOf(cache, request);
  }

  absl::StatusOr<CompiledModel> Run() {
    for (const std::string& place : places_) {
      BITMILL_ASSIGN_OR_RETURN(std::optional<CompiledModel> found, TryPlan(place));
      if (found.has_value()) return *std::move(found);
    }
    return Compile();
  }

 private:
  static void AppendTuning(const PreparedModel& prepared, CompiledModel& model) {
    const std::string tuning = prepared.tuning();
    if (!tuning.empty()) absl::StrAppend(&model.origin, ", ", tuning);
  }
  int64_t ElapsedMs() const { return (clock_.Now() - start_ns_) / kNanosPerMilli; }

  // Nothing when there is no plan that fits. Errors are those of `limits`.
  absl::StatusOr<std::optional<CompiledModel>> TryPlan(const std::string& place) {
    absl::StatusOr<std::unique_ptr<PreparedModel>> opened =
        backend_.OpenPlan(place, file_.owner(), request_.options);
    if (absl::IsNotFound(opened.status()) || absl::IsUnimplemented(opened.status())) {
      return std::nullopt;
    }
    if (!opened.ok()) {
      LogUnused(opened.status());
      return std::nullopt;
    }
    PreparedModel& prepared = **opened;
    const PlanSource source = prepared.source();
    if (!file_.IsSourceOf(source)) {
      LogUnused(absl::FailedPreconditionError(
          absl::StrCat(place, " was made from another model file than ", request_.file)));
      return std::nullopt;
    }
    BITMILL_ASSIGN_OR_RETURN(const ExecutionLimits limits, request_.limits(prepared.signature()));
    absl::StatusOr<std::unique_ptr<Executable>> executable = prepared.MakeExecutable(limits);
    if (!executable.ok()) {
      LogUnused(absl::DataLossError(absl::StrCat(place, ": ", executable.status().message())));
      return std::nullopt;
    }
    CompiledModel model{*std::move(executable), true,
                        absl::StrCat("from cache, ", ElapsedMs(), " ms")};
    AppendTuning(prepared, model);
    if ((prepared.grown() && ElapsedMs() >= cache_.min_compile_ms) || file_.GainsStamp(source)) {
      static_cast<void>(prepared.Save(place, file_.SourceOf(source.hash)));  // as good as before
    }
    return model;
  }

  absl::StatusOr<CompiledModel> Compile() {
    CompileOptions options = request_.options;
    BITMILL_ASSIGN_OR_RETURN(const CompileRequest::Model read, request_.read(options));
    const int64_t start_ns = clock_.Now();
    BITMILL_ASSIGN_OR_RETURN(const std::unique_ptr<PreparedModel> prepared,
                             backend_.Prepare(read.graph, options));
    BITMILL_ASSIGN_OR_RETURN(const ExecutionLimits limits, request_.limits(prepared->signature()));
    CompiledModel model;
    BITMILL_ASSIGN_OR_RETURN(model.executable, prepared->MakeExecutable(limits));
    const int64_t compile_ms = (clock_.Now() - start_ns) / kNanosPerMilli;
    model.origin = absl::StrCat("compiled in ", compile_ms, " ms");
    AppendTuning(*prepared, model);
    if (places_.empty() || compile_ms < cache_.min_compile_ms) return model;
    if (!cache_.folder.empty()) {
      std::error_code ignored;  // writing says what is wrong
      fs::create_directories(cache_.folder, ignored);
    }
    const absl::Status saved = prepared->Save(places_.front(), file_.SourceOf(read.hash));
    if (saved.ok()) {
      absl::StrAppend(&model.origin, ", saved");
    } else if (!absl::IsUnimplemented(saved)) {  // of a backend without plan files
      LogInfo(absl::StrCat("plan not saved: ", saved.message()));
    }
    return model;
  }

  const Backend& backend_;
  const PlanCacheOptions& cache_;
  const CompileRequest& request_;
  const SystemClock clock_;
  ModelFile file_;
  const int64_t start_ns_;
  std::vector<std::string> places_;
};

}  // namespace

PlanCacheOptions ParsePlanCache(absl::string_view text) {
  PlanCacheOptions options;
  options.enabled = text != "off";
  if (text != "off" && text != "beside") options.folder = std::string(text);
  return options;
}

absl::StatusOr<CompiledModel> CompileThroughCache(const Backend& backend,
                                                  const PlanCacheOptions& cache,
                                                  const CompileRequest& request) {
  return CachedCompilation(backend, cache, request).Run();
}

}  // namespace bitmill
