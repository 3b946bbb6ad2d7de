// The ShadowServer of the server: the version that the repository holds back, run by the engine
// like any request; and promotion, which asks the guards first.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "server/analysis/quality/quality_watch.h"
#include "server/analysis/quality/shadow.h"
#include "server/engine/engine.h"
#include "server/repository/repository.h"

namespace bitmill {

// Thread-safe; borrows everything.
class EngineShadow final : public ShadowServer {
 public:
  EngineShadow(const ModelRepository& repository, Engine& engine, const Clock& clock)
      : repository_(repository), engine_(engine), clock_(clock) {}

  int64_t ShadowOf(const std::string& model, int64_t version) const override;
  // Queues the request, never on this thread, and waits. What the shadow computed is shown to its
  // own tap, so that its drift and its accuracy are known as well. FailedPrecondition for a version
  // whose inputs or outputs differ.
  ShadowOutcome Run(const ShadowRequest& request) override;

 private:
  const ModelRepository& repository_;
  Engine& engine_;
  const Clock& clock_;
};

// Makes `version` the one that answers. A newer one must pass the guards of `watch`
// (QualityWatch::CheckPromotion); back to an older one leads no guard. NotFound for an unknown
// model or version; InvalidArgument for version 0.
absl::Status PromoteVersion(ModelRepository& repository, QualityWatch& watch,
                            absl::string_view model, int64_t version);

}  // namespace bitmill
