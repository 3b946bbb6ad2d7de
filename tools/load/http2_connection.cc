#include "tools/load/http2_connection.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace bitmill {
namespace {

enum FrameType : uint8_t {
  kData = 0,
  kHeaders = 1,
  kPriority = 2,
  kReset = 3,
  kSettings = 4,
  kPushPromise = 5,
  kPing = 6,
  kGoAway = 7,
  kWindowUpdate = 8,
  kContinuation = 9,
};

constexpr uint8_t kEndStream = 0x1, kAck = 0x1, kEndHeaders = 0x4, kPadded = 0x8,
                  kPriorityFlag = 0x20;
constexpr uint16_t kHeaderTableSize = 1, kEnablePush = 2, kMaxStreams = 3, kInitialWindow = 4,
                   kMaxFrame = 5;
constexpr uint32_t kCancelCode = 8, kRefusedCode = 7;
constexpr size_t kFrameHeaderBytes = 9, kMessagePrefixBytes = 5;
constexpr size_t kMaxFrameBytes = 16'384;  // what we accept: the default
constexpr size_t kMaxBlockBytes = 1 << 16;
constexpr size_t kReadBytes = 256 * 1024;
constexpr int64_t kMaxWindow = (int64_t{1} << 31) - 1;
constexpr int64_t kReceiveWindow = int64_t{1} << 30;  // of the connection
constexpr uint32_t kLastStream = (1U << 31) - 1;

uint32_t ReadBig32(const char* bytes) {
  uint32_t value = 0;
  for (int i = 0; i < 4; ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

void AppendBig(uint64_t value, int bytes, std::string& out) {
  for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) {
    out += static_cast<char>(value >> shift);
  }
}

absl::Status NotHttp2(absl::string_view what) {
  return absl::InternalError(absl::StrCat("the server breaks HTTP/2: ", what));
}

std::string Literal(absl::string_view name, absl::string_view value) {
  std::string text = HpackInsert(name, value);
  text[0] = '\0';  // a literal that goes into no table
  return text;
}

// "%20" and the like in grpc-message.
std::string PercentDecoded(const std::string& text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    uint32_t byte = 0;
    if (text[i] == '%' && i + 2 < text.size() &&
        absl::SimpleHexAtoi(absl::string_view(text).substr(i + 1, 2), &byte)) {
      decoded += static_cast<char>(byte);
      i += 2;
    } else {
      decoded += text[i];
    }
  }
  return decoded;
}

// Takes padding (and, of headers, priority) off a payload; false when they do not fit.
bool Unpad(uint8_t flags, bool headers, absl::string_view* payload) {
  size_t pad = 0;
  if ((flags & kPadded) != 0) {
    if (payload->empty()) return false;
    pad = static_cast<uint8_t>(payload->front());
    payload->remove_prefix(1);
  }
  if (headers && (flags & kPriorityFlag) != 0) {
    if (payload->size() < 5) return false;
    payload->remove_prefix(5);
  }
  if (pad > payload->size()) return false;
  payload->remove_suffix(pad);
  return true;
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
  AppendFrameHeader(12, kSettings, 0, 0);
  AppendBig(kEnablePush, 2, out_);
  AppendBig(0, 4, out_);
  AppendBig(kInitialWindow, 2, out_);
  AppendBig(kMaxWindow, 4, out_);
  AppendFrameHeader(4, kWindowUpdate, 0, 0);
  AppendBig(kReceiveWindow - 65'535, 4, out_);
}

Http2Connection::~Http2Connection() { close(socket_); }

void Http2Connection::AppendFrameHeader(size_t length, uint8_t type, uint8_t flags,
                                        uint32_t stream) {
  AppendBig(length, 3, out_);
  out_ += static_cast<char>(type);
  out_ += static_cast<char>(flags);
  AppendBig(stream, 4, out_);
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
  if (next_stream_ > kLastStream - 2) closing_ = true;
  by_call_[call] = id;
  std::string block = std::exchange(before_headers_, std::string());
  block += literal_ ? literal_headers_ : id == 1 ? first_headers_ : next_headers_;
  AppendFrameHeader(block.size(), kHeaders, kEndHeaders, id);
  out_ += block;
  Stream& stream = streams_[id];
  stream.call = call;
  stream.message = message;
  stream.window = stream_window_;
  SendData(id, stream);
}

// Sends as much of the message as the windows let through; the rest waits.
void Http2Connection::SendData(uint32_t id, Stream& stream) {
  const size_t total = kMessagePrefixBytes + stream.message.size();
  while (stream.sent < total) {
    const int64_t allowed = std::min(window_, stream.window);
    if (allowed <= 0) {
      if (!std::exchange(stream.waiting, true)) waiting_.push_back(id);
      return;
    }
    const size_t bytes =
        std::min({total - stream.sent, static_cast<size_t>(allowed), max_frame_bytes_});
    const bool last = stream.sent + bytes == total;
    AppendFrameHeader(bytes, kData, last ? kEndStream : 0, id);
    size_t left = bytes;
    if (stream.sent < kMessagePrefixBytes) {
      std::string prefix(1, '\0');  // not compressed
      AppendBig(stream.message.size(), 4, prefix);
      const size_t part = std::min(left, kMessagePrefixBytes - stream.sent);
      out_.append(prefix, stream.sent, part);
      stream.sent += part;
      left -= part;
    }
    if (left > 0) {
      const absl::string_view part = stream.message.substr(stream.sent - kMessagePrefixBytes, left);
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
  AppendFrameHeader(4, kReset, 0, id);
  AppendBig(kCancelCode, 4, out_);
  OpenQueued();
}

std::vector<size_t> Http2Connection::Unfinished() const {
  std::vector<size_t> calls;
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

absl::Status Http2Connection::Receive() {
  in_.resize(in_filled_ + kReadBytes);
  const ssize_t got = recv(socket_, in_.data() + in_filled_, kReadBytes, 0);
  if (got == 0) return absl::UnavailableError("the server closed the connection");
  if (got < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("connection lost: ", strerror(errno)));
  }
  in_filled_ += static_cast<size_t>(got);

  size_t at = 0;
  while (in_filled_ - at >= kFrameHeaderBytes) {
    const char* header = in_.data() + at;
    const size_t length = ReadBig32(header) >> 8;
    if (length > kMaxFrameBytes) {
      return NotHttp2(absl::StrCat("a frame of ", length, " bytes"));
    }
    if (in_filled_ - at < kFrameHeaderBytes + length) break;
    const Frame frame{static_cast<uint8_t>(header[3]), static_cast<uint8_t>(header[4]),
                      ReadBig32(header + 5) & kLastStream,
                      absl::string_view(header + kFrameHeaderBytes, length)};
    BITMILL_RETURN_IF_ERROR(HandleFrame(frame));
    at += kFrameHeaderBytes + length;
  }
  std::memmove(in_.data(), in_.data() + at, in_filled_ - at);
  in_filled_ -= at;
  if (unacknowledged_bytes_ > kReceiveWindow / 4) {
    AppendFrameHeader(4, kWindowUpdate, 0, 0);
    AppendBig(static_cast<uint64_t>(std::exchange(unacknowledged_bytes_, 0)), 4, out_);
  }
  return absl::OkStatus();
}

absl::Status Http2Connection::HandleFrame(const Frame& frame) {
  if (block_stream_ != 0 && (frame.type != kContinuation || frame.stream != block_stream_)) {
    return NotHttp2("a header block is interrupted");
  }
  switch (frame.type) {
    case kData:
      return HandleData(frame);
    case kHeaders:
    case kContinuation:
      return HandleHeaders(frame);
    case kReset:
      return HandleReset(frame);
    case kSettings:
      return HandleSettings(frame);
    case kPing:
      if (frame.payload.size() != 8) return NotHttp2("a ping of the wrong size");
      if ((frame.flags & kAck) == 0) {
        AppendFrameHeader(8, kPing, kAck, 0);
        out_.append(frame.payload.data(), frame.payload.size());
      }
      return absl::OkStatus();
    case kGoAway:
      return HandleGoAway(frame);
    case kWindowUpdate:
      return HandleWindowUpdate(frame);
    case kPushPromise:
      return NotHttp2("a push that was declined");
    default:
      return absl::OkStatus();  // priorities and extensions
  }
}

absl::Status Http2Connection::HandleData(const Frame& frame) {
  unacknowledged_bytes_ += static_cast<int64_t>(frame.payload.size());
  absl::string_view payload = frame.payload;
  if (!Unpad(frame.flags, false, &payload)) return NotHttp2("more padding than data");
  const auto it = streams_.find(frame.stream);
  if (it == streams_.end()) return absl::OkStatus();  // one that was cancelled
  Stream& stream = it->second;
  stream.received += payload.size();
  if (options_.keep_answers) absl::StrAppend(&stream.answer, payload);
  if ((frame.flags & kEndStream) != 0) Finish(frame.stream, StatusOf(stream));
  return absl::OkStatus();
}

absl::Status Http2Connection::HandleHeaders(const Frame& frame) {
  absl::string_view payload = frame.payload;
  if (frame.type == kHeaders) {
    if (frame.stream == 0 || !Unpad(frame.flags, true, &payload)) {
      return NotHttp2("malformed headers");
    }
    block_ends_stream_ = (frame.flags & kEndStream) != 0;
    if ((frame.flags & kEndHeaders) != 0) {
      return HandleHeaderBlock(frame.stream, block_ends_stream_, payload);
    }
    block_.clear();
    block_stream_ = frame.stream;
  } else if (block_stream_ == 0) {
    return NotHttp2("a header block without a beginning");
  }
  absl::StrAppend(&block_, payload);
  if (block_.size() > kMaxBlockBytes) return NotHttp2("a header block without an end");
  if ((frame.flags & kEndHeaders) == 0) return absl::OkStatus();
  block_stream_ = 0;
  return HandleHeaderBlock(frame.stream, block_ends_stream_, block_);
}

absl::Status Http2Connection::HandleHeaderBlock(uint32_t id, bool end_stream,
                                                absl::string_view block) {
  const auto it = streams_.find(id);
  Stream* const stream = it == streams_.end() ? nullptr : &it->second;
  // Blocks of cancelled calls are decoded too: they change the table.
  const absl::Status decoded =
      decoder_.Decode(block, [stream](absl::string_view name, absl::string_view value) {
        if (stream == nullptr) return;
        if (name == "grpc-status") {
          if (!absl::SimpleAtoi(value, &stream->grpc_status)) stream->grpc_status = 2;
        } else if (name == "grpc-message") {
          stream->grpc_message = std::string(value);
        } else if (name == ":status") {
          if (!absl::SimpleAtoi(value, &stream->http_status)) stream->http_status = 0;
        }
      });
  if (!decoded.ok()) return NotHttp2(decoded.message());
  if (stream != nullptr && end_stream) Finish(id, StatusOf(*stream));
  return absl::OkStatus();
}

absl::Status Http2Connection::StatusOf(const Stream& stream) const {
  if (stream.grpc_status > 0) {
    const int code = stream.grpc_status <= 16 ? stream.grpc_status : 2;
    return absl::Status(static_cast<absl::StatusCode>(code), PercentDecoded(stream.grpc_message));
  }
  if (stream.grpc_status < 0) {
    return absl::UnavailableError(
        stream.http_status == 200
            ? std::string("the answer ends without a status")
            : absl::StrCat("HTTP status ", stream.http_status, " instead of a gRPC answer"));
  }
  if (stream.received < kMessagePrefixBytes) {
    return absl::InternalError("success without an answer");
  }
  if (options_.keep_answers &&
      (stream.answer[0] != '\0' ||
       ReadBig32(stream.answer.data() + 1) != stream.answer.size() - kMessagePrefixBytes)) {
    return absl::InternalError("the answer is compressed, or not one message");
  }
  return absl::OkStatus();
}

void Http2Connection::Finish(uint32_t id, const absl::Status& status) {
  const auto it = streams_.find(id);
  if (it == streams_.end()) return;
  const Stream stream = std::move(it->second);
  streams_.erase(it);
  by_call_.erase(stream.call);
  if (stream.sent < kMessagePrefixBytes + stream.message.size()) {  // answered before it was asked
    AppendFrameHeader(4, kReset, 0, id);
    AppendBig(kCancelCode, 4, out_);
  }
  OpenQueued();
  const absl::string_view answer =
      status.ok() && options_.keep_answers
          ? absl::string_view(stream.answer).substr(kMessagePrefixBytes)
          : absl::string_view();
  done_(stream.call, status, answer);
}

absl::Status Http2Connection::HandleSettings(const Frame& frame) {
  if ((frame.flags & kAck) != 0) return absl::OkStatus();
  if (frame.payload.size() % 6 != 0) return NotHttp2("settings of the wrong size");
  for (size_t at = 0; at < frame.payload.size(); at += 6) {
    const char* setting = frame.payload.data() + at;
    const uint32_t name = ReadBig32(setting) >> 16;
    const uint32_t value = ReadBig32(setting + 2);
    if (name == kHeaderTableSize && value < 4096) {
      literal_ = true;  // what was inserted may be gone: say everything, insert nothing
      before_headers_.assign(1, '\x20');  // the table's new size is 0
    } else if (name == kMaxStreams) {
      max_streams_ = value;
    } else if (name == kMaxFrame) {
      if (value < 16'384 || value > 16'777'215) return NotHttp2("an absurd frame size");
      max_frame_bytes_ = value;
    } else if (name == kInitialWindow) {
      if (value > kMaxWindow) return NotHttp2("an absurd window");
      for (auto& [id, stream] : streams_) stream.window += value - stream_window_;
      stream_window_ = value;
    }
  }
  AppendFrameHeader(0, kSettings, kAck, 0);
  ready_ = true;
  SendWaiting();
  OpenQueued();
  return absl::OkStatus();
}

absl::Status Http2Connection::HandleReset(const Frame& frame) {
  if (frame.payload.size() != 4) return NotHttp2("a reset of the wrong size");
  const uint32_t code = ReadBig32(frame.payload.data());
  Finish(frame.stream,
         code == kCancelCode
             ? absl::CancelledError("the server cancelled the call")
             : absl::UnavailableError(
                   code == kRefusedCode ? std::string("the server refused the call")
                                        : absl::StrCat("the server reset the call, code ", code)));
  return absl::OkStatus();
}

absl::Status Http2Connection::HandleGoAway(const Frame& frame) {
  if (frame.payload.size() < 8) return NotHttp2("a goodbye of the wrong size");
  const uint32_t last = ReadBig32(frame.payload.data()) & kLastStream;
  closing_ = true;
  std::vector<uint32_t> ignored;
  for (const auto& [id, stream] : streams_) {
    if (id > last) ignored.push_back(id);
  }
  const absl::Status status = absl::UnavailableError("the server closes the connection");
  for (const uint32_t id : ignored) Finish(id, status);
  for (const auto& [call, message] : std::exchange(queued_, {})) {
    by_call_.erase(call);
    done_(call, status, {});
  }
  return absl::OkStatus();
}

absl::Status Http2Connection::HandleWindowUpdate(const Frame& frame) {
  if (frame.payload.size() != 4) return NotHttp2("a window update of the wrong size");
  const int64_t more = ReadBig32(frame.payload.data()) & kLastStream;
  if (frame.stream == 0) {
    window_ += more;
    if (window_ > kMaxWindow) return NotHttp2("a window too large");
  } else if (const auto it = streams_.find(frame.stream); it != streams_.end()) {
    it->second.window += more;
    if (it->second.window > kMaxWindow) return NotHttp2("a window too large");
  }
  SendWaiting();
  return absl::OkStatus();
}

}  // namespace bitmill
