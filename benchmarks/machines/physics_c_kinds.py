"""Kinds of machine of set C, and how one of a kind is drawn: its plant, duty, weather, heat and sensors."""

from dataclasses import dataclass

import numpy as np

from benchmarks.machines.physics_c_duty import DAY, Duty, Phase, Weather
from benchmarks.machines.physics_c_heat import Heat
from benchmarks.machines.physics_c_plant import Accumulator, Fluid, Plant
from benchmarks.machines.physics_c_sensors import Sensor, Unrest

Range = tuple[float, float]

# Source: ISO 3448 for the oils at 40 degC, with a viscosity index near 100; makers' sheets of HFC 46; tables for water.
OILS = {
    grade: Fluid(f"mineral oil VG {grade}", (40.0, float(grade)), (100.0, hot), 0.87, 1.95)
    for grade, hot in ((15, 3.3), (32, 5.4), (46, 6.8), (68, 8.7), (100, 11.2), (220, 19.0), (320, 24.0))
}
GLYCOL = Fluid("water-glycol HFC 46", (20.0, 92.0), (40.0, 46.0), 1.08, 3.3)
WATER = Fluid("water", (20.0, 1.0), (60.0, 0.47), 0.998, 4.18)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of machine, by the ranges that its members are drawn from.

    Attributes:
        circuit: As `Plant.circuit`.
        bars: Rated pressures, bar.
        litres: Rated flows, l/min.
        fluids: What is filled in.
        phases: Of the work cycle.
        cycle_s: Lengths of a cycle.
        scatter: From cycle to cycle.
        levels: Load levels; some of them are drawn.
        governs: What a level multiplies.
        idle: Share of blocks without work.
        shifts: Hours of work; weekends are worked where a shift is round the clock or ends after 18 h.
        useful: Share of the load's power that leaves.
        host_k: How much the load's own heat would warm the flow in one pass, K.
        viscous: Laminar share of a loop's drop.
        tank: Content in minutes of the rated flow.
        target: Temperature at rated work, degC.
        site: "open", "hall" or "sea".
        shutoff: Of a centrifugal pump.
        cooled: Chance that it has a cooler.
    """

    circuit: str
    bars: Range
    litres: Range
    fluids: tuple[Fluid, ...]
    phases: tuple[Phase, ...]
    cycle_s: Range = (60.0, 60.0)
    scatter: Range = (0.0, 0.0)
    levels: tuple[float, ...] = (1.0,)
    governs: str = "load"
    idle: Range = (0.0, 0.0)
    shifts: tuple[Range, ...] = ((0.0, 24.0),)
    useful: Range = (0.2, 0.5)
    host_k: Range = (0.0, 0.0)
    viscous: Range = (0.1, 0.3)
    tank: Range = (1.5, 4.0)
    target: Range = (42.0, 58.0)
    site: str = "hall"
    shutoff: Range = (0.0, 0.0)
    cooled: float = 1.0


DAYS: tuple[Range, ...] = ((6.0, 15.0), (7.0, 17.0), (6.0, 22.0))
ALWAYS = (Phase(1.0, 1.0, 1.0),)
KINDS = {
    "excavator": Kind(
        "demand", (180, 320), (80, 500), (OILS[32], OILS[46], OILS[68]),
        (Phase(0.1, 0.05, 0.1), Phase(0.35, 0.75, 0.78), Phase(0.25, 0.97, 0.5), Phase(0.3, 0.9, 0.3)),
        (14, 26), (0.1, 0.3), (0.65, 0.8, 1.0), idle=(0.1, 0.35), shifts=DAYS, useful=(0.3, 0.5), tank=(0.6, 1.2),
        target=(50, 68), site="open",
    ),
    "pitch and brake unit": Kind(
        "charge", (110, 250), (0.8, 14), (OILS[15], OILS[32]), (Phase(1.0, 0.1, 1.0),),
        levels=(1.0,), useful=(0.3, 0.6), tank=(3, 8), target=(28, 42), site="open", cooled=0.3,
    ),
    "steering gear": Kind(
        "fixed", (60, 200), (20, 250), (OILS[32], OILS[46], OILS[68]),
        (Phase(0.65, 0.03, 0.08), Phase(0.35, 0.8, 0.6)), (14, 70), (0.2, 0.5), (0.5, 0.75, 1.0), useful=(0.1, 0.3),
        site="sea", target=(36, 52),
    ),
    "crane winch": Kind(
        "fixed", (150, 290), (60, 400), (OILS[46], OILS[68], OILS[100]),
        (Phase(0.3, 0.03, 0.06), Phase(0.3, 0.9, 0.8), Phase(0.15, 0.3, 0.35), Phase(0.25, 0.8, 0.45)),
        (50, 180), (0.05, 0.35), (0.4, 0.7, 1.0), idle=(0.0, 0.3), shifts=((7, 19), (6, 22), (0, 24)),
        useful=(0.15, 0.35), site="sea", target=(42, 60),
    ),
    "lubrication loop": Kind(
        "loop", (2, 8), (5, 800), (OILS[32], OILS[68], OILS[220], OILS[320]), ALWAYS,
        levels=(0.75, 0.9, 1.0), governs="speed", useful=(0, 0), host_k=(3, 9), viscous=(0.3, 0.7), tank=(3, 10),
        target=(38, 60),
    ),
    "fan drive": Kind(
        "loop", (90, 210), (15, 120), (OILS[32], OILS[46]), ALWAYS,
        levels=(0.45, 0.6, 0.75, 0.9, 1.0), governs="speed", shifts=DAYS, useful=(0.6, 0.75), viscous=(0.03, 0.1),
        tank=(0.5, 1.2), target=(50, 70), site="open",
    ),
    "water-glycol press": Kind(
        "demand", (60, 210), (15, 300), (GLYCOL,),
        (Phase(0.25, 0.05, 0.15), Phase(0.25, 0.9, 0.3), Phase(0.2, 0.35, 0.95), Phase(0.3, 0.8, 0.35)),
        (7, 45), (0.02, 0.1), (0.8, 1.0), idle=(0.0, 0.15), shifts=((6, 22), (0, 24)),
        useful=(0.3, 0.5), target=(32, 46),
    ),
    "water loop": Kind(
        "loop", (2, 6.5), (15, 800), (WATER,), ALWAYS,
        levels=(0.8, 1.0), governs="speed", useful=(0, 0), host_k=(1, 6), viscous=(0.02, 0.1), tank=(2, 8),
        target=(20, 42), shutoff=(1.15, 1.5),
    ),
    "lock gate": Kind(
        "fixed", (80, 200), (30, 300), (OILS[32], OILS[46]),
        (Phase(0.88, 0.03, 0.05), Phase(0.06, 0.8, 0.7), Phase(0.06, 0.9, 0.5)), (1500, 4500), (0.05, 0.2),
        (0.8, 1.0), useful=(0.1, 0.3), target=(25, 40), site="open", cooled=0.3,
    ),
    "twin pump set": Kind(
        "loop", (2.5, 16), (10, 600), (OILS[46], OILS[100], OILS[220]), ALWAYS,
        levels=(1.0,), governs="speed", useful=(0, 0), host_k=(2, 8), viscous=(0.2, 0.6), tank=(3, 10), target=(38, 58),
    ),
}  # fmt: skip


def log_uniform(random: np.random.Generator, span: Range) -> float:
    """Draw evenly over the orders of size."""
    return float(np.exp(random.uniform(*np.log(span))))


def draw_duty(kind: Kind, seed: int, random: np.random.Generator) -> Duty:
    """Draw how a machine is used; commissioning begins some hours into a shift of a working day."""
    shift = kind.shifts[int(random.integers(len(kind.shifts)))]
    start_h = 24.0 * float(random.integers(0, 5)) + shift[0] + float(random.uniform(0.15, 0.5)) * (shift[1] - shift[0])
    levels = tuple(float(random.uniform(0.97, 1.03)) * level for level in kind.levels)
    # Some have one level only.
    levels = levels[-1:] if random.random() < 0.3 else levels
    return Duty(
        seed=seed,
        start_h=start_h,
        shift=(float(shift[0]), float(shift[1])),
        weekend=shift[1] - shift[0] >= 24.0 or bool(random.random() < 0.2),
        cycle_s=float(random.uniform(*kind.cycle_s)),
        phases=_scaled(kind, random),
        scatter=float(random.uniform(*kind.scatter)),
        block_s=log_uniform(random, (240.0, 5400.0)),
        levels=levels,
        governs=kind.governs,
        idle=float(random.uniform(*kind.idle)),
        idle_speed=float(random.uniform(0.4, 0.6)),
        wander=float(random.uniform(0.0, 0.04)),
    )


def _scaled(kind: Kind, random: np.random.Generator) -> tuple[Phase, ...]:
    """Return the phases, each a little other than its kind's."""
    if kind.circuit == "charge":
        return (Phase(1.0, log_uniform(random, (0.03, 0.3)), 1.0),)
    if len(kind.phases) == 1:
        return kind.phases
    return tuple(
        Phase(phase.share, *(float(random.uniform(0.9, 1.05)) * value for value in (phase.flow, phase.load)))
        for phase in kind.phases
    )


def draw_weather(kind: Kind, duty: Duty, random: np.random.Generator) -> Weather:
    """Draw air and cooling water of the site."""
    mean = {"open": (-4.0, 27.0), "hall": (17.0, 28.0), "sea": (12.0, 30.0)}[kind.site]
    day = {"open": (3.0, 8.0), "hall": (0.5, 2.5), "sea": (0.5, 2.5)}[kind.site]
    week = {"open": (1.0, 5.0), "hall": (0.3, 2.0), "sea": (0.5, 3.0)}[kind.site]
    water = kind.site == "sea" or (kind.site == "hall" and random.random() < 0.5)
    mean_c = min(float(random.uniform(*mean)), kind.target[0] - 10.0)
    water_c = float(random.uniform(6.0, min(26.0, kind.target[0] - 8.0)))
    return Weather(
        duty.seed,
        duty.start_h,
        mean_c,
        float(random.uniform(*day)),
        float(random.uniform(*week)),
        water_c if water else None,
    )


def draw_plant(kind: Kind, duty: Duty, random: np.random.Generator) -> Plant:
    """Draw the hydraulics."""
    bar, litres = log_uniform(random, kind.bars), log_uniform(random, kind.litres)
    fluid = kind.fluids[int(random.integers(len(kind.fluids)))]
    moving = duty.phases[1:] or duty.phases
    # Thin fluids leak through turbulent gaps.
    slip, laminar = float(random.uniform(0.03, 0.11)), 0.2 if fluid is WATER else float(random.uniform(0.4, 0.8))
    vibration = log_uniform(random, (0.3, 8.0))
    pulsing = float(random.uniform(0.3, 0.7))
    high = bar * float(random.uniform(0.97, 1.0))
    low = high * float(random.uniform(0.72, 0.9))
    volume = litres * log_uniform(random, (0.4, 4.0))
    return Plant(
        circuit=kind.circuit,
        rated_bar=bar,
        rated_l=litres,
        work=float(np.average([phase.load for phase in moving], weights=[phase.share for phase in moving])),
        rated_c=float(random.uniform(*kind.target)),
        fluid=fluid,
        laminar=slip * laminar,
        turbulent=slip * (1.0 - laminar),
        friction=(
            float(random.uniform(0.02, 0.05)),
            float(random.uniform(0.02, 0.05)),
            float(random.uniform(0.005, 0.02)),
        ),
        useful=float(random.uniform(*kind.useful)),
        host_kw=litres / 60.0 * fluid.density * fluid.heat * float(random.uniform(*kind.host_k)),
        viscous=float(random.uniform(*kind.viscous)),
        relief=float(random.uniform(1.1, 1.3)) if kind.shutoff[1] == 0 else 2.0,
        margin=float(random.uniform(0.05, 0.1)),
        shutoff=float(random.uniform(*kind.shutoff)),
        worst_lag_s=max(2.0, 0.4 * duty.cycle_s * min(phase.share for phase in duty.phases)),
        vibrations=(vibration * (1 - pulsing), vibration * pulsing, log_uniform(random, (0.02, 0.25))),
        accumulator=Accumulator(volume, 0.85 * low, low, high, float(random.uniform(1.05, 1.4)))
        if kind.circuit == "charge"
        else None,
    )


def busy_heat(plant: Plant, duty: Duty, weather: Weather) -> float:
    """Return the heat of the busier working hours at the rated temperature, kW: coolers are bought for those."""
    times = np.arange(0.0, 3.0 * DAY, 29.0)
    times = times[duty.at_work(times)]
    warm = np.full_like(times, plant.rated_c)
    place = np.linspace(0.0, 997.0, len(times))
    heat = plant.solve(duty.at(times), warm, weather.air(times), place, {}).heat
    # Half an hour each; four of five are below.
    return float(np.quantile([part.mean() for part in np.array_split(heat, len(heat) // 62)], 0.8))


def draw_heat(kind: Kind, plant: Plant, duty: Duty, weather: Weather, random: np.random.Generator) -> Heat:
    """Lay out tank and cooler so that the fluid is at its rated temperature in busy hours and mean weather."""
    power = busy_heat(plant, duty, weather)
    by_cooler = float(random.uniform(0.5, 0.92)) if random.random() < kind.cooled else 0.0
    walls = (1.0 - by_cooler) * power / (plant.rated_c - weather.mean_c)
    between, outside = 4.0 * walls, walls / 0.75
    cold = weather.mean_c if weather.water_c is None else weather.water_c
    fixed = random.random() < 0.5
    open_at, range_k = float(random.uniform(0.35, 0.9)), float(random.uniform(6.0, 14.0))
    opening = (0.0, 0.0) if fixed else (plant.rated_c - open_at * range_k, plant.rated_c + (1.0 - open_at) * range_k)
    cooler = by_cooler * power / (plant.rated_c - cold) / (1.0 if fixed else open_at)
    tank = plant.rated_l * float(random.uniform(*kind.tank)) * plant.fluid.density * plant.fluid.heat
    metal = tank * float(random.uniform(0.4, 1.2))
    # Within what the thermal steps resolve and the lead forgets: time constants of 2 minutes to 3 hours.
    least_fluid, least_metal = 120.0 * (between + cooler), 120.0 * (between + outside)
    most = 3.0 * 3600.0 * power / (plant.rated_c - min(cold, weather.mean_c))
    share = min(1.0, most / (tank + metal))
    return Heat((max(tank * share, least_fluid), max(metal * share, least_metal)), between, outside, cooler, opening)


def draw_sensor(span: float, low: float, fine: float, random: np.random.Generator) -> Sensor:
    """Draw a sensor of a span: gain a little off, offset, white noise, 12 bits or coarser steps."""
    coarse = random.random() < 0.3
    steps = random.choice([100.0, 200.0, 400.0]) if coarse else random.choice([1000.0, 4096.0, 4096.0, 65536.0])
    return Sensor(
        span=span,
        least=low,
        gain=float(random.normal(1.0, 0.008)),
        offset=float(random.normal(0.0, 0.003)) * span,
        noise=log_uniform(random, (0.1, 1.0)) * fine * span,
        step=float(span / steps),
        spikes=float(random.choice([0.0, 0.0, 1e-5, 1e-4, 4e-4])),
    )


def draw_sensors(plant: Plant, random: np.random.Generator) -> dict[str, Sensor]:
    """Draw the four sensors; spans are the next that a maker sells above what is needed."""
    sold = np.outer(10.0 ** np.arange(-1.0, 4.0), [1.0, 1.6, 2.5, 4.0, 6.0]).ravel()

    def span_over(level: float) -> float:
        return float(sold[np.searchsorted(sold, level * float(random.uniform(1.25, 2.2)))])

    return {
        "pressure": draw_sensor(span_over(plant.rated_bar), 0.0, 0.003, random),
        "temperature": _thermometer(random),
        "flow": draw_sensor(span_over(plant.rated_l), 0.0, 0.004, random),
        "vibration": draw_sensor(span_over(3.0 * sum(plant.vibrations)), 0.0, 0.002, random),
    }


def _thermometer(random: np.random.Generator) -> Sensor:
    step = float(random.choice([0.01, 0.1, 0.1, 0.5, 1.0]))
    return Sensor(
        125.0,
        -40.0,
        float(random.normal(1.0, 0.004)),
        float(random.normal(0, 0.7)),
        log_uniform(random, (0.01, 0.25)),
        step,
        0.0,
    )


def draw_unrest(random: np.random.Generator) -> Unrest:
    """Draw how restless pressure, flow and vibration are."""
    return Unrest(
        pressure=log_uniform(random, (0.001, 0.015)),
        flow=log_uniform(random, (0.002, 0.02)),
        vibration=log_uniform(random, (0.02, 0.15)),
        lasts_s=log_uniform(random, (0.3, 30.0)),
        common=float(random.uniform(0.0, 0.8)),
    )
