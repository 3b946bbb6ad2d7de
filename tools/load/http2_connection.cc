#include "tools/load/http2_connection.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "tools/load/http2_frames.h"

namespace bitmill {

namespace {

// Metadata that the server knows (docs/analysis_collect.md): Unix time in nanoseconds.
constexpr char kSentKey[] = "bitmill-sent-unix-ns";

std::string Literal(absl::string_view name, absl::string_view value) {
  std::string text = HpackInsert(name, value);
  text[0] = '\0';  // a literal that goes into no table
  return text;
}

}  // namespace

Http2Connection::Http2Connection(int socket, const CallOptions& options, Done done)
    : socket_(socket), options_(options), done_(std::move(done)) {
  std::vector<std::pair<std::string, std::string>> headers = {
      {":path", options.path},
      {":authority", options.authority},
      {"te", "trailers"},
      {"content-type", "application/grpc"},
      {"user-agent", absl::StrCat("bitmill-load/", BITMILL_VERSION)}};
  if (options.timeout_us > 0) {
    headers.emplace_back("grpc-timeout", options.timeout_us < 100'000'000
                                             ? absl::StrCat(options.timeout_us, "u")
                                             : absl::StrCat(options.timeout_us / 1'000'000, "S"));
  }
  headers.insert(headers.end(), options.metadata.begin(), options.metadata.end());
  constexpr char kPost = static_cast<char>(0x83), kHttp = static_cast<char>(0x86);
  first_headers_ = {kPost, kHttp};
  next_headers_ = {kPost, kHttp};
  literal_headers_ = {kPost, kHttp};
  for (size_t i = 0; i < headers.size(); ++i) {
    first_headers_ += HpackInsert(headers[i].first, headers[i].second);
    next_headers_ += HpackInserted(static_cast<int>(headers.size() - 1 - i));
    literal_headers_ += Literal(headers[i].first, headers[i].second);
  }
  out_.append("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
  AppendFrameHeader(12, http2::kSettings, 0, 0);
  http2::AppendBig(http2::kEnablePush, 2, out_);
  http2::AppendBig(0, 4, out_);
  http2::AppendBig(http2::kInitialWindow, 2, out_);
  http2::AppendBig(http2::kMaxWindow, 4, out_);
  AppendFrameHeader(4, http2::kWindowUpdate, 0, 0);
  http2::AppendBig(http2::kReceiveWindow - 65'535, 4, out_);
}

Http2Connection::~Http2Connection() { close(socket_); }

void Http2Connection::AppendFrameHeader(size_t length, uint8_t type, uint8_t flags,
                                        uint32_t stream) {
  http2::AppendBig(length, 3, out_);
  out_ += static_cast<char>(type);
  out_ += static_cast<char>(flags);
  http2::AppendBig(stream, 4, out_);
}

void Http2Connection::Start(size_t call, absl::string_view message) {
  if (streams_.size() >= max_streams_ || !ready_) {
    queued_.emplace_back(call, message);
    by_call_[call] = 0;
    return;
  }
  Open(call, message);
}

void Http2Connection::Open(size_t call, absl::string_view message) {
  const uint32_t id = next_stream_;
  next_stream_ += 2;
  if (next_stream_ > http2::kLastStream - 2) closing_ = true;
  by_call_[call] = id;
  std::string block = std::exchange(before_headers_, std::string());
  const std::string sent =
      options_.send_time ? Literal(kSentKey, absl::StrCat(clock_.UnixNanos())) : "";
  block += literal_ ? literal_headers_ : id == 1 ? first_headers_ : next_headers_;
  block += sent;
  AppendFrameHeader(block.size(), http2::kHeaders, http2::kEndHeaders, id);
  out_ += block;
  Stream& stream = streams_[id];
  stream.call = call;
  stream.message = message;
  stream.window = stream_window_;
  SendData(id, stream);
}

// Sends as much of the message as the windows let through; the rest waits.
void Http2Connection::SendData(uint32_t id, Stream& stream) {
  const size_t total = http2::kMessagePrefixBytes + stream.message.size();
  while (stream.sent < total) {
    const int64_t allowed = std::min(window_, stream.window);
    if (allowed <= 0) {
      if (!std::exchange(stream.waiting, true)) waiting_.push_back(id);
      return;
    }
    const size_t bytes =
        std::min({total - stream.sent, static_cast<size_t>(allowed), max_frame_bytes_});
    const bool last = stream.sent + bytes == total;
    AppendFrameHeader(bytes, http2::kData, last ? http2::kEndStream : 0, id);
    size_t left = bytes;
    if (stream.sent < http2::kMessagePrefixBytes) {
      std::string prefix(1, '\0');  // not compressed
      http2::AppendBig(stream.message.size(), 4, prefix);
      const size_t part = std::min(left, http2::kMessagePrefixBytes - stream.sent);
      out_.append(prefix, stream.sent, part);
      stream.sent += part;
      left -= part;
    }
    if (left > 0) {
      const absl::string_view part =
          stream.message.substr(stream.sent - http2::kMessagePrefixBytes, left);
      out_.append(part.data(), part.size());
      stream.sent += left;
    }
    window_ -= static_cast<int64_t>(bytes);
    stream.window -= static_cast<int64_t>(bytes);
  }
}

void Http2Connection::SendWaiting() {
  for (size_t turns = waiting_.size(); turns > 0 && window_ > 0; --turns) {
    const uint32_t id = waiting_.front();
    waiting_.pop_front();
    const auto it = streams_.find(id);
    if (it == streams_.end()) continue;
    it->second.waiting = false;
    SendData(id, it->second);
  }
}

void Http2Connection::OpenQueued() {
  while (ready_ && !closing_ && !queued_.empty() && streams_.size() < max_streams_) {
    const auto [call, message] = queued_.front();
    queued_.pop_front();
    Open(call, message);
  }
}

void Http2Connection::Cancel(size_t call) {
  const auto it = by_call_.find(call);
  if (it == by_call_.end()) return;
  const uint32_t id = it->second;
  by_call_.erase(it);
  if (id == 0) {
    const auto is_call = [call](const auto& entry) { return entry.first == call; };
    queued_.erase(std::find_if(queued_.begin(), queued_.end(), is_call));
    return;
  }
  streams_.erase(id);
  AppendFrameHeader(4, http2::kReset, 0, id);
  http2::AppendBig(http2::kCancelCode, 4, out_);
  OpenQueued();
}

std::vector<size_t> Http2Connection::Unfinished() const {
  std::vector<size_t> calls;
  calls.reserve(by_call_.size());
  for (const auto& [call, id] : by_call_) calls.push_back(call);
  return calls;
}

absl::Status Http2Connection::Flush() {
  while (out_start_ < out_.size()) {
    const ssize_t sent =
        send(socket_, out_.data() + out_start_, out_.size() - out_start_, MSG_NOSIGNAL);
    if (sent > 0) {
      out_start_ += static_cast<size_t>(sent);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      return absl::OkStatus();
    } else if (errno != EINTR) {
      return absl::UnavailableError(absl::StrCat("connection lost: ", strerror(errno)));
    }
  }
  out_.clear();
  out_start_ = 0;
  return absl::OkStatus();
}

}  // namespace bitmill
