"""Traces as an OpenTelemetry collector gets them, read with the official message classes."""
import queue
import re
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2
from tritonclient.utils import InferenceServerException

from server import GOLDEN, SHIPPED, Server, add_model
from test_metrics import page, value

MODEL = "fmnist_tfc_w1a1"
FILE = SHIPPED / MODEL / "1" / "model.onnx"
X = np.load(GOLDEN / f"{MODEL}.npz")["x"]
REQUEST = "inference.GRPCInferenceService/ModelInfer"
STAGES = ["decode", "encode", "queue", "schedule", "assemble", "compute", "split"]
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps what it gets; the first `failures` calls are refused as if it were overloaded."""

    def __init__(self, failures: int = 0):
        self.failures, self.requests, self.lock = failures, [], threading.Lock()

    def __enter__(self) -> "Collector":
        self.server = grpc.server(futures.ThreadPoolExecutor(2))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(self, self.server)
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop(None)

    def Export(self, request, context):
        with self.lock:
            if self.failures > 0:
                self.failures -= 1
                context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
            self.requests.append(request)
        return trace_service_pb2.ExportTraceServiceResponse()

    def spans(self) -> list:
        with self.lock:
            return [span for request in self.requests for resource in request.resource_spans
                    for scope in resource.scope_spans for span in scope.spans]

    def wait(self, condition, seconds: float = 20.0) -> list:
        """The spans, once they fulfil the condition."""
        end = time.monotonic() + seconds
        while not condition(self.spans()):
            assert time.monotonic() < end, [span.name for span in self.spans()]
            time.sleep(0.05)
        return self.spans()

    def wait_for_requests(self, count: int) -> list:
        return self.wait(lambda spans: sum(s.name.startswith("inference.") for s in spans) >= count)


def attributes(span) -> dict:
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def tensor(rows: np.ndarray) -> list:
    inputs = [triton.InferInput("pixels", list(rows.shape), "FP32")]
    inputs[0].set_data_from_numpy(rows)
    return inputs


def headers(flags: str = "01", trace: str = TRACE) -> dict:
    return {"traceparent": f"00-{trace}-{PARENT}-{flags}"}


def test_a_traced_request_has_a_span_for_each_stage():
    with Collector() as collector, \
            Server(SHIPPED, ["--otlp-endpoint", collector.address]) as server, \
            triton.InferenceServerClient(server.address) as client:
        before = time.time_ns()
        client.infer(MODEL, tensor(X[:3]), headers={**headers(), "tracestate": "vendor=opaque"})
        after = time.time_ns()
        spans = collector.wait_for_requests(1)
        resource = {a.key: a.value.string_value
                    for a in collector.requests[0].resource_spans[0].resource.attributes}

    assert resource["service.name"] == "bitmill"
    assert re.fullmatch(r"[0-9a-f]{16}", resource["service.instance.id"])
    request = spans[0]
    assert request.name == REQUEST
    assert request.kind == trace_pb2.Span.SPAN_KIND_SERVER
    assert request.trace_id.hex() == TRACE
    assert request.parent_span_id.hex() == PARENT
    assert request.trace_state == "vendor=opaque"
    assert request.flags == (1 | trace_pb2.SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK |
                             trace_pb2.SPAN_FLAGS_CONTEXT_IS_REMOTE_MASK)
    assert request.status.code == trace_pb2.Status.STATUS_CODE_UNSET
    assert before <= request.start_time_unix_nano < request.end_time_unix_nano <= after
    found = attributes(request)
    assert found == {"rpc.system": "grpc", "rpc.service": "inference.GRPCInferenceService",
                     "rpc.method": "ModelInfer", "rpc.grpc.status_code": 0, "bitmill.code": "OK",
                     "bitmill.model.name": MODEL, "bitmill.model.version": 1, "bitmill.rows": 3,
                     "bitmill.batch.rows": 3}

    stages = spans[1:]
    # A stage of no length has no span: a batch that runs at once is neither queued nor scheduled.
    assert [s.name for s in stages] == [n for n in STAGES if n in {s.name for s in stages}]
    assert {"decode", "encode", "assemble", "compute", "split"} <= {s.name for s in stages}
    last = request.start_time_unix_nano
    for stage in stages:
        assert stage.trace_id == request.trace_id
        assert stage.parent_span_id == request.span_id
        assert stage.kind == trace_pb2.Span.SPAN_KIND_INTERNAL
        assert last <= stage.start_time_unix_nano < stage.end_time_unix_nano, stage.name
        last = stage.end_time_unix_nano
    assert last <= request.end_time_unix_nano
    ids = {span.span_id for span in spans}
    assert len(ids) == len(spans) and all(len(i) == 8 and any(i) for i in ids)


def test_the_caller_decides_and_the_ratio_decides_for_the_others():
    with Collector() as collector, \
            Server(SHIPPED, ["--otlp-endpoint", collector.address, "--trace-ratio", "1"]) as server, \
            triton.InferenceServerClient(server.address) as client:
        client.infer(MODEL, tensor(X[:1]), headers=headers("00"))      # not sampled
        client.infer(MODEL, tensor(X[:1]), headers=headers("03"))      # sampled, and another flag
        client.infer(MODEL, tensor(X[:1]))                             # undecided
        client.infer(MODEL, tensor(X[:1]), headers={"traceparent": "00-nonsense"})
        spans = collector.wait_for_requests(3)
        assert server.stop() == 0
        spans = [s for s in collector.spans() if s.name == REQUEST]
    assert len(spans) == 3
    assert [s.parent_span_id.hex() for s in spans] == [PARENT, "", ""]
    assert len({s.trace_id for s in spans}) == 3


def test_without_a_ratio_only_callers_are_traced():
    with Collector() as collector, \
            Server(SHIPPED, ["--otlp-endpoint", collector.address]) as server, \
            triton.InferenceServerClient(server.address) as client:
        for _ in range(20):
            client.infer(MODEL, tensor(X[:1]))
        client.infer(MODEL, tensor(X[:1]), headers=headers())
        assert server.stop() == 0
        assert [s.trace_id.hex() for s in collector.spans() if s.name == REQUEST] == [TRACE]


def test_a_batch_is_linked_with_its_requests(tmp_path):
    add_model(tmp_path, "m", FILE)
    (tmp_path / "m" / "config.pbtxt").write_text(
        'name: "m" max_batch_size: 8\n'
        "dynamic_batching { preferred_batch_size: [8] max_queue_delay_microseconds: 2000000 }\n")
    with Collector() as collector, \
            Server(tmp_path, ["--otlp-endpoint", collector.address]) as server, \
            triton.InferenceServerClient(server.address) as client:
        done = queue.Queue()

        def send(k: int):
            client.async_infer("m", tensor(X[2 * k:2 * k + 2]),
                               lambda result, error: done.put(error),
                               headers=headers(trace=f"{k + 1:032x}"))

        for k in range(3):
            send(k)
        while value(page(server), "bitmill_queue_depth", model="m") < 3:
            time.sleep(0.002)
        time.sleep(0.02)
        send(3)
        assert [done.get(timeout=20) for _ in range(4)] == [None] * 4
        spans = collector.wait_for_requests(4)
    requests = [s for s in spans if s.name == REQUEST]
    batches = [s for s in spans if s.name == "batch"]
    assert len(batches) == 1
    batch = batches[0]
    found = attributes(batch)
    assert found.pop("bitmill.batch.closed") in ("full", "preferred")
    assert found == {"bitmill.model.name": "m", "bitmill.model.version": 1,
                     "bitmill.batch.rows": 8, "bitmill.batch.traced_requests": 4}
    assert {(link.trace_id, link.span_id) for link in batch.links} == \
        {(s.trace_id, s.span_id) for s in requests}
    assert batch.trace_id not in {s.trace_id for s in requests} and not batch.parent_span_id
    computes = [s for s in spans if s.name == "compute"]
    assert len(computes) == 4
    for compute in computes:
        assert [(link.trace_id, link.span_id) for link in compute.links] == \
            [(batch.trace_id, batch.span_id)]
        assert batch.start_time_unix_nano <= compute.start_time_unix_nano
    # Three of them waited for the last: their queue stages say so.
    waits = [s.end_time_unix_nano - s.start_time_unix_nano for s in spans if s.name == "queue"]
    assert len(waits) == 4 and sorted(waits)[1] >= 15e6, waits


def test_requests_on_a_stream_belong_to_the_streams_trace():
    with Collector() as collector, \
            Server(SHIPPED, ["--otlp-endpoint", collector.address]) as server, \
            triton.InferenceServerClient(server.address) as client:
        done = queue.Queue()
        client.start_stream(lambda result, error: done.put(error), headers=headers())
        for k in range(3):
            client.async_stream_infer(MODEL, tensor(X[k:k + 1]))
        assert [done.get(timeout=20) for _ in range(3)] == [None] * 3
        client.stop_stream()
        spans = [s for s in collector.wait_for_requests(3) if s.name.startswith("inference.")]
    assert {s.name for s in spans} == {"inference.GRPCInferenceService/ModelStreamInfer"}
    assert {s.trace_id.hex() for s in spans} == {TRACE}
    assert {s.parent_span_id.hex() for s in spans} == {PARENT}
    assert len({s.span_id for s in spans}) == 3


def test_a_failed_request_says_why():
    with Collector() as collector, \
            Server(SHIPPED, ["--otlp-endpoint", collector.address]) as server, \
            triton.InferenceServerClient(server.address) as client:
        with pytest.raises(InferenceServerException):
            client.infer("nobody", tensor(X[:1]), headers=headers())
        with pytest.raises(InferenceServerException):
            client.infer(MODEL, tensor(X[:1].reshape(1, 784)), headers=headers())
        spans = collector.wait_for_requests(2)
    assert len(spans) == 2  # no stage was finished
    unknown, wrong = spans
    assert unknown.status.code == wrong.status.code == trace_pb2.Status.STATUS_CODE_ERROR
    assert "nobody" in unknown.status.message
    assert "bitmill.model.name" not in attributes(unknown)
    assert attributes(unknown)["bitmill.code"] == "NOT_FOUND"
    assert attributes(wrong)["bitmill.code"] == "INVALID_ARGUMENT"
    assert attributes(wrong)["rpc.grpc.status_code"] == 3


def test_a_collector_that_is_away_for_a_while_loses_nothing():
    with Collector(failures=2) as collector, \
            Server(SHIPPED, ["--otlp-endpoint", collector.address]) as server, \
            triton.InferenceServerClient(server.address) as client:
        client.infer(MODEL, tensor(X[:1]), headers=headers())
        spans = collector.wait_for_requests(1)
    assert sum(s.name == REQUEST for s in spans) == 1


def test_a_collector_that_never_answers_holds_up_nobody():
    with Server(SHIPPED, ["--otlp-endpoint", "127.0.0.1:9", "--trace-ratio", "1",
                          "--drain-seconds", "0"]) as server, \
            triton.InferenceServerClient(server.address) as client:
        for _ in range(50):
            client.infer(MODEL, tensor(X[:1]), client_timeout=5)
        started = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - started < 10


def test_what_is_wrong_with_the_options_is_said():
    with pytest.raises(RuntimeError, match="host:port"):
        Server(SHIPPED, ["--otlp-endpoint", "collector"]).__enter__()
    with pytest.raises(RuntimeError, match="no collector"):
        Server(SHIPPED, ["--trace-ratio", "0.1"]).__enter__()
