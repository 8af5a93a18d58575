"""`make bench-readings`: how many readings a second are kept, what a plot costs, and whether any is lost or doubled.

The application and the store are the service's own, on an embedded PostgreSQL; models, which readings do not touch,
stand in. Killed are the gateway's process, the worker's, which keeps what came as a larger file, and processes of
PostgreSQL, which restarts by itself.
"""

import argparse
import io
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import numpy as np
import orjson
import pandas as pd
import psycopg
from rich.console import Console

from benchmarks.plant import PATIENCE_S, Plant, plant, send
from benchmarks.speed import ROOT, markdown, put

PAGE = ROOT / "docs" / "capacity.md"
CHANNELS = {"pressure": 100.0, "flow": 25.0, "temperature": 45.0, "vibration": 1.0}
LINES, SYSTEMS, AT_ONCE, SEED = 10_000, 200, 4, 3
EVERY, FILE = 4, 3  # of so many systems one has so much more, which it sends once as a larger file, too
BEGIN = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=370)
PARQUET = {"content-type": "application/vnd.apache.parquet"}
JSON = {"content-type": "application/json"}
PARQUET_RATE, JSON_RATE, PLOT_S = 50_000, 10_000, 0.3


def frame(number: int, lines: int = LINES, every: str = "s") -> pd.DataFrame:
    """Return lines of four channels: the same for the same number."""
    random = np.random.default_rng(number)
    moments = pd.date_range(BEGIN + timedelta(hours=3 * number), periods=lines, freq=every).as_unit("us")
    return pd.DataFrame(
        {"time": moments} | {name: random.normal(level, level / 50, lines).round(3) for name, level in CHANNELS.items()}
    )


def parquet(lines: pd.DataFrame) -> bytes:
    """Return lines as a file of Parquet."""
    file = io.BytesIO()
    lines.to_parquet(file, index=False)
    return file.getvalue()


def as_json(lines: pd.DataFrame) -> bytes:
    """Return lines as a body of JSON."""
    rows = lines.rename(columns={"time": "at"}).assign(at=lines["time"].dt.strftime("%Y-%m-%dT%H:%M:%S.%fZ"))
    return orjson.dumps({"readings": rows.to_dict("records")})


def rate(made: Plant, bodies: Sequence[bytes], kind: dict[str, str]) -> float:
    """Return readings a second, a system a body, by several clients at once."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = list(pool.map(lambda pair: send(made, pair[0], pair[1], kind), zip(made.systems, bodies, strict=False)))
    seconds = time.perf_counter() - begun
    return float(sum(each["written"] for each in told) / seconds)


def copied(made: Plant, frames: Sequence[pd.DataFrame]) -> float:
    """Return readings a second that plain `COPY` puts into a table with the same key, one writer."""
    texts = [
        "\n".join(
            f"1\t{n}\t{name}\t{at}\t{value}"
            for name in CHANNELS
            for at, value in zip(each["time"], each[name], strict=True)
        )
        + "\n"
        for n, each in enumerate(frames)
    ]
    with psycopg.connect(made.url.replace("+psycopg", "")) as connection:
        connection.execute("CREATE TABLE plain (LIKE readings INCLUDING ALL)")
        begun = time.perf_counter()
        for text in texts:
            with connection.cursor().copy("COPY plain (tenant_id, system_id, channel, at, value) FROM STDIN") as copy:
                copy.write(text)
            connection.commit()
        return len(CHANNELS) * sum(map(len, frames)) / (time.perf_counter() - begun)


def rates(made: Plant, count: int) -> dict[str, float]:
    """Return what is kept a second by each form."""
    frames = [frame(number) for number in range(count)]
    found = {"copy": copied(made, frames)}
    found["parquet"] = rate(made, [parquet(each) for each in frames], PARQUET)
    later = [each.assign(time=each["time"] + timedelta(hours=12)) for each in frames]
    found["json"] = rate(made, [as_json(each) for each in later], JSON)
    return found


def plot(made: Plant) -> float:
    """Return the median time of a year's plot of one channel that was read once a minute."""
    for day in range(0, 366, 6):
        body = frame(0, 6 * 1440, "min")
        body["time"] += timedelta(days=day)
        send(made, made.systems[-1], parquet(body[["time", "pressure"]]), PARQUET)
    span = {"from": BEGIN.isoformat(), "to": (BEGIN + timedelta(days=366)).isoformat(), "channel": "pressure"}
    taken = []
    for _ in range(9):
        begun = time.perf_counter()
        path = f"http://127.0.0.1:{made.port}/api/systems/{made.systems[-1]}/readings/"
        answer = httpx.get(path, params=span, headers={"x-api-key": made.key}, timeout=60).raise_for_status()
        taken.append(time.perf_counter() - begun)
        assert answer.json()["channels"][0]["count"] == 366 * 1440
    return float(np.median(taken))


def size(made: Plant) -> float:
    """Return bytes of disk a reading, with its keys and summaries."""
    parts = "inhparent IN ('readings'::regclass, 'rollups'::regclass)"
    ((whole,),) = made.ask(f"SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits WHERE {parts}")  # noqa: S608
    ((rows,),) = made.ask("SELECT count(*) FROM readings")
    return float(whole) / float(rows)


def weight(system_id: int) -> int:
    """Return how many times as much as others a system has."""
    return FILE if system_id % EVERY == 0 else 1


def endure(made: Plant, rows: int) -> dict[str, float]:
    """Send rows, some twice and some late, while gateway and PostgreSQL are killed; return what is missing or wrong."""
    lines = max(1, rows // (len(CHANNELS) * sum(map(weight, made.systems))))
    parts = [(system_id, at, LINES) for system_id in made.systems for at in range(0, lines * weight(system_id), LINES)]
    whole = [(system_id, 0, lines * FILE) for system_id in made.systems if weight(system_id) == FILE]
    again = [part for part in parts if weight(part[0]) == 1]
    order = np.random.default_rng(SEED).permutation(parts + again + whole).tolist()  # each twice, in disorder
    done = threading.Event()
    kills = {"gateway": 0, "postgres": 0, "worker": 0}
    made.start_worker()

    def break_things() -> None:
        while not done.wait(6):
            made.kill()
            kills["gateway"] += 1
            made.start()
            if not done.wait(4):
                made.kill_postgres()
                kills["postgres"] += 1
            if not done.wait(2):
                made.kill_worker()
                kills["worker"] += 1
                made.start_worker()

    def give(part: tuple[int, int, int]) -> None:
        system_id, at, most = part
        body = frame(1, lines * weight(system_id)).iloc[at : at + most]
        send(made, system_id, parquet(body), PARQUET, PATIENCE_S)

    breaker = threading.Thread(target=break_things)
    breaker.start()
    begun = time.perf_counter()
    try:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(give, order))
        while made.ask("SELECT FROM jobs WHERE state IN ('queued', 'running')"):
            time.sleep(1)
    finally:
        seconds = time.perf_counter() - begun
        done.set()
        breaker.join()
    time.sleep(1)
    return agreement(made, lines) | {f"kills of {name}": float(n) for name, n in kills.items()} | {"seconds": seconds}


def agreement(made: Plant, lines: int) -> dict[str, float]:
    """Count what was sent against what is kept, and summaries against readings."""
    wanted = len(CHANNELS) * lines * sum(map(weight, made.systems))
    ((kept, keys),) = made.ask("SELECT count(*), count(DISTINCT (system_id, channel, at)) FROM readings")
    cells = (
        "SELECT system_id, channel, date_bin('1 minute', at, '2000-01-01Z') AS at, count(*) AS count,"
        " min(value) AS low, max(value) AS high FROM readings GROUP BY 1, 2, 3"
    )
    ((wrong,),) = made.ask(
        f"SELECT count(*) FROM ({cells}) AS own FULL JOIN (SELECT * FROM rollups WHERE step_s = 60) AS told"  # noqa: S608
        " USING (system_id, channel, at) WHERE (own.count, own.low, own.high) IS DISTINCT FROM"
        " (told.count, told.least[1], told.greatest[1])"
    )
    sums = made.ask("SELECT step_s, sum(count) FROM rollups GROUP BY 1")
    steps = sum(abs(int(number) - kept) for _, number in sums)
    states = dict(made.ask("SELECT state, count(*) FROM jobs GROUP BY 1"))
    return {
        "sent": wanted,
        "files by jobs": states.get("done", 0),
        "jobs not done": sum(states.values()) - states.get("done", 0),
        "lost": wanted - keys,
        "double": kept - keys,
        "minutes that disagree": wrong,
        "hours and days that disagree": steps,
    }


def main() -> None:
    """Measure, and write the page: where a demand is missed, it says so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=5_000_000, help="readings of the run with kills")
    parser.add_argument("--files", type=int, default=8, help="files of 10,000 lines whose rate is measured")
    parser.add_argument("--only", choices=("rates", "kills", "archive"), help="one part alone")
    given = parser.parse_args()
    console = Console()
    if given.only in (None, "rates"):
        with plant(given.files + 1) as made:
            found = rates(made, given.files) | {"bytes": size(made), "plot": plot(made)}
        console.print(shown := rows_of(found))
        put(PAGE, "readings", markdown(HEAD, shown))
    if given.only in (None, "kills"):
        with plant(SYSTEMS) as made:
            lasting = endure(made, given.rows)
        kept = [
            [name, "0" if name in WRONG else "", f"{n:,.0f}", missed(name not in WRONG or n == 0)]
            for name, n in lasting.items()
        ]
        console.print(kept)
        put(PAGE, "kills", markdown(HEAD, kept))
    if given.only in (None, "archive"):
        from benchmarks.archive import measure

        with plant(1) as made:
            shown = [[name, "", f"{value:.3g}", ""] for name, value in measure(made).items()]
        console.print(shown)
        put(PAGE, "archive", markdown(HEAD, shown))


HEAD = ("figure", "demand", "measured", "")
WRONG = {"lost", "double", "jobs not done", "minutes that disagree", "hours and days that disagree"}


def missed(met: bool) -> str:
    """Return what stands beside a figure."""
    return "" if met else "MISSED"


def rows_of(found: dict[str, float]) -> list[list[str]]:
    """Return each figure with its demand and whether it is met."""
    rows = [
        ("Parquet, readings/s", f">= {PARQUET_RATE}", found["parquet"], found["parquet"] >= PARQUET_RATE),
        ("the same, lines of four channels/s", "", found["parquet"] / len(CHANNELS), True),
        ("JSON, readings/s", f">= {JSON_RATE}", found["json"], found["json"] >= JSON_RATE),
        ("the same, lines of four channels/s", "", found["json"] / len(CHANNELS), True),
        ("Parquet beside plain COPY, ratio", "", found["parquet"] / found["copy"], True),
        ("a year's plot of a channel read each minute, s", f"<= {PLOT_S}", found["plot"], found["plot"] <= PLOT_S),
        ("disk a reading, bytes", "", found["bytes"], True),
    ]
    return [
        [name, demand, f"{value:.3g}" if value < 1000 else f"{value:,.0f}", missed(met)]
        for name, demand, value, met in rows
    ]


if __name__ == "__main__":
    main()
