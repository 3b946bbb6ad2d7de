"""The analysis over gRPC: its messages are learned from the server itself, by reflection."""
import threading
import time

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase)

from server import GOLDEN, SHIPPED, Server

SERVICE = "bitmill.analysis.v1.AnalysisService"
MODEL = "fmnist_tfc_w1a1"
X = np.load(GOLDEN / f"{MODEL}.npz")["x"]
STAGES = ["decode", "queue", "assemble", "schedule", "compute", "split", "encode", "formation",
          "write"]


class Analysis:
    """Stubs of the service: `call("GetReport", model="m")` returns a Report."""

    def __init__(self, address: str):
        self.channel = grpc.insecure_channel(address)
        database = ProtoReflectionDescriptorDatabase(self.channel)
        assert SERVICE in database.get_services()
        self.service = DescriptorPool(database).FindServiceByName(SERVICE)

    def __enter__(self) -> "Analysis":
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def _call(self, method: str, kind: str):
        found = self.service.methods_by_name[method]
        request = message_factory.GetMessageClass(found.input_type)
        response = message_factory.GetMessageClass(found.output_type)
        return request, getattr(self.channel, kind)(
            f"/{SERVICE}/{method}", request_serializer=request.SerializeToString,
            response_deserializer=response.FromString)

    def call(self, method: str, **fields):
        request, call = self._call(method, "unary_unary")
        return call(request(**fields), timeout=10)

    def watch(self, **fields):
        request, call = self._call("WatchReport", "unary_stream")
        return call(request(**fields), timeout=30)


@pytest.fixture(scope="module")
def server():
    with Server(SHIPPED) as running:
        yield running


@pytest.fixture(scope="module")
def analysis(server):
    with Analysis(server.address) as stubs:
        yield stubs


@pytest.fixture(scope="module")
def load(server, analysis):
    """Requests of two rows, one after the other, for as long as the tests run."""
    stop = threading.Event()

    def ask() -> None:
        with triton.InferenceServerClient(server.address) as client:
            tensor = triton.InferInput("pixels", [2, 1, 28, 28], "FP32")
            tensor.set_data_from_numpy(X[:2])
            while not stop.is_set():
                client.infer(MODEL, [tensor])
                time.sleep(0.002)

    thread = threading.Thread(target=ask)
    thread.start()
    end = time.monotonic() + 30
    while not [m for m in analysis.call("GetReport", model=MODEL).models if m.answered_per_s > 0]:
        assert time.monotonic() < end, "no report of the requests"
        time.sleep(0.2)
    yield
    stop.set()
    thread.join()


def test_a_report_tells_of_the_requests_that_were_sent(analysis, load):
    report = analysis.call("GetReport", model=MODEL)
    assert abs(report.unix_millis / 1000 - time.time()) < 10
    assert report.server_version and report.machine.cpu and report.machine.isa
    assert report.host.resident_bytes > 1e6
    model, = report.models
    assert (model.name, model.version) == (MODEL, 1)
    assert [stage.stage for stage in model.stages] == STAGES
    assert model.rows_per_s == pytest.approx(2 * model.answered_per_s, rel=0.05)
    assert model.latency.p50_ms <= model.latency.p99_ms <= model.latency.max_ms
    assert model.latency.mean_ms > 0
    stages = sum(stage.mean_ms for stage in model.stages[:7])
    assert stages == pytest.approx(model.latency.mean_ms, rel=0.05)
    assert model.controls.max_rows > 0 and model.controls.instances > 0


def test_a_report_without_a_name_is_of_all_models(analysis, load):
    names = {model.name for model in analysis.call("GetReport").models}
    assert MODEL in names


def test_a_watch_gets_each_report(analysis, load):
    watch = analysis.watch(model=MODEL)
    times = [next(watch).unix_millis for _ in range(4)]
    watch.cancel()
    steps = np.diff(times)
    assert (steps > 0).all() and (steps < 3000).all(), times


def test_a_timeline_has_points_and_requests_with_their_stages(analysis, load):
    end = time.monotonic() + 20
    while len(analysis.call("GetTimeline", model=MODEL).points) < 3:
        assert time.monotonic() < end
        time.sleep(0.2)
    timeline = analysis.call("GetTimeline", model=MODEL, seconds=60, max_requests=5)
    assert (timeline.model, timeline.version) == (MODEL, 1)
    times = [point.unix_millis for point in timeline.points]
    assert times == sorted(times) and len(timeline.points) <= 60
    assert 1 <= len(timeline.requests) <= 5
    assert timeline.requests[0].start_ms == 0
    for request in timeline.requests:
        assert request.rows == 2 and request.code == "OK"
        assert [stage.stage for stage in request.stages] == STAGES
        assert request.total_ms > 0


def test_lists_are_answered(analysis, load):
    analysis.call("ListWarnings", max_age_seconds=3600)
    analysis.call("ListAdaptations", model=MODEL)


@pytest.mark.parametrize("method,fields,code", [
    ("GetReport", {"model": "nobody"}, grpc.StatusCode.NOT_FOUND),
    ("GetTimeline", {"model": "nobody"}, grpc.StatusCode.NOT_FOUND),
    ("GetTimeline", {"model": MODEL, "version": 99}, grpc.StatusCode.NOT_FOUND),
    ("GetTimeline", {}, grpc.StatusCode.INVALID_ARGUMENT),
    ("GetTimeline", {"model": MODEL, "seconds": -1}, grpc.StatusCode.INVALID_ARGUMENT),
    ("ListWarnings", {"max_age_seconds": -1}, grpc.StatusCode.INVALID_ARGUMENT),
    ("ListWarnings", {"max_age_seconds": float("nan")}, grpc.StatusCode.INVALID_ARGUMENT),
    ("ListAdaptations", {"model": "nobody"}, grpc.StatusCode.NOT_FOUND),
])
def test_what_makes_no_sense_is_refused(analysis, method, fields, code):
    with pytest.raises(grpc.RpcError) as error:
        analysis.call(method, **fields)
    assert error.value.code() == code


def test_bytes_that_are_no_message_are_refused(analysis):
    for method in analysis.service.methods_by_name:
        call = analysis.channel.unary_stream(f"/{SERVICE}/{method}")
        with pytest.raises(grpc.RpcError) as error:
            list(call(b"\xff\xff", timeout=10))
        assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT, method


def test_a_watch_ends_when_the_server_does(analysis):
    with Server(SHIPPED, ["--drain-seconds", "0"]) as server, Analysis(server.address) as stubs:
        watch = stubs.watch()
        next(watch)
        assert server.stop() == 0
        with pytest.raises(grpc.RpcError) as error:
            list(watch)
        assert error.value.code() == grpc.StatusCode.UNAVAILABLE
