// One cleartext HTTP/2 connection (RFC 9113) that carries unary gRPC calls of one method.
//
// A gRPC library on the client's side costs as much CPU as the one on the server's; a load
// generator built on it measures the pair. Here a call is a header block of a few bytes, copied in
// front of a message that was serialized long ago, and many calls leave in one write. Flow control,
// settings, pings, GOAWAY and resets of the server are honoured as any client must.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/clock.h"
#include "tools/load/hpack.h"

namespace bitmill {

// Together with the headers of every call they fit the table that both sides keep.
inline constexpr size_t kMostHeaderBytes = 3'000;

struct CallOptions {
  std::string path;        // "/inference.GRPCInferenceService/ModelInfer"
  std::string authority;   // host and port, as the server should see them
  int64_t timeout_us = 0;  // told to the server with each call; 0: none
  bool keep_answers = false;
  bool send_time = false;  // tell the server when each call was sent, as metadata
  // More of each call: lower-case names, and values, shorter than 127 bytes; kMostHeaderBytes at
  // most, with 32 bytes for each.
  std::vector<std::pair<std::string, std::string>> metadata;
};

class Http2Connection {
 public:
  // How a call ended. `answer` is the message of a successful call when answers are kept.
  using Done =
      std::function<void(size_t call, const absl::Status& status, absl::string_view answer)>;

  // Takes over a connected, non-blocking socket and closes it in the end.
  Http2Connection(int socket, const CallOptions& options, Done done);
  ~Http2Connection();
  Http2Connection(const Http2Connection&) = delete;
  Http2Connection& operator=(const Http2Connection&) = delete;

  // Starts a call; `call` comes back in `done`. `message` is borrowed until then. Nothing is
  // written before Flush().
  void Start(size_t call, absl::string_view message);
  // Gives up a call that was started and is not done: the server is told, `done` is not called.
  void Cancel(size_t call);

  // Writes what waits, as far as the socket takes it. Unavailable once the connection is broken.
  absl::Status Flush();
  // Reads and handles what has come. Unavailable once the connection is closed or broken, Internal
  // when the server does not speak HTTP/2. Calls `done`, which may Start() and Cancel().
  absl::Status Receive();

  int socket() const { return socket_; }
  bool wants_to_write() const { return !out_.empty(); }
  // The server has said that it takes no more calls (or all numbers are used): those begun go on.
  bool closing() const { return closing_; }
  size_t calls() const { return by_call_.size(); }
  // The settings of the server have come: it speaks HTTP/2.
  bool ready() const { return ready_; }
  // Calls that are not done, in no order.
  std::vector<size_t> Unfinished() const;

 private:
  struct Stream {
    size_t call = 0;
    absl::string_view message;  // 5 bytes of prefix are counted in `sent`
    size_t sent = 0;
    int64_t window = 0;    // bytes that the server will still take
    bool waiting = false;  // in waiting_, for window
    size_t received = 0;
    std::string answer;    // with its prefix
    int grpc_status = -1;  // none yet
    int http_status = 0;
    std::string grpc_message;
  };
  struct Frame {
    uint8_t type = 0, flags = 0;
    uint32_t stream = 0;
    absl::string_view payload;
  };

  void Open(size_t call, absl::string_view message);
  void SendData(uint32_t id, Stream& stream);
  void SendWaiting();
  void OpenQueued();
  void AppendFrameHeader(size_t length, uint8_t type, uint8_t flags, uint32_t stream);
  absl::Status HandleFrame(const Frame& frame);
  absl::Status HandleData(const Frame& frame);
  absl::Status HandleHeaders(const Frame& frame);
  absl::Status HandleHeaderBlock(uint32_t id, bool end_stream, absl::string_view block);
  absl::Status HandleSettings(const Frame& frame);
  absl::Status HandleReset(const Frame& frame);
  absl::Status HandleGoAway(const Frame& frame);
  absl::Status HandleWindowUpdate(const Frame& frame);
  void Finish(uint32_t id, const absl::Status& status);
  absl::Status StatusOf(const Stream& stream) const;

  const int socket_;
  const CallOptions options_;
  const SystemClock clock_;
  const Done done_;
  // Header blocks: of the first call, of the others, and for a server that keeps no table.
  std::string first_headers_, next_headers_, literal_headers_;
  std::string before_headers_;  // once in front of the next block
  bool literal_ = false;

  HpackDecoder decoder_;
  std::unordered_map<uint32_t, Stream> streams_;
  std::unordered_map<size_t, uint32_t> by_call_;  // open streams and queued calls (stream 0)
  std::deque<std::pair<size_t, absl::string_view>> queued_;  // above the server's limit of streams
  std::deque<uint32_t> waiting_;                             // for window
  uint32_t next_stream_ = 1;
  bool closing_ = false, ready_ = false;

  // What the server allows.
  int64_t window_ = 65'535, stream_window_ = 65'535;
  size_t max_frame_bytes_ = 16'384, max_streams_ = SIZE_MAX;

  std::string out_, in_;
  size_t out_start_ = 0, in_filled_ = 0;
  int64_t unacknowledged_bytes_ = 0;
  // A header block in several frames.
  uint32_t block_stream_ = 0;
  bool block_ends_stream_ = false;
  std::string block_;
};

}  // namespace bitmill
