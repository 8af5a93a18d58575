"""Five machines that HDX does not ship, each walked through REST; the walks stand in `docs/own-machine.md`.

`python -m tests.serve.own_machine http://127.0.0.1:8000 admin PASSWORD` writes that part of the page anew.
"""

import sys
from collections.abc import Callable, Mapping
from typing import cast

import httpx
import numpy as np

from benchmarks.machines.physics_b_machine import MachineB
from benchmarks.machines.trials import machine
from pipelines.machines.commissioning import NEEDED
from tests.serve.service import ROOT
from tests.serve.walk import Json, Walk

PAGE = ROOT / "docs" / "own-machine.md"
BEGINS = "<!-- What follows is written by `python -m tests.serve.own_machine`. -->\n"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86_400.0
# Change of a lift's force, as a share of its greatest, up to which it carries one load. Source: its scatter.
ONE_LOAD = 0.1
STATE = ("state", "windows", "alarm")


def well(answers: list[Json]) -> None:
    """Check that nothing was said against a machine."""
    assert [answer for answer in answers if answer["prediction"]["is_anomaly"]] == []
    assert not answers[-1]["system"]["alarm"]["raised"]


def judged_well(answers: list[Json]) -> None:
    """Check that a machine was judged, and found to be well."""
    well(answers)
    assert {answer["prediction"]["severity"] for answer in answers} == {"normal"}


def named(answer: Json, component: str, fault: str) -> None:
    """Check what an anomaly is called, and that physics says the same."""
    assert answer["prediction"]["is_anomaly"]
    assert answer["prediction"]["affected_components"] == [component]
    first = answer["hypotheses"][0]
    assert (first["component"], first["fault"]) == (component, fault)


def press(client: httpx.Client) -> Walk:
    """Walk with a press whose flow meter gets stuck while it is still commissioned."""
    walk = Walk(client, machine("b", "tune", 158), "press", 3 * MINUTE, 3 * HOUR)
    walk.say("## 1. A press of 185 bar whose flow meter fails while it is commissioned")
    walk.say(
        "A servo press that goes through a load cycle in three minutes, read every two seconds. A window is 122 s, one",
        "every three minutes; the machine has been warm for hours.",
    )
    walk.make("Press 4")
    well([walk.show("runs well")])
    well(walk.run(5, "runs well"))
    walk.say(
        "What is wrong on any machine is said all the same.",
    )
    answer = walk.show("the flow meter stands still", stuck="flow")
    assert answer["rules"][0]["rule"] == "stuck"
    assert answer["prediction"]["affected_components"] == ["sensor"]
    walk.say(
        "The meter is replaced. What was learned up to here is forgotten, so that the stuck reading does not become a",
        "part of what is normal, and the press is commissioned by its next twenty windows.",
    )
    walk.ask("DELETE", "baseline/")
    walk.begin_s += HOUR
    well(walk.run(NEEDED, "runs well"))
    assert walk.baseline()["state"] == "monitoring"
    judged_well(walk.run(12, "runs well"))
    walk.say("The cycle is seen from another moment in each window, so that flow scatters by itself; it is no anomaly.")
    return walk


def lubrication(client: httpx.Client) -> Walk:
    """Walk with a lubrication unit whose pump wears for some days."""
    walk = Walk(client, machine("b", "tune", 31), "unit", MINUTE)
    walk.say("## 2. A lubrication unit of 7 bar whose pump wears")
    walk.say("A gear pump feeds bearings with 45 l/min. A window is six samples in twelve seconds, one a minute.")
    walk.make("Lubrication, mill 2")
    well(walk.run(NEEDED, "runs well"))
    walk.baseline()
    judged_well(walk.run(10, "runs well"))
    for day, worn in enumerate((0.05, 0.1, 0.2), 1):
        walk.begin_s = day * DAY
        walk.run(4, f"day {day}: the pump has lost {100 * worn:.0f} % of its flow", "pump_wear", worn)
    walk.begin_s = 4 * DAY
    answer = walk.show("day 4: the pump has lost 25 % of its flow", "pump_wear", 0.25)
    assert answer["system"]["alarm"]["raised"]
    named(answer, "pump", "pump_wear")
    walk.say(
        "Flow that is missing at less pressure is lost inside the pump or runs out of a pipe: both are told, and a",
        "look for oil on the floor decides. A new pump delivers a little more or less than the old one, so that the",
        "unit is commissioned anew.",
    )
    walk.ask("PATCH", "", {"state": "maintenance"}, STATE)
    walk.begin_s = 5 * DAY
    walk.ask("PATCH", "", {"state": "commissioning"}, STATE)
    well(walk.run(NEEDED, "runs well with its new pump"))
    judged_well(walk.run(10, "runs well with its new pump"))
    return walk


def water(client: httpx.Client) -> Walk:
    """Walk with a water loop, read six times a minute, whose strainer clogs."""
    walk = Walk(client, machine("c", "tune", 21), "loop", 150.0)
    walk.say("## 3. A cooling-water loop of 2.8 bar, read every ten seconds, whose strainer clogs")
    walk.say("A centrifugal pump moves 311 l/min of water. Fifteen samples are one window of two and a half minutes.")
    walk.make("Cooling water")
    well(walk.run(NEEDED, "runs well"))
    walk.baseline()
    judged_well(walk.run(10, "runs well"))
    for day, size in enumerate((0.2, 0.5), 1):
        walk.begin_s += DAY
        walk.run(4, f"day {day}: the strainer takes {60 * size:.0f} % of the pressure", "clogged_filter", size)
    answer = walk.show("day 2: the strainer takes 30 % of the pressure", "clogged_filter", 0.5)
    assert answer["system"]["alarm"]["raised"]
    named(answer, "filter", "clogged_filter")
    walk.say(
        "The first verdicts came with 4 % of the flow missing, the alarm when the evidence was enough. Where flow",
        "alone has fallen, its meter may be wrong as well, and the answer says so. The strainer is cleaned, and the",
        "loop is what it was before: it needs no new commissioning.",
    )
    walk.ask("PATCH", "", {"state": "maintenance"}, STATE)
    walk.ask("PATCH", "", {"state": "monitoring"}, STATE)
    walk.begin_s += HOUR
    judged_well(walk.run(10, "runs well with a clean strainer"))
    return walk


def lift(client: httpx.Client) -> Walk:
    """Walk with a lift that carries a load nobody showed, stands at night, and leaks."""
    drawn = cast("MachineB", machine("b", "tune", 141))
    walk = Walk(client, drawn, "lift", MINUTE, when=carrying(drawn, 0.3, 0.6))
    walk.say("## 4. A lift of 51 bar that meets a load it was not commissioned with, rests at night, and leaks")
    walk.say("A pump of 72 l/min raises loads. A window is six seconds within one journey.")
    walk.make("Lift, hall 3")
    well(walk.run(NEEDED, "carries light loads"))
    walk.baseline()
    judged_well(walk.run(6, "carries light loads"))
    walk.say("Now it carries full loads, which it never did before.")
    walk.when = carrying(drawn, 0.8, 1.5)
    well(walk.run(5, "carries full loads"))
    answer = walk.show("carries a full load")
    assert answer["prediction"]["reason"].startswith("operating point not seen in commissioning")
    walk.say(
        "That is no fault, and nothing that could be judged: whoever knows the lift says that it is as it should be,",
        "and the six windows become an operating point of their own.",
    )
    first, last = walk.windows - 5, walk.windows
    traces = [walk.traces[window] for window in range(first, last + 1)]
    walk.ask("POST", "baseline/", {"accept": traces}, told={"accept": f"<trace_ids of windows {first} to {last}>"})
    walk.baseline()
    walk.when = carrying(drawn, 0.3, 1.5)
    judged_well(walk.run(12, "carries light and full loads"))
    walk.when = lambda begin: not drawn.schedule.running(np.array([begin]))[0]
    well(walk.run(4, "stands at night"))
    answer = walk.show("stands at night")
    assert answer["prediction"]["reason"].startswith("at rest")
    walk.begin_s, walk.when = 19 * HOUR, carrying(drawn, 0.3, 1.5)
    judged_well(walk.run(8, "carries light and full loads in the morning"))
    walk.begin_s = 23 * HOUR
    walk.run(2, "a hose has leaked 30 % of the flow for hours", "external_leakage", 0.3)
    answer = walk.show("a hose has leaked 30 % of the flow for hours", "external_leakage", 0.3)
    assert answer["system"]["alarm"]["raised"]
    named(answer, "hoses", "external_leakage")
    walk.say(
        "Three windows far outside in a row are enough, whichever load they are of: each is compared with the",
        "operating point it belongs to. The hose is renewed; the lift is what it was before.",
    )
    walk.ask("PATCH", "", {"state": "maintenance"}, STATE)
    walk.ask("PATCH", "", {"state": "monitoring"}, STATE)
    judged_well(walk.run(8, "carries light and full loads with a new hose"))
    return walk


def carrying(drawn: MachineB, least: float, most: float) -> Callable[[float], bool]:
    """Return whether a lift carries a load between two shares of its greatest one for all of a window."""
    seconds = drawn.window_samples / drawn.rate_hz

    def holds(begin: float) -> bool:
        demand = drawn.schedule.at(np.array([begin, begin + seconds]))
        within = (demand.force > least) & (demand.force < most) & demand.running
        return bool(within.all() and np.ptp(demand.force) < ONE_LOAD)

    return holds


def power_unit(client: httpx.Client) -> Walk:
    """Walk with a small power unit whose owner states a limit for its oil."""
    walk = Walk(client, machine("b", "tune", 0), "unit", MINUTE, 2 * HOUR)
    walk.say("## 5. A power unit of 8 l/min at 222 bar, with a limit for its oil")
    walk.say("A pump of a test bench, read five times a second; four seconds are one window.")
    walk.make("Power unit, test bench")
    well(walk.run(NEEDED, "runs well"))
    walk.baseline()
    judged_well(walk.run(6, "runs well"))
    walk.say("Its oil must not be hotter than 70 degC, says its maker.")
    walk.ask("PATCH", "", {"limits": {"temperature": {"high": 70}}}, ("state", "limits"))
    judged_well(walk.run(4, "runs well"))
    walk.run(2, "the cooler has lost 35 %", "cooler_fouling", 0.35)
    answer = walk.show("the cooler has lost 35 %", "cooler_fouling", 0.35)
    assert answer["system"]["alarm"]["raised"]
    assert answer["rules"][0]["rule"] == "limit"
    named(answer, "cooler", "cooler_fouling")
    walk.say(
        "Three windows beyond a limit in a row are enough. What four channels cannot tell apart, a fouled cooler and",
        "warmer surroundings, is told as both; the limit holds for either.",
    )
    walk.ask("PATCH", "", {"state": "maintenance"}, STATE)
    walk.ask("PATCH", "", {"state": "monitoring"}, STATE)
    judged_well(walk.run(8, "runs well with a clean cooler"))
    return walk


STORIES: Mapping[str, Callable[[httpx.Client], Walk]] = {
    "press": press,
    "lubrication": lubrication,
    "water": water,
    "lift": lift,
    "power unit": power_unit,
}


def told(story: Callable[[httpx.Client], Walk], client: httpx.Client) -> str:
    """Walk with one machine, delete its system, and return what the page says of it."""
    walk = story(client)
    walk.close()
    client.delete(f"/api/systems/{walk.system_id}/").raise_for_status()
    return "\n".join(walk.lines)


def sections() -> list[str]:
    """Return what the page says of each machine."""
    _, walks = PAGE.read_text(encoding="utf-8").split(BEGINS)
    return [f"## {part}" for part in walks.split("\n## ")[1:]]


def main(base: str, username: str, password: str) -> None:
    """Walk with all machines and write the page anew."""
    with httpx.Client(base_url=base, timeout=60) as client:
        reply = client.post("/api/auth/login/", json={"username": username, "password": password})
        client.headers["Authorization"] = f"Bearer {reply.raise_for_status().json()['access']}"
        walks = [told(story, client) for story in STORIES.values()]
    head, _ = PAGE.read_text(encoding="utf-8").split(BEGINS)
    PAGE.write_text(head + BEGINS + "\n" + "\n".join(walks), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
