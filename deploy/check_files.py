#!/usr/bin/env python3
"""Do the files in deploy/ agree with each other, with the program's metrics and with the documents?

No input but the tree itself. Prints one line for each disagreement; exit code 1 when there is one.
"""
from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, Iterator

import yaml

ROOT = Path(__file__).resolve().parents[1]
DEPLOY = ROOT / "deploy"
RULES = sorted((DEPLOY / "prometheus").glob("*.yml"))
# A name of a metric of the program; names that recording rules make contain colons.
METRIC = re.compile(r"(?<![:\w])bitmill_\w+(?!\w*:)")
HISTOGRAM_SERIES = re.compile(r"_(bucket|sum|count)$")


def documents(path: Path) -> list[Any]:
    return [d for d in yaml.safe_load_all(path.read_text(encoding="utf-8")) if d]


def rules(key: str) -> Iterator[dict[str, Any]]:
    """All rules that have `key`, which is "alert" or "record"."""
    for path in RULES:
        for group in documents(path)[0]["groups"]:
            yield from (rule for rule in group["rules"] if key in rule)


def check_syntax() -> Iterator[str]:
    for path in sorted(DEPLOY.rglob("*")):
        try:
            if path.suffix in (".yml", ".yaml"):
                documents(path)
            elif path.suffix == ".json":
                json.loads(path.read_text(encoding="utf-8"))
        except (yaml.YAMLError, ValueError) as error:
            yield f"{path.relative_to(ROOT)}: {error}"


def anchors(document: Path) -> set[str]:
    """The link targets of the headings of a Markdown file."""
    found = set()
    for line in document.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"#+ (.*)", line):
            kept = re.sub(r"[^\w\- ]", "", heading[1].strip().lower())
            found.add(kept.replace(" ", "-"))
    return found


def check_alerts() -> Iterator[str]:
    """Each alert says how bad, what and what to do; tests see it fire and stay silent."""
    fires, silent = set(), set()
    for path in sorted((DEPLOY / "prometheus" / "tests").glob("*.yml")):
        for test in documents(path)[0]["tests"]:
            for case in test.get("alert_rule_test", []):
                (fires if case["exp_alerts"] else silent).add(case["alertname"])
    for rule in rules("alert"):
        name, notes = rule["alert"], rule.get("annotations", {})
        if rule.get("labels", {}).get("severity") not in ("critical", "warning"):
            yield f"{name}: severity is neither critical nor warning"
        if not rule.get("for"):
            yield f"{name}: fires at once, no 'for'"
        for key in ("summary", "description", "runbook_url"):
            if not notes.get(key):
                yield f"{name}: no {key}"
        document, _, anchor = notes.get("runbook_url", "").partition("#")
        if not (ROOT / document).is_file() or anchor not in anchors(ROOT / document):
            yield f"{name}: no runbook at {notes.get('runbook_url')}"
        if name not in fires:
            yield f"{name}: no test makes it fire"
        if name not in silent:
            yield f"{name}: no test keeps it silent"


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) of every rule and dashboard query."""
    for key in ("alert", "record"):
        for rule in rules(key):
            yield rule[key], rule["expr"]
    for path in sorted((DEPLOY / "grafana").glob("*.json")):
        board = json.loads(path.read_text(encoding="utf-8"))
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield f"{path.name}: {panel['title']}", target["expr"]
        for variable in board["templating"]["list"]:
            if "definition" in variable:
                yield f"{path.name}: variable {variable['name']}", variable["definition"]


def check_metrics() -> Iterator[str]:
    """Rules and dashboards ask only for what the program shows, or a rule records."""
    source = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "server").rglob("*.cc"))
    shown = set(re.findall(r'"(bitmill_\w+)"', source))
    recorded = {rule["record"] for rule in rules("record")}
    for where, expression in expressions():
        for name in re.findall(r"\w+(?::\w+)+", expression):
            if name not in recorded:
                yield f"{where}: nothing records {name}"
        for name in METRIC.findall(re.sub(r"\w+(?::\w+)+|__name__=~\"[^\"]*\"", "", expression)):
            if name not in shown and HISTOGRAM_SERIES.sub("", name) not in shown:
                yield f"{where}: the program has no metric {name}"


def check_compose_mounts() -> Iterator[str]:
    """compose.yaml gives Prometheus every file of rules."""
    mounts = documents(DEPLOY / "compose.yaml")[0]["services"]["prometheus"]["volumes"]
    for path in RULES:
        if f"./prometheus/{path.name}:/etc/prometheus/rules/{path.name}:ro" not in mounts:
            yield f"compose.yaml: prometheus does not get {path.name}"


def argument(arguments: list[str], name: str) -> str:
    for text in arguments:
        if text.startswith(name + "="):
            return text[len(name) + 1:]
    return ""


def check_pods() -> Iterator[str]:
    """Versions, ports, grace periods and probes fit together."""
    version = re.search(r"project\(bitmill VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text())[1]
    image = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    if f"ARG VERSION={version}\n" not in image:
        yield f"Dockerfile: ARG VERSION is not {version}"
    if not re.search(r"^USER 65532:65532$", image, re.M) or "\nHEALTHCHECK " not in image:
        yield "Dockerfile: no numeric user or no health check"

    server = documents(DEPLOY / "compose.yaml")[0]["services"]["server"]
    pod = documents(DEPLOY / "kubernetes/deployment.yaml")[0]["spec"]["template"]["spec"]
    container = pod["containers"][0]
    for where, found in (("compose.yaml", server["image"]), ("deployment.yaml", container["image"])):
        if found != f"bitmill:{version}":
            yield f"{where}: image {found} is not bitmill:{version}"
    if server["command"] != container["args"]:
        yield "compose.yaml and deployment.yaml start the server differently"

    drain = int(argument(container["args"], "--grace-seconds"))
    sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    if pod["terminationGracePeriodSeconds"] < sleep + drain + 5:
        yield "deployment.yaml: the grace period does not cover preStop and drain"
    if int(server["stop_grace_period"].rstrip("s")) < drain + 5:
        yield "compose.yaml: the grace period does not cover the drain"

    port = int(argument(container["args"], "--grpc-port"))
    asked = {}
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        question = container[probe]["grpc"]
        asked[probe] = question["service"]
        if question["port"] != port:
            yield f"deployment.yaml: {probe} asks port {question['port']}, gRPC is on {port}"
    if asked["readinessProbe"] == asked["livenessProbe"]:
        yield "deployment.yaml: a pod that drains would be killed as dead"


def check_build_context() -> Iterator[str]:
    """Every folder that the image's build configures is sent to the builder."""
    wanted = set(re.findall(r"add_subdirectory\((\w+)\)", (ROOT / "CMakeLists.txt").read_text()))
    sent = set(re.findall(r"^!(\w+)$", (ROOT / ".dockerignore").read_text(), re.M))
    for folder in sorted(wanted - {"tests", "bench"} - sent):
        yield f".dockerignore: {folder} is not sent, but CMakeLists.txt adds it"


def main() -> int:
    findings: list[str] = []
    for check in (check_syntax, check_alerts, check_metrics, check_compose_mounts, check_pods,
                  check_build_context):
        findings += check()
    print("\n".join(findings) or "deploy: files agree")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
