"""Our .proto files against the descriptors inside tritonclient: the same wire, field by field."""
from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from google.protobuf import descriptor_pb2
from tritonclient.grpc import model_config_pb2, service_pb2

ROOT = Path(__file__).resolve().parents[2]


def facts(files: list[descriptor_pb2.FileDescriptorProto]) -> dict[str, object]:
    """Everything of the `inference` package that decides what goes over the wire, by full name."""
    out: dict[str, object] = {}

    def message(prefix: str, m: descriptor_pb2.DescriptorProto) -> None:
        name = f"{prefix}.{m.name}"
        out[name] = ("message", m.options.map_entry, sorted(o.name for o in m.oneof_decl))
        for f in m.field:
            oneof = m.oneof_decl[f.oneof_index].name if f.HasField("oneof_index") else None
            out[f"{name}.{f.name}"] = ("field", f.number, f.type, f.label, f.type_name, oneof)
        for n in m.nested_type:
            message(name, n)
        for e in m.enum_type:
            enum(name, e)

    def enum(prefix: str, e: descriptor_pb2.EnumDescriptorProto) -> None:
        for v in e.value:
            out[f"{prefix}.{e.name}.{v.name}"] = ("enum", v.number)

    for f in files:
        if f.package != "inference":
            continue
        for m in f.message_type:
            message("", m)
        for e in f.enum_type:
            enum("", e)
        for s in f.service:
            for r in s.method:
                out[f"{s.name}.{r.name}"] = (
                    "rpc", r.input_type, r.client_streaming, r.output_type, r.server_streaming)
    return out


def client_facts() -> dict[str, object]:
    files = []
    for module in (model_config_pb2, service_pb2):
        proto = descriptor_pb2.FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(proto)
        files.append(proto)
    return facts(files)


@pytest.fixture(scope="module")
def our_facts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    protoc = shutil.which("protoc")
    if protoc is None:
        pytest.skip("protoc is not installed")
    target = tmp_path_factory.mktemp("descriptors") / "set.pb"
    subprocess.run([protoc, f"-I{ROOT}", "--include_imports", f"--descriptor_set_out={target}",
                    "proto/inference.proto"], cwd=ROOT, check=True)
    return facts(list(descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes()).file))


def test_every_client_definition_is_ours_too(our_facts: dict[str, object]) -> None:
    client = client_facts()
    wrong = {k: (v, our_facts.get(k)) for k, v in client.items() if our_facts.get(k) != v}
    assert not wrong, wrong


# Read from config.pbtxt and never sent: see model_config.proto.
OUR_OWN = {".ModelSlo", ".ModelSlo.p99_ms", ".ModelConfig.slo"}


def test_we_define_nothing_else_that_the_client_lacks(our_facts: dict[str, object]) -> None:
    assert set(our_facts) - set(client_facts()) == OUR_OWN


def test_all_twenty_calls_are_there(our_facts: dict[str, object]) -> None:
    calls = [k for k, v in our_facts.items() if isinstance(v, tuple) and v[0] == "rpc"]
    assert len(calls) == 20
