"""Power settings on a machine whose watts are declared: what is read, what is changed, what is said."""
import threading
import time

import numpy as np
import pytest
import tritonclient.grpc as triton

from server import GOLDEN, SHIPPED, Server, add_model

NAME = "fmnist_wide_fp32"
X = np.load(GOLDEN / f"{NAME}.npz")["x"]


def sample(server: Server, name: str, **labels: str) -> float | None:
    """The first sample of that name, with these labels; None without one."""
    return next(iter(server.samples(name, **labels)), None)


@pytest.fixture
def repository(tmp_path):
    add_model(tmp_path, NAME, SHIPPED / NAME / "1" / "model.onnx")
    return tmp_path


class Load:
    """Requests of eight rows, one after another, of each of four threads."""

    def __init__(self, server: Server) -> None:
        self.stop, self.answered, self.failures = threading.Event(), 0, []
        self.threads = [threading.Thread(target=self.ask, args=(server.address,)) for _ in range(4)]

    def ask(self, address: str) -> None:
        with triton.InferenceServerClient(address) as client:
            meta = client.get_model_metadata(NAME)
            tensor = triton.InferInput(meta.inputs[0].name, [8, *X.shape[1:]], meta.inputs[0].datatype)
            tensor.set_data_from_numpy(np.repeat(X[:1], 8, axis=0))
            while not self.stop.is_set():
                try:
                    client.infer(NAME, [tensor])
                    self.answered += 1
                except Exception as error:  # told by the test
                    self.failures.append(str(error))

    def __enter__(self) -> "Load":
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop.set()
        for thread in self.threads:
            thread.join()


def wait_for(condition, seconds: float) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.3)
    return False


def has_rapl() -> bool:
    try:
        open("/sys/class/powercap/intel-rapl:0/energy_uj").close()
        return True
    except OSError:
        return False


@pytest.mark.skipif(has_rapl(), reason="energy is measured here: declared watts do not count")
def test_a_limit_slows_the_models_and_says_when_it_is_missed(repository):
    # No machine stays below a tenth of a watt: the ladder is climbed to its end.
    with Server(repository, ["--power-core-watts", "1,10", "--power-max-watts", "0.1"]) as server, Load(server) as load:
        assert wait_for(lambda: sample(server, "bitmill_power_limit_missed") == 1, 90)
        assert sample(server, "bitmill_power_watts", source="model") > 1
        assert sample(server, "bitmill_power_uncertainty_watts", source="model") > 0
        assert sample(server, "bitmill_power_limit_watts") == 0.1
        assert sample(server, "bitmill_model_power_level", model=NAME) == 4
        assert sample(server, "bitmill_model_joules_per_row", model=NAME) > 0
        assert sample(server, "bitmill_model_joules_per_row_before", model=NAME) > 0
        load.stop.set()
        assert load.answered and not load.failures
        assert "power server level=4" in server.text()


def test_without_readings_the_settings_say_that_they_have_no_effect(repository):
    if has_rapl():
        pytest.skip("energy is measured here")
    with Server(repository, ["--power-prefer", "efficiency"]) as server:
        assert wait_for(lambda: "power settings have no effect" in server.text(), 20)
        assert sample(server, "bitmill_power_watts") is None


def test_wrong_power_options_are_named(repository):
    for options, message in ((["--power-core-watts", "5,1"], "busy at least idle"), (["--power-max-watts", "-1"], "power limit -1 W"),
                             (["--power-prefer", "efficiency", "--analysis", "false"], "need the analysis")):
        with pytest.raises(RuntimeError, match=message):
            with Server(repository, options):
                pass
