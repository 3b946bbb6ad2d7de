// A call whose client sends one request and gets the newest state of something, again and again.
//
// One message at a time is under way: a client that reads slowly gets the newest state when it is
// ready for one, and the states in between are skipped, never queued. The call ends when the client
// ends it, or with Unavailable when the server stops.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/frontend/generic_call.h"
#include "server/frontend/watch_list.h"

namespace bitmill {

// What one such call sends; owned by it, used on its loop's thread.
class UpdateSource {
 public:
  virtual ~UpdateSource() = default;
  // Reads the request. Returns the seconds from one message to the next at least, 0: no limit.
  virtual absl::StatusOr<double> Open(const std::string& request) = 0;
  // The newest state, unless it is the one that the last Next() returned.
  virtual std::optional<std::string> Next() = 0;
};

// `list` is notified when there may be a new state; it outlives the call. ResourceExhausted when it
// is full. The first message is sent at once, if there is one.
std::unique_ptr<CallHandler> CreateUpdateStream(GenericCall& call, WatchList& list,
                                                std::unique_ptr<UpdateSource> source);

}  // namespace bitmill
