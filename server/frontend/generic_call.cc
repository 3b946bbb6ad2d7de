#include "server/frontend/generic_call.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "grpcpp/support/slice.h"
#include "server/frontend/bind_request.h"
#include "server/frontend/status_map.h"

namespace bitmill {

void GenericCall::Listen(FrontendContext& context, grpc::AsyncGenericService& service, IoLoop& loop,
                         const HandlerFactory& factory) {
  new GenericCall(context, service, loop, factory);
}

GenericCall::GenericCall(FrontendContext& context, grpc::AsyncGenericService& service, IoLoop& loop,
                         const HandlerFactory& factory)
    : context_(context), service_(service), loop_(loop), factory_(factory) {
  loop_.CallAdded();
  server_context_.AsyncNotifyWhenDone(IoLoop::Tag(on_over_));
  service_.RequestCall(&server_context_, &stream_, loop_.queue(), loop_.queue(),
                       IoLoop::Tag(on_accepted_));
}

GenericCall::~GenericCall() {
  if (handler_ != nullptr) loop_.RemoveLongCall(*handler_);
  loop_.CallRemoved();
}

void GenericCall::OnAccepted(bool ok) {
  if (!ok) {  // the server is shutting down; the event that the call is over will not come
    delete this;
    return;
  }
  Listen(context_, service_, loop_, factory_);
  handler_ = factory_(server_context_.method(), *this);
  if (handler_ == nullptr) {
    Finish(absl::UnimplementedError(
        absl::StrCat("there is no method ", Quoted(server_context_.method()))));
    return;
  }
  handler_->OnStart();
  loop_.AddLongCall(*handler_);
}

void GenericCall::Read() {
  Ref();
  stream_.Read(&incoming_, IoLoop::Tag(on_read_));
}

void GenericCall::OnRead(bool ok) {
  if (ok) {
    handler_->OnMessage(incoming_);
  } else {
    handler_->OnHalfClose();
  }
  Unref();
}

void GenericCall::Write(const grpc::ByteBuffer& message) {
  Ref();
  stream_.Write(message, IoLoop::Tag(on_written_));
}

void GenericCall::OnWritten(bool ok) {
  handler_->OnWritten(ok);
  Unref();
}

void GenericCall::WriteAndFinish(const grpc::ByteBuffer& message) {
  Ref();
  stream_.WriteAndFinish(message, grpc::WriteOptions(), grpc::Status::OK,
                         IoLoop::Tag(on_finished_));
}

void GenericCall::Finish(const absl::Status& status) {
  Ref();
  stream_.Finish(ToGrpcStatus(status), IoLoop::Tag(on_finished_));
}

void GenericCall::OnFinished(bool /*ok*/) { Unref(); }

void GenericCall::OnOver(bool /*ok*/) {
  if (handler_ != nullptr) handler_->OnOver(server_context_.IsCancelled());
  Unref();
}

void GenericCall::Unref() {
  if (references_.fetch_sub(1, std::memory_order_acq_rel) > 1) return;
  // The last reference may be dropped elsewhere; calls end on their loop's thread.
  if (loop_.OnThread()) {
    delete this;
  } else {
    loop_.Post([this] { delete this; });
  }
}

grpc::ByteBuffer ToByteBuffer(const std::string& bytes) {
  const grpc::Slice slice(bytes);
  return {&slice, 1};
}

std::string ToString(const grpc::ByteBuffer& buffer) {
  std::string bytes;
  std::vector<grpc::Slice> slices;
  if (!buffer.Dump(&slices).ok()) return bytes;
  bytes.reserve(buffer.Length());
  for (const grpc::Slice& slice : slices) {
    bytes.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
  }
  return bytes;
}

}  // namespace bitmill
