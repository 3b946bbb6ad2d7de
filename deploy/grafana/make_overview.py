#!/usr/bin/env python3
"""Makes overview.json, the first dashboard to look at.

    python3 deploy/grafana/make_overview.py            writes overview.json beside this file
    python3 deploy/grafana/make_overview.py --check    exit code 1 when the file is not up to date

Panels are laid out from left to right in the order in which they are written here. Latencies come
from histograms that are summed over replicas before a quantile is taken.
"""
from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

OUTPUT = Path(__file__).with_name("overview.json")
COLUMNS = 24
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

SERVERS = 'instance=~"$instance"'
MODELS = 'model=~"$model", instance=~"$instance"'
SERVER_FAULTS = (
    "INTERNAL|UNKNOWN|DATA_LOSS|UNAVAILABLE|DEADLINE_EXCEEDED|RESOURCE_EXHAUSTED|ABORTED"
)


def rate(metric: str, labels: str) -> str:
    return f"rate({metric}{{{labels}}}[$__rate_interval])"


# The histograms that a Prometheus may have taken as native ones, which have no buckets to add up.
NATIVE = ("bitmill_request_duration_seconds", "bitmill_stage_duration_seconds")


def quantile(q: float, metric: str, labels: str, by: str = "le") -> str:
    text = f"histogram_quantile({q}, sum by ({by}) ({rate(metric + '_bucket', labels)}))"
    if metric in NATIVE:
        rest = ", ".join(name for name in by.split(", ") if name != "le")
        text += f" or histogram_quantile({q}, sum by ({rest}) ({rate(metric, labels)}))"
    return text


# Bounds in seconds at which a native histogram is cut for a heatmap, which reads classic buckets.
HEATMAP_BOUNDS = (5e-05, 0.0001, 0.0002, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25,
                  0.5, 1.0, 2.5, 5.0)


def buckets(metric: str, labels: str) -> str:
    """Observations a second by `le`; of a native histogram where there are no classic buckets."""
    classic = f"sum by (le) ({rate(metric + '_bucket', labels)})"
    if metric not in NATIVE:
        return classic
    native = f"sum({rate(metric, labels)})"
    count = f"histogram_count({native})"
    counts = {str(bound): f"histogram_fraction(0, {bound}, {native}) * {count}"
              for bound in HEATMAP_BOUNDS} | {"+Inf": count}
    labelled = " or ".join(f'label_replace({text}, "le", "{le}", "", "")'
                           for le, text in counts.items())
    return f"{classic} or (({labelled}) unless on () {classic})"


def mean(metric: str, labels: str, by: str) -> str:
    total, count = (f"sum by ({by}) ({rate(metric + end, labels)})" for end in ("_sum", "_count"))
    text = f"{total} / {count}"
    if metric in NATIVE:
        native = f"sum by ({by}) ({rate(metric, labels)})"
        text += f" or histogram_sum({native}) / histogram_count({native})"
    return text


class Board:
    """Collects panels and gives them their ids and places."""

    def __init__(self) -> None:
        self.panels: list[dict[str, Any]] = []
        self.x = self.y = self.row_height = 0

    def _place(self, width: int, height: int) -> dict[str, int]:
        if self.x + width > COLUMNS:
            self.x, self.y, self.row_height = 0, self.y + self.row_height, 0
        place = {"x": self.x, "y": self.y, "w": width, "h": height}
        self.x += width
        self.row_height = max(self.row_height, height)
        return place

    def _add(self, panel: dict[str, Any], width: int, height: int) -> None:
        place = self._place(width, height)
        self.panels.append({"id": len(self.panels) + 1, "gridPos": place, **panel})

    def row(self, title: str) -> None:
        self.x, self.y, self.row_height = 0, self.y + self.row_height, 0
        self._add({"type": "row", "title": title, "collapsed": False, "panels": []}, COLUMNS, 1)

    def _queries(self, queries: dict[str, str], **options: Any) -> list[dict[str, Any]]:
        return [{"refId": chr(ord("A") + i), "datasource": DATASOURCE, "expr": expr,
                 "legendFormat": legend, **options}
                for i, (legend, expr) in enumerate(queries.items())]

    def stat(self, title: str, description: str, unit: str, expr: str, decimals: int = 0,
             bad_above: float | None = None) -> None:
        steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
        if bad_above is not None:
            steps.append({"color": "red", "value": bad_above})
        self._add({
            "type": "stat", "title": title, "description": description, "datasource": DATASOURCE,
            "targets": self._queries({title: expr}),
            "fieldConfig": {"defaults": {"unit": unit, "decimals": decimals,
                                         "thresholds": {"mode": "absolute", "steps": steps}},
                            "overrides": []},
            "options": {"colorMode": "value", "graphMode": "area", "textMode": "value",
                        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}},
        }, 4, 4)

    def graph(self, title: str, description: str, unit: str, queries: dict[str, str],
              width: int = 8, stacked: bool = False) -> None:
        """`queries` maps the legend of each query to its expression."""
        custom = {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 40 if stacked else 8,
                  "showPoints": "never", "spanNulls": False,
                  "stacking": {"mode": "normal" if stacked else "none", "group": "A"}}
        self._add({
            "type": "timeseries", "title": title, "description": description,
            "datasource": DATASOURCE, "targets": self._queries(queries),
            "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom},
                            "overrides": []},
            "options": {"legend": {"displayMode": "table", "placement": "bottom",
                                   "showLegend": True, "calcs": ["mean", "max"]},
                        "tooltip": {"mode": "multi", "sort": "desc"}},
        }, width, 9)

    def heatmap(self, title: str, description: str, unit: str, expr: str, width: int) -> None:
        self._add({
            "type": "heatmap", "title": title, "description": description,
            "datasource": DATASOURCE, "targets": self._queries({"{{le}}": expr}, format="heatmap"),
            "fieldConfig": {"defaults": {"unit": unit}, "overrides": []},
            "options": {"calculate": False, "yAxis": {"unit": unit, "axisPlacement": "left"},
                        "color": {"mode": "scheme", "scheme": "Spectral", "steps": 64,
                                  "reverse": True},
                        "cellGap": 1, "tooltip": {"mode": "single", "yHistogram": True},
                        "legend": {"show": True}, "filterValues": {"le": 1e-9}},
        }, width, 9)

    def table(self, title: str, description: str, unit: str, expr: str, columns: dict[str, str],
              width: int, mappings: list[dict[str, Any]] | None = None) -> None:
        """`columns` maps labels, in their order, to headings; the value is the label "Value"."""
        self._add({
            "type": "table", "title": title, "description": description, "datasource": DATASOURCE,
            "targets": self._queries({"": expr}, format="table", instant=True),
            "fieldConfig": {"defaults": {"unit": unit, "mappings": mappings or []},
                            "overrides": []},
            "options": {"showHeader": True, "cellHeight": "sm"},
            "transformations": [
                {"id": "filterFieldsByName", "options": {"include": {"names": list(columns)}}},
                {"id": "organize", "options": {
                    "indexByName": {name: i for i, name in enumerate(columns)},
                    "renameByName": columns, "excludeByName": {}}},
            ],
        }, width, 7)


def glance(board: Board) -> None:
    total = f"sum({rate('bitmill_requests_total', MODELS)})"
    faults = f'{MODELS}, code=~"{SERVER_FAULTS}"'
    board.row("At a glance")
    board.stat("Requests", "Finished requests a second, whatever their code.", "reqps", total, 1)
    board.stat("Failed", "Share of requests that failed through no fault of the client.",
               "percentunit",
               f"(sum({rate('bitmill_requests_total', faults)}) or vector(0)) / {total}", 2, 0.01)
    board.stat("p99", "99 of 100 requests took no longer, from received to answered.", "s",
               quantile(0.99, "bitmill_request_duration_seconds", MODELS), 2)
    board.stat("CPU of a request", "CPU time of the whole process for one finished request.", "µs",
               f"1e6 * sum({rate('bitmill_process_cpu_seconds_total', SERVERS)})"
               f" / sum({rate('bitmill_requests_total', SERVERS)})", 1)
    board.stat("Models ready", "Models of which at least one server serves a version.", "none",
               f"sum(max by (model) (bitmill_model_ready{{{MODELS}}}))")
    board.stat("Servers up", "Servers that Prometheus reaches.", "none",
               f"count(bitmill_build_info{{{SERVERS}}})")


def traffic(board: Board) -> None:
    not_ok = f'{MODELS}, code!="OK"'
    errors = f"sum by (code) ({rate('bitmill_requests_total', not_ok)})"
    # A line at zero while nothing has ever failed, so that the panel does not look broken.
    none = (f"label_replace(0 * sum({rate('bitmill_requests_total', MODELS)}), "
            '"code", "none", "", "")')
    board.row("Traffic and errors")
    board.graph("Requests by code", "Finished requests a second by gRPC status.", "reqps",
                {"{{code}}": f"sum by (code) ({rate('bitmill_requests_total', MODELS)})"},
                stacked=True)
    board.graph("Requests by model", "Finished requests a second by model.", "reqps",
                {"{{model}}": f"sum by (model) ({rate('bitmill_requests_total', MODELS)})"},
                stacked=True)
    board.graph("Errors by code",
                "Requests a second that ended with an error, and those refused before a model was "
                "known (unknown name, unreadable message, too many bytes in flight).", "reqps",
                {"{{code}}": f"{errors} or {none}",
                 "{{code}}, no model": "sum by (code) "
                 f"({rate('bitmill_rejected_requests_total', SERVERS)})"})


def latency(board: Board) -> None:
    duration = "bitmill_request_duration_seconds"
    stage = "bitmill_stage_duration_seconds"
    board.row("Latency")
    board.graph("Latency", "Time from received to answered, over the chosen models and servers.",
                "s", {f"p{int(100 * q)}": quantile(q, duration, MODELS) for q in (0.5, 0.9, 0.99)})
    board.graph("p99 by model", "99 of 100 requests to a model took no longer.", "s",
                {"{{model}}": quantile(0.99, duration, MODELS, "le, model")})
    board.graph("Where the time goes", "Mean time of a request in each stage; together they are "
                "the mean duration. A thick queue asks for CPUs or larger batches.", "s",
                {"{{stage}}": mean(stage, MODELS, "stage")}, stacked=True)
    board.heatmap("Latency distribution", "Requests a second by duration; two bands are two kinds "
                  "of requests.", "s", buckets(duration, MODELS), 12)
    board.graph("p99 of each stage", "99 of 100 requests spent no longer in the stage.", "s",
                {"{{stage}}": quantile(0.99, stage, MODELS, "le, stage")}, 12)


def batching(board: Board) -> None:
    board.row("Batches and queues")
    board.graph("Batch rows", "Rows of an execution. 1 under load means that nothing is batched.",
                "short", {"mean of {{model}}": mean("bitmill_batch_rows", MODELS, "model"),
                         "p99 of {{model}}": quantile(0.99, "bitmill_batch_rows", MODELS,
                                                      "le, model")})
    board.graph("Queue depth", "Requests that wait for an execution.", "short",
                {"{{model}}": f"sum by (model) (bitmill_queue_depth{{{MODELS}}})"})
    board.graph("In flight", "Requests accepted and not yet answered.", "short",
                {"{{model}}": f"sum by (model) (bitmill_in_flight{{{MODELS}}})"})
    board.graph("Rows", "Rows of successful requests a second.", "rowsps",
                {"{{model}}": f"sum by (model) ({rate('bitmill_rows_total', MODELS)})"}, 12)
    board.graph("Executions", "Executions a second; rows divided by executions is the batch.",
                "ops", {"{{model}}": f"sum by (model) ({rate('bitmill_executions_total', MODELS)})"},
                12)


def analysis(board: Board) -> None:
    by = "{{model}} on {{instance}}"
    board.row("What the servers say themselves")
    board.table("Bottlenecks", "What holds each model up now, by its server's own analysis.", "none",
                f"max by (model, version, instance, cause) (bitmill_bottleneck_info{{{MODELS}}})",
                {"model": "Model", "version": "Version", "instance": "Server",
                 "cause": "Bottleneck"}, 8)
    board.table("Warnings", "What servers warn of now; no model: of the host.", "none",
                f"max by (reason, model, instance) (bitmill_warning_active{{{SERVERS}}})",
                {"reason": "Reason", "model": "Model", "instance": "Server"}, 8)
    board.table("Changes of settings", "What servers changed toward the objective since they "
                "started.", "none",
                f"sum by (model, control, instance) (bitmill_adaptations_total{{{MODELS}}})",
                {"model": "Model", "control": "Setting", "instance": "Server", "Value": "Times"}, 8)
    board.graph("What each cause costs", "How much shorter p99 would be without it.", "s",
                {"{{cause}}, {{model}}": "max by (model, cause) "
                 f"(bitmill_bottleneck_score_seconds{{{MODELS}}})"}, 12)
    board.graph("Active warnings", "How many servers warn of each reason.", "short",
                {"{{reason}} {{model}}": "sum by (reason, model) "
                 f"(bitmill_warning_active{{{SERVERS}}}) or vector(0)"}, 12)
    capacity = (f"sum by (model) (max by (model, instance) "
                f"(bitmill_capacity_rows_per_second{{{MODELS}}}))")
    forecast = f"sum by (model) (bitmill_demand_forecast_rows_per_second{{{MODELS}}})"
    board.graph("Headroom", "Share of the capacity that is left of what is expected, over all "
                "servers.", "percentunit", {"{{model}}": f"1 - {forecast} / {capacity}"})
    board.graph("Demand and capacity", "Rows that arrive, that are expected to, and that can be "
                "served.", "rowsps",
                {"demand of {{model}}":
                     f"sum by (model) (bitmill_demand_rows_per_second{{{MODELS}}})",
                 "expected of {{model}}": forecast, "capacity of {{model}}": capacity})
    board.graph("Time to saturation", "If the demand goes on as it does; nothing: not within an "
                "hour.", "s", {by: f"bitmill_time_to_saturation_seconds{{{MODELS}}} < 3600"})
    board.graph("Service time", "The fitted time of an execution of n rows is a + b n.", "s",
                {f"a of {by}": f"bitmill_service_time_fixed_seconds{{{MODELS}}}",
                 f"b of {by}": f"bitmill_service_time_per_row_seconds{{{MODELS}}}"})
    board.graph("p99 against the objective", "Measured, predicted from the service time, and what "
                "it shall be at most.", "s",
                {"measured, {{model}}": quantile(0.99, NATIVE[0], MODELS, "le, model"),
                 "predicted, {{model}}":
                     f"max by (model) (bitmill_predicted_p99_seconds{{{MODELS}}})",
                 "objective, {{model}}":
                     f"max by (model) (bitmill_objective_p99_seconds{{{MODELS}}})"})
    board.graph("Goodput", "Rows a second that were answered within the objective.", "rowsps",
                {"{{model}}": f"sum by (model) (bitmill_goodput_rows_per_second{{{MODELS}}})"})
    objective = "bitmill_objective_answers_total"
    late = MODELS + ', result="late"'
    board.graph("Late answers", "Share of the answers that came later than the model's objective "
                "says; p99 allows 1 %.", "percentunit",
                {"{{model}}": f"sum by (model) ({rate(objective, late)})"
                 f" / (sum by (model) ({rate(objective, MODELS)}) > 0)"}, 16)
    board.table("Latency budget left", "What is left of the late answers that p99 allows, 1 % of "
                "all in the time shown; below zero: more were late.", "percentunit",
                f"1 - 100 * sum by (model) (increase({objective}{{{late}}}[$__range]))"
                f" / (sum by (model) (increase({objective}{{{MODELS}}}[$__range])) > 0)",
                {"model": "Model", "Value": "Left"}, 8)


def routing(board: Board) -> None:
    by = "{{backend}}, {{model}}"
    routed = rate("bitmill_routed_batches_total", MODELS)
    board.row("Backends and parts of models")
    board.graph("Batches by backend", "Share of the batches of routed models that each backend "
                "was sent.", "percentunit",
                {by: f"sum by (model, backend) ({routed})"
                 f" / on (model) group_left () (sum by (model) ({routed}) > 0)"}, stacked=True)
    board.graph("Why batches went there", "Batches a second of routed models by backend and "
                "reason (docs/routing.md).", "ops",
                {"{{reason}}: " + by: f"sum by (model, backend, reason) ({routed}) > 0"},
                stacked=True)
    board.graph("Drift of backends", "How many times as long as at the load batches take of "
                "late.", "none",
                {by: f"max by (model, backend) (bitmill_route_drift_ratio{{{MODELS}}})",
                 "part {{part}} on " + by:
                     "max by (model, part, backend) "
                     f"(bitmill_part_drift_ratio{{{MODELS}}})"})
    predicted = f"bitmill_route_predicted_seconds{{{MODELS}}}"
    chosen = f"bitmill_route_choice_info{{{MODELS}}}"
    board.table("Break-even", "What a batch of so many rows is predicted to take on each backend "
                "now; why: it would be sent there.", "s",
                "max by (model, instance, rows, backend, reason) "
                f"({predicted} * on (model, version, instance, rows, backend) group_left (reason) "
                f"{chosen}) or max by (model, instance, rows, backend) ({predicted} unless on "
                f"(model, version, instance, rows, backend) {chosen})",
                {"model": "Model", "instance": "Server", "rows": "Rows", "backend": "Backend",
                 "Value": "Predicted", "reason": "Why"}, 12)
    board.table("Parts of models", "Where each part of a divided model is, and what it hands over "
                "of a row.", "bytes",
                "max by (model, instance, mode, part, backend) "
                f"(bitmill_part_handed_bytes{{{MODELS}}})",
                {"model": "Model", "instance": "Server", "mode": "Divided", "part": "Part",
                 "backend": "Backend", "Value": "Hands over"}, 12)


def resources(board: Board) -> None:
    cpu = rate("bitmill_process_cpu_seconds_total", SERVERS)
    board.row("Resources")
    board.graph("CPU of a request by server", "CPU time of the process for one finished request.",
                "µs", {"{{instance}}": f"1e6 * sum by (instance) ({cpu}) / sum by (instance) "
                       f"({rate('bitmill_requests_total', SERVERS)})"})
    board.graph("CPUs in use", "CPUs in use and CPUs that may be used: affinity, cpuset and cgroup quota.",
                "short", {"{{instance}}": cpu,
                         "budget of {{instance}}": f"bitmill_cpu_budget_cores{{{SERVERS}}}"})
    board.graph("Memory", "Physical memory of each server, and packed weights of all its models.",
                "bytes",
                {"{{instance}}": f"bitmill_process_resident_memory_bytes{{{SERVERS}}}",
                 "weights on {{instance}}":
                     f"sum by (instance) (bitmill_model_weight_bytes{{{SERVERS}}})"})
    board.graph("File descriptors", "Open descriptors: a connection is one. The limit is "
                "bitmill_process_max_fds.", "short",
                {"{{instance}}": f"bitmill_process_open_fds{{{SERVERS}}}"}, 12)
    board.graph("Memory of models", "Weights and arenas by device, and what they may hold "
                "(docs/memory_and_power.md); evictions are loads to come.", "bytes",
                {"{{device}} of {{instance}}": f"bitmill_memory_held_bytes{{{SERVERS}}}",
                 "budget, {{device}} of {{instance}}":
                     f"bitmill_memory_budget_bytes{{{SERVERS}}}"}, 12)
    board.graph("Power", "Of the last seconds, by how it is known: rapl, nvml or a model that was "
                "declared.", "watt",
                {"{{source}} of {{instance}}": f"bitmill_power_watts{{{SERVERS}}}"}, 12)
    board.graph("Up since", "Time since the process started; a fall to zero is a restart.", "s",
                {"{{instance}}": f"time() - bitmill_process_start_time_seconds{{{SERVERS}}}"}, 12)


def inventory(board: Board) -> None:
    ready = {"type": "value", "options": {"1": {"text": "ready", "color": "green"},
                                          "0": {"text": "not served", "color": "text"}}}
    board.row("Servers and models")
    board.table("Servers", "What each server runs on; the instruction set is the best one that it "
                "uses.", "none",
                f"bitmill_cpu_budget_cores{{{SERVERS}}}"
                " * on (instance) group_left (cpu, isa) bitmill_host_info"
                " * on (instance) group_left (version, compiler) bitmill_build_info",
                {"instance": "Server", "version": "Version", "compiler": "Compiler", "cpu": "CPU",
                 "isa": "Instruction set", "Value": "CPUs in budget"}, 14)
    board.table("Loads", "How long the last load of each version took, and whether its plan was "
                "compiled or came from a plan file.", "s",
                f"bitmill_model_load_seconds{{{MODELS}}}",
                {"model": "Model", "version": "Version", "instance": "Server", "plan": "Plan",
                 "Value": "Time"}, 14)
    board.table("Models", "Versions that were ever served since the start of each server.", "none",
                f"max by (model, version, instance) (bitmill_model_ready{{{MODELS}}})",
                {"model": "Model", "version": "Version", "instance": "Server", "Value": "State"},
                10, [ready])


def variable(name: str, label: str, metric: str) -> dict[str, Any]:
    query = f"label_values({metric}, {name})"
    return {"name": name, "label": label, "type": "query", "datasource": DATASOURCE,
            "definition": query, "query": {"query": query, "refId": name}, "refresh": 2, "sort": 1,
            "multi": True, "includeAll": True, "allValue": ".*",
            "current": {"selected": True, "text": ["All"], "value": ["$__all"]}}


def dashboard() -> dict[str, Any]:
    board = Board()
    for part in (glance, traffic, latency, batching, analysis, routing, resources, inventory):
        part(board)
    return {
        "uid": "bitmill-overview",
        "title": "Bitmill overview",
        "description": "Rate, errors, latency, stages, batches, queues, bottlenecks and cost of Bitmill "
                       "servers.",
        "tags": ["bitmill"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-30m", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [
            {"name": "datasource", "label": "Data source", "type": "datasource",
             "query": "prometheus", "refresh": 1, "hide": 0, "current": {}},
            variable("model", "Model", "bitmill_requests_total"),
            variable("instance", "Server", "bitmill_build_info"),
        ]},
        "annotations": {"list": [{
            "name": "Restarts", "enable": True, "iconColor": "orange", "datasource": DATASOURCE,
            "expr": f"changes(bitmill_process_start_time_seconds{{{SERVERS}}}[1m]) > 0",
            "titleFormat": "{{instance}} restarted", "step": "30s"}]},
        "panels": board.panels,
    }


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    arguments = parser.parse_args(argv)
    text = json.dumps(dashboard(), indent=1, ensure_ascii=False) + "\n"
    if arguments.check:
        if OUTPUT.exists() and OUTPUT.read_text(encoding="utf-8") == text:
            return 0
        print(f"{OUTPUT} is not what make_overview.py makes: run it", file=sys.stderr)
        return 1
    OUTPUT.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
