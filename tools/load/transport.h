// The connections of a load generator: spreads calls over them, opens a new one where the server
// closed one, and waits for answers with the precision that an open loop needs.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "tools/load/http2_connection.h"

namespace bitmill {

struct Endpoint {
  std::string host, port;
};

// "host:port", "[::1]:port", also behind "dns:///", "dns:", "ipv4:" or "ipv6:".
absl::StatusOr<Endpoint> ParseEndpoint(absl::string_view address);

class Transport {
 public:
  // Unavailable, saying what to do, when the server does not take all connections and answer on
  // them as HTTP/2 within `timeout_ms`.
  static absl::StatusOr<std::unique_ptr<Transport>> Connect(const std::string& address,
                                                            int connections, CallOptions options,
                                                            Http2Connection::Done done,
                                                            int64_t timeout_ms);

  // As of Http2Connection. A call on a connection that is gone and cannot be made again ends as
  // Unavailable at the next Poll().
  void Start(size_t call, absl::string_view message);
  void Cancel(size_t call);

  // Writes what waits, handles what comes, until something was handled or `deadline` has passed
  // (monotonic clock; in the past: looks once).
  void Poll(MonotonicNanos deadline);

 private:
  struct Link {
    std::unique_ptr<Http2Connection> now;
    std::vector<std::unique_ptr<Http2Connection>> closing;  // with calls to finish
    MonotonicNanos next_attempt = 0;
  };
  struct Failure {
    size_t call;
    absl::Status status;
  };

  Transport(Endpoint endpoint, CallOptions options, Http2Connection::Done done)
      : endpoint_(std::move(endpoint)), options_(std::move(options)), done_(std::move(done)) {}

  absl::StatusOr<std::unique_ptr<Http2Connection>> Open(int64_t timeout_ms);
  // The connection for new calls; null when there is none and none can be made now.
  Http2Connection* Usable(Link& link);
  // Takes a broken connection down: its calls fail.
  void Drop(std::unique_ptr<Http2Connection> connection, const absl::Status& status);
  absl::Status Serve(Http2Connection& connection, bool readable);

  const Endpoint endpoint_;
  const CallOptions options_;
  const Http2Connection::Done done_;
  const SystemClock clock_;
  std::vector<Link> links_;
  std::vector<Failure> failures_;  // to be told at the next Poll
  absl::Status last_error_;
};

}  // namespace bitmill
