// The receiving half of Http2Connection: frames in, ended calls out.
#include <errno.h>
#include <sys/socket.h>

#include <cstring>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "tools/load/http2_connection.h"
#include "tools/load/http2_frames.h"

namespace bitmill {

namespace {

absl::Status NotHttp2(absl::string_view what) {
  return absl::InternalError(absl::StrCat("the server breaks HTTP/2: ", what));
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
  if ((flags & http2::kPadded) != 0) {
    if (payload->empty()) return false;
    pad = static_cast<uint8_t>(payload->front());
    payload->remove_prefix(1);
  }
  if (headers && (flags & http2::kPriorityFlag) != 0) {
    if (payload->size() < 5) return false;
    payload->remove_prefix(5);
  }
  if (pad > payload->size()) return false;
  payload->remove_suffix(pad);
  return true;
}

}  // namespace

absl::Status Http2Connection::Receive() {
  in_.resize(in_filled_ + http2::kReadBytes);
  const ssize_t got = recv(socket_, in_.data() + in_filled_, http2::kReadBytes, 0);
  if (got == 0) return absl::UnavailableError("the server closed the connection");
  if (got < 0) {
    if (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR) return absl::OkStatus();
    return absl::UnavailableError(absl::StrCat("connection lost: ", strerror(errno)));
  }
  in_filled_ += static_cast<size_t>(got);

  size_t at = 0;
  while (in_filled_ - at >= http2::kFrameHeaderBytes) {
    const char* header = in_.data() + at;
    const size_t length = http2::ReadBig32(header) >> 8;
    if (length > http2::kMaxFrameBytes) {
      return NotHttp2(absl::StrCat("a frame of ", length, " bytes"));
    }
    if (in_filled_ - at < http2::kFrameHeaderBytes + length) break;
    const Frame frame{static_cast<uint8_t>(header[3]), static_cast<uint8_t>(header[4]),
                      http2::ReadBig32(header + 5) & http2::kLastStream,
                      absl::string_view(header + http2::kFrameHeaderBytes, length)};
    BITMILL_RETURN_IF_ERROR(HandleFrame(frame));
    at += http2::kFrameHeaderBytes + length;
  }
  std::memmove(in_.data(), in_.data() + at, in_filled_ - at);
  in_filled_ -= at;
  if (unacknowledged_bytes_ > http2::kReceiveWindow / 4) {
    AppendFrameHeader(4, http2::kWindowUpdate, 0, 0);
    http2::AppendBig(static_cast<uint64_t>(std::exchange(unacknowledged_bytes_, 0)), 4, out_);
  }
  return absl::OkStatus();
}

absl::Status Http2Connection::HandleFrame(const Frame& frame) {
  if (block_stream_ != 0 && (frame.type != http2::kContinuation || frame.stream != block_stream_)) {
    return NotHttp2("a header block is interrupted");
  }
  switch (frame.type) {
    case http2::kData:
      return HandleData(frame);
    case http2::kHeaders:
    case http2::kContinuation:
      return HandleHeaders(frame);
    case http2::kReset:
      return HandleReset(frame);
    case http2::kSettings:
      return HandleSettings(frame);
    case http2::kPing:
      if (frame.payload.size() != 8) return NotHttp2("a ping of the wrong size");
      if ((frame.flags & http2::kAck) == 0) {
        AppendFrameHeader(8, http2::kPing, http2::kAck, 0);
        out_.append(frame.payload.data(), frame.payload.size());
      }
      return absl::OkStatus();
    case http2::kGoAway:
      return HandleGoAway(frame);
    case http2::kWindowUpdate:
      return HandleWindowUpdate(frame);
    case http2::kPushPromise:
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
  if ((frame.flags & http2::kEndStream) != 0) Finish(frame.stream, StatusOf(stream));
  return absl::OkStatus();
}

absl::Status Http2Connection::HandleHeaders(const Frame& frame) {
  absl::string_view payload = frame.payload;
  if (frame.type == http2::kHeaders) {
    if (frame.stream == 0 || !Unpad(frame.flags, true, &payload)) {
      return NotHttp2("malformed headers");
    }
    block_ends_stream_ = (frame.flags & http2::kEndStream) != 0;
    if ((frame.flags & http2::kEndHeaders) != 0) {
      return HandleHeaderBlock(frame.stream, block_ends_stream_, payload);
    }
    block_.clear();
    block_stream_ = frame.stream;
  } else if (block_stream_ == 0) {
    return NotHttp2("a header block without a beginning");
  }
  absl::StrAppend(&block_, payload);
  if (block_.size() > http2::kMaxBlockBytes) return NotHttp2("a header block without an end");
  if ((frame.flags & http2::kEndHeaders) == 0) return absl::OkStatus();
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
  if (stream.received < http2::kMessagePrefixBytes) {
    return absl::InternalError("success without an answer");
  }
  if (options_.keep_answers &&
      (stream.answer[0] != '\0' || http2::ReadBig32(stream.answer.data() + 1) !=
                                       stream.answer.size() - http2::kMessagePrefixBytes)) {
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
  if (stream.sent <
      http2::kMessagePrefixBytes + stream.message.size()) {  // answered before it was asked
    AppendFrameHeader(4, http2::kReset, 0, id);
    http2::AppendBig(http2::kCancelCode, 4, out_);
  }
  OpenQueued();
  const absl::string_view answer =
      status.ok() && options_.keep_answers
          ? absl::string_view(stream.answer).substr(http2::kMessagePrefixBytes)
          : absl::string_view();
  done_(stream.call, status, answer);
}

absl::Status Http2Connection::HandleSettings(const Frame& frame) {
  if ((frame.flags & http2::kAck) != 0) return absl::OkStatus();
  if (frame.payload.size() % 6 != 0) return NotHttp2("settings of the wrong size");
  for (size_t at = 0; at < frame.payload.size(); at += 6) {
    const char* setting = frame.payload.data() + at;
    const uint32_t name = http2::ReadBig32(setting) >> 16;
    const uint32_t value = http2::ReadBig32(setting + 2);
    if (name == http2::kHeaderTableSize && value < 4096) {
      literal_ = true;  // what was inserted may be gone: say everything, insert nothing
      before_headers_.assign(1, '\x20');  // the table's new size is 0
    } else if (name == http2::kMaxStreams) {
      max_streams_ = value;
    } else if (name == http2::kMaxFrame) {
      if (value < 16'384 || value > 16'777'215) return NotHttp2("an absurd frame size");
      max_frame_bytes_ = value;
    } else if (name == http2::kInitialWindow) {
      if (value > http2::kMaxWindow) return NotHttp2("an absurd window");
      for (auto& [id, stream] : streams_) stream.window += value - stream_window_;
      stream_window_ = value;
    }
  }
  AppendFrameHeader(0, http2::kSettings, http2::kAck, 0);
  ready_ = true;
  SendWaiting();
  OpenQueued();
  return absl::OkStatus();
}

absl::Status Http2Connection::HandleReset(const Frame& frame) {
  if (frame.payload.size() != 4) return NotHttp2("a reset of the wrong size");
  const uint32_t code = http2::ReadBig32(frame.payload.data());
  Finish(frame.stream, code == http2::kCancelCode
                           ? absl::CancelledError("the server cancelled the call")
                           : absl::UnavailableError(
                                 code == http2::kRefusedCode
                                     ? std::string("the server refused the call")
                                     : absl::StrCat("the server reset the call, code ", code)));
  return absl::OkStatus();
}

absl::Status Http2Connection::HandleGoAway(const Frame& frame) {
  if (frame.payload.size() < 8) return NotHttp2("a goodbye of the wrong size");
  const uint32_t last = http2::ReadBig32(frame.payload.data()) & http2::kLastStream;
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
  const int64_t more = http2::ReadBig32(frame.payload.data()) & http2::kLastStream;
  if (frame.stream == 0) {
    window_ += more;
    if (window_ > http2::kMaxWindow) return NotHttp2("a window too large");
  } else if (const auto it = streams_.find(frame.stream); it != streams_.end()) {
    it->second.window += more;
    if (it->second.window > http2::kMaxWindow) return NotHttp2("a window too large");
  }
  SendWaiting();
  return absl::OkStatus();
}

}  // namespace bitmill
