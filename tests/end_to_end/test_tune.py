"""`--tune`: kernels chosen by measuring give the same bits, and `inspect --plan` shows the choices."""
import re
import subprocess

import numpy as np
import tritonclient.grpc as triton

from conftest import infer
from server import DATA, PROGRAM, SHIPPED, Server, add_model

WIDE = SHIPPED / "fmnist_wide_w1a1" / "1" / "model.onnx"


def answers(repository, pixels: np.ndarray, *arguments: str) -> tuple[np.ndarray, str]:
    """Of one request with all rows and of one with the first; and the line of the log about the load."""
    with Server(repository, list(arguments)) as server, triton.InferenceServerClient(server.address) as client:
        together, alone = infer(client, "wide", pixels), infer(client, "wide", pixels[:1])
        loaded = next(line for line in server.text().splitlines() if "model loaded" in line)
    return np.concatenate([together, alone]), loaded


def test_a_tuned_server_answers_the_same_bits(tmp_path):
    add_model(tmp_path, "wide", WIDE)
    pixels = np.load(DATA / "fashion_mnist_test_1000.npz")["images"][:32].astype(np.float32)[:, None]
    plain, said = answers(tmp_path, pixels, "--plan-cache", "off")
    assert "tuned" not in said
    tuned, said = answers(tmp_path, pixels, "--plan-cache", "off", "--tune=1")
    assert "tuned" in said
    assert plain.tobytes() == tuned.tobytes()
    # What was measured is kept with the plan.
    kept, said = answers(tmp_path, pixels, "--tune=1")
    again, said_again = answers(tmp_path, pixels, "--tune=1")
    assert "compiled in" in said and "compiled in" not in said_again
    assert plain.tobytes() == kept.tobytes() == again.tobytes()


def test_inspect_shows_what_was_chosen():
    command = [PROGRAM, "inspect", "--plan", "--plan-cache", "off", "--max-rows", "8", str(WIDE)]
    plain = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    tuned = subprocess.run([*command[:-1], "--tune", command[-1]], capture_output=True, text=True, timeout=120, check=True).stdout
    assert "tuned" not in plain
    assert re.search(r"^plan: .*tuned", tuned, re.M)
