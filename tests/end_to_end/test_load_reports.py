"""ORCA load reports: read with the official message classes, and obeyed by gRPC's own balancer."""
import json
import sys
import threading
import time
from pathlib import Path

import grpc
import numpy as np
import pytest
from tritonclient.grpc import service_pb2, service_pb2_grpc

from server import GOLDEN, SHIPPED, Server

sys.path.append(str(Path(sys.prefix) / "xds"))  # script/setup says why it is apart
from xds.data.orca.v3 import orca_load_report_pb2  # noqa: E402
from xds.service.orca.v3 import orca_pb2  # noqa: E402

MODEL = "fmnist_tfc_w1a1"
X = np.load(GOLDEN / f"{MODEL}.npz")["x"]


def infer_request(rows: int = 1) -> service_pb2.ModelInferRequest:
    request = service_pb2.ModelInferRequest(model_name=MODEL)
    request.inputs.add(name="pixels", datatype="FP32", shape=[rows, 1, 28, 28])
    request.raw_input_contents.append(X[:1].repeat(rows, 0).astype(np.float32).tobytes())
    return request


def answered(server: Server) -> float:
    """Requests that the server has answered with OK."""
    return sum(server.samples("bitmill_requests_total", code="OK"))


class Load:
    """Threads that ask `address` as fast as they are answered."""

    def __init__(self, address: str, rows: int = 1, threads: int = 1):
        self.stop = threading.Event()
        self.threads = [threading.Thread(target=self._ask, args=(address, rows))
                        for _ in range(threads)]

    def _ask(self, address: str, rows: int) -> None:
        with grpc.insecure_channel(address) as channel:
            stub, request = service_pb2_grpc.GRPCInferenceServiceStub(channel), infer_request(rows)
            while not self.stop.is_set():
                stub.ModelInfer(request)

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def reports(address: str, seconds: int = 0):
    request = orca_pb2.OrcaLoadReportRequest()
    request.report_interval.seconds = seconds
    with grpc.insecure_channel(address) as channel:
        yield from channel.unary_stream(
            "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics",
            request_serializer=orca_pb2.OrcaLoadReportRequest.SerializeToString,
            response_deserializer=orca_load_report_pb2.OrcaLoadReport.FromString)(request, timeout=60)


def test_the_stream_tells_of_the_load():
    with Server(SHIPPED) as server:
        stream = reports(server.address)
        assert isinstance(next(stream), orca_load_report_pb2.OrcaLoadReport)
        with Load(server.address):
            for report in stream:
                if report.rps_fractional > 10 and report.cpu_utilization > 0:
                    break
        assert report.eps == 0
        assert 0 <= report.mem_utilization <= 1 and report.application_utilization >= 0
        assert set(report.named_metrics) == {"bitmill.headroom", "bitmill.queue_depth",
                                             "bitmill.demand_rows_per_s",
                                             "bitmill.capacity_rows_per_s"}


def test_without_reports_clients_are_told_not_to_ask_again():
    with Server(SHIPPED, ["--orca", "off"]) as server:
        with pytest.raises(grpc.RpcError) as error:
            next(reports(server.address))
        assert error.value.code() == grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("out_of_band", [False, True], ids=["per-request", "out-of-band"])
def test_a_balancing_client_sends_less_to_a_busy_replica(out_of_band):
    """The weight of a replica is its requests a second over its utilization: what it can take."""
    options = ["--orca", "out-of-band" if out_of_band else "per-request"]
    with Server(SHIPPED, options) as idle, Server(SHIPPED, options) as busy, \
            Load(busy.address, rows=64):
        for report in reports(busy.address):
            if report.rps_fractional > 5 and report.application_utilization > 0:
                break
        config = {"loadBalancingConfig": [{"weighted_round_robin": {
            "enableOobLoadReport": out_of_band, "oobReportingPeriod": "1s",
            "blackoutPeriod": "0s", "weightUpdatePeriod": "0.1s"}}]}
        target = f"ipv4:{idle.address},{busy.address}"
        with grpc.insecure_channel(target, [("grpc.service_config", json.dumps(config))]) as channel:
            stub, request = service_pb2_grpc.GRPCInferenceServiceStub(channel), infer_request()

            def ask(seconds: float) -> int:
                end, asked = time.monotonic() + seconds, 0
                while time.monotonic() < end:
                    stub.ModelInfer(request, timeout=10)
                    asked += 1
                return asked

            ask(5)  # until the weights have settled
            before = answered(idle)
            asked = ask(3)
            to_idle = answered(idle) - before
        assert to_idle > 0.6 * asked, (to_idle, asked)
