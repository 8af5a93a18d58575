"""One machine's walk through REST, written down as it goes: requests, chosen fields of answers, tables of windows."""

import json
import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from benchmarks.machines.machine import HEALTHY, Machine

DETECT = "/api/diagnostics/anomaly/detect/"
WIDTH = 116
HEAD = (
    "| windows | the machine | `severity` | `anomaly_score` | `affected_components` | `alarm`, `evidence` |",
    "|---|---|---|---|---|---|",
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
# How far a number may lie from the page's: libraries add up in another order on another processor, and trees that are
# trained on it differ a little. Source: own choice; what a reader takes from the page stays the same.
SHARE, APART = 0.03, 0.06
# Log-odds from which a channel's share in a score is told. Source: own choice; a reader has time for what matters.
SPEAKS = 0.5

Json = Any


@dataclass
class Walk:
    """What was said to and by the service about one machine.

    Attributes:
        label: What the page writes in place of the system's number.
        every_s: From the beginning of one window to that of the next.
        begin_s: Where the machine's life stands.
        when: Whether a window may begin at a moment; the next one that may is taken.
        lines: The page's, up to here.
        rows: Of the table that is being written.
        traces: Of each window, by its number.
    """

    client: httpx.Client
    machine: Machine
    label: str
    every_s: float
    begin_s: float = 0.0
    when: Callable[[float], bool] = lambda _: True
    system_id: int = 0
    windows: int = 0
    lines: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    traces: dict[int, str] = field(default_factory=dict)

    def say(self, *parts: str) -> None:
        """Write a paragraph, or a heading."""
        self.close()
        self.lines += [textwrap.fill(" ".join(parts), WIDTH), ""]

    def close(self) -> None:
        """End the table that is being written."""
        if self.rows:
            self.lines += [*HEAD, *self.rows, ""]
            self.rows.clear()

    def make(self, name: str) -> None:
        """Make the system."""
        body = {"name": name, "family": "generic"}
        made = self._told("POST", "/api/systems/", "/api/systems/", body, body)
        self.system_id = made["system_id"]
        self._answered(201, {key: made[key] for key in ("state", "windows", "needed")})

    def ask(self, method: str, path: str = "", body: Json = None, show: Sequence[str] = (), told: Json = None) -> Json:
        """Send a request about the system; write it down with the chosen fields of its answer.

        Args:
            told: The body as the page writes it, where it holds what differs from run to run.
        """
        given, shown = (f"/api/systems/{key}/{path}" for key in (self.system_id, f"<{self.label}>"))
        answer = self._told(method, given, shown, body, body if told is None else told)
        fields = {key: _alarm(answer[key]) if key == "alarm" else answer[key] for key in show}
        self._answered(200 if answer else 204, fields)
        return answer

    def baseline(self) -> Json:
        """Read what is normal and write it down."""
        path = f"/api/systems/<{self.label}>/baseline/"
        answer = self._told("GET", f"/api/systems/{self.system_id}/baseline/", path, None, None)
        points = [
            {
                "number": point["number"],
                "windows": point["windows"],
                "channels": {
                    name: {key: level[key] for key in ("level", "scatter", "unit")}
                    for name, level in point["channels"].items()
                },
            }
            for point in answer["operating_points"]
        ]
        names = ("state", "windows", "needed", "left_out")
        self._answered(200, {name: answer[name] for name in names} | {"operating_points": points})
        return answer

    def _told(self, method: str, path: str, shown: str, body: Json, told: Json) -> Json:
        self.close()
        reply = self.client.request(method, path, json=body)
        assert reply.is_success, reply.text
        given = f" {pretty(told, taken=len(method) + len(shown) + 2)}" if told else ""
        self._open(f"{method} {shown}{given}")
        return reply.json() if reply.content else None

    def _open(self, *lines: str) -> None:
        """Begin a transcript, or go on with the one that stands before."""
        if self.lines[-2:] == ["```", ""]:
            self.lines[-2:] = [""]
        else:
            self.lines.append("```text")
        self.lines += lines

    def _answered(self, status: int, answer: Json) -> None:
        self.lines += [f"{status}" + (f" {pretty(answer, taken=4)}" if answer else ""), "```", ""]

    def run(self, count: int, what: str, fault: str = HEALTHY, size: float = 0.0, stuck: str = "") -> list[Json]:
        """Send windows that follow each other; add what was answered to the table as one row."""
        answers = [self._detect(fault, size, stuck) for _ in range(count)]
        last = self.windows
        which = str(last) if count == 1 else f"{last - count + 1} to {last}"
        predictions = [answer["prediction"] for answer in answers]
        severities = dict.fromkeys(each["severity"] for each in predictions)
        named = dict.fromkeys(name for each in predictions for name in each["affected_components"])
        alarms = [answer["system"]["alarm"] for answer in answers]
        raised = sum(each["raised"] for each in alarms)
        state = f"raised at {last - raised + 1}" if 0 < raised < count else "raised" if raised else "off"
        told = f"{state}, {alarms[-1]['evidence']:.1f}"
        cells = which, what, ", ".join(severities), _span(predictions), ", ".join(named), told
        self.rows.append(f"| {' | '.join(cells)} |")
        return answers

    def show(self, what: str, fault: str = HEALTHY, size: float = 0.0, stuck: str = "") -> Json:
        """Send one window and write down request and answer."""
        answer = self._detect(fault, size, stuck)
        self.close()
        body = {"system_id": f"<{self.label}>", "sampling_hz": self.machine.rate_hz}
        window = f'"sensor_data": <window {self.windows}: {what}>'
        self._open(f"POST {DETECT}", f"{pretty(body)[:-1]}, {window}}}")
        self._answered(200, chosen(answer))
        return answer

    def _detect(self, fault: str, size: float, stuck: str) -> Json:
        body = {
            "system_id": self.system_id,
            "sampling_hz": self.machine.rate_hz,
            "sensor_data": self._window(fault, size, stuck),
        }
        reply = self.client.post(DETECT, json=body)
        assert reply.is_success, reply.text
        answer = reply.json()
        self.traces[self.windows] = answer["trace_id"]
        return answer

    def _window(self, fault: str, size: float, stuck: str) -> dict[str, list[float]]:
        """Return the machine's next window, one channel perhaps standing still."""
        seconds = self.machine.window_samples / self.machine.rate_hz
        self.windows += 1
        while not self.when(self.begin_s):
            self.begin_s += self.every_s
        values = self.machine.record(seconds, self.begin_s, fault, size, self.windows)
        self.begin_s += self.every_s
        samples: dict[str, list[float]] = {name: np.round(each, 4).tolist() for name, each in values.items()}
        return {name: each[:1] * len(each) if name == stuck else each for name, each in samples.items()}


def _span(predictions: Sequence[Json]) -> str:
    """Return the least and the greatest score of some windows."""
    scores = [each["anomaly_score"] for each in predictions if each["anomaly_score"] is not None]
    if not scores:
        return "null"
    low, high = f"{min(scores):.2f}", f"{max(scores):.2f}"
    return low if low == high else f"{low} to {high}"


def _alarm(alarm: Json) -> Json:
    """Return what matters of an alarm; when it was raised differs from run to run."""
    return {name: alarm[name] for name in ("raised", "evidence", "needed")}


def chosen(answer: Json) -> Json:
    """Return what matters to a reader of an answer to one window."""
    told = answer["prediction"]
    names = ("is_anomaly", "anomaly_score", "severity", "affected_components")
    found: dict[str, Json] = {"prediction": {name: told[name] for name in names}}
    if told["abstained"]:
        found["prediction"] = {name: told[name] for name in ("is_anomaly", "anomaly_score", "severity", "reason")}
    if told["is_anomaly"] and answer.get("hypotheses"):
        found["attribution"] = [
            {"deviation": {"text": each["deviation"]["text"]}}
            for each in answer["attribution"]
            if each["contribution"] > SPEAKS
        ]
        parts = ("component", "fault", "channel", "plausibility", "evidence_for", "against")
        found["hypotheses"] = [
            {name: each[name] for name in parts if each[name] or name != "channel"} for each in answer["hypotheses"][:2]
        ]
    if answer.get("rules"):
        found["rules"] = [{name: each[name] for name in ("rule", "text")} for each in answer["rules"]]
    if answer.get("operating_point"):
        found["operating_point"] = {name: answer["operating_point"][name] for name in ("seen", "text")}
    system = answer["system"]
    found["system"] = {**{name: system[name] for name in ("state", "windows")}, "alarm": _alarm(system["alarm"])}
    return found


def pretty(value: Json, indent: int = 0, taken: int = 0) -> str:
    """Write JSON for people: on one line where it is short, numbers to three places that count.

    Args:
        indent: Of the line that it stands on.
        taken: Characters before it on that line.
    """
    line = _line(value)
    if taken + len(line) <= WIDTH or not isinstance(value, dict | list):
        return line
    within = indent + 2
    if isinstance(value, dict):
        keys = [(f"{json.dumps(key)}: ", each) for key, each in value.items()]
    else:
        keys = [("", each) for each in value]
    parts = [" " * within + key + pretty(each, within, within + len(key)) for key, each in keys]
    first, last = "{}" if isinstance(value, dict) else "[]"
    return "\n".join([first, ",\n".join(parts), " " * indent + last])


def _line(value: Json) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_line(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_line, value)) + "]"
    if isinstance(value, float):
        return f"{value:.3g}"
    return value if isinstance(value, str) and value.startswith("<") else json.dumps(value)


def alike(page: str, said: str) -> bool:
    """Tell whether two texts say the same, but for numbers that lie close to each other."""
    if NUMBER.sub("#", page) != NUMBER.sub("#", said):
        return False
    pairs = zip(NUMBER.findall(page), NUMBER.findall(said), strict=True)
    return all(math.isclose(float(one), float(other), rel_tol=SHARE, abs_tol=APART) for one, other in pairs)
