"""Puts the moves of channels into words that a technician finds right: what speaks for a hypothesis, and what against.

`hypotheses` says how well a hypothesis explains each channel; here is what was seen there.
"""

import numpy as np

from pipelines.diagnosis.moves import Moves
from pipelines.signals.windows import Floats

# Source: own choice; a move of less than two of its errors is none.
MOVED = 2.0
# Logarithm of the ratio of likelihoods from which a channel speaks. Source: Kass, Raftery, "Bayes factors", J. Am.
# Stat. Assoc. 90 (1995): below 3 to 1 not worth more than a bare mention.
SPEAKS = 1.1


def told(
    moves: Moves, fault: str, fits: Floats, still: Floats, anything: Floats
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what speaks for a hypothesis and what against.

    Args:
        fits: Logarithm of how well it explains each channel; `still` and `anything` likewise for a machine in which
            nothing happens, and for a fault that nobody thought of.
    """
    level = np.abs(moves.level) > MOVED * moves.level_error
    spread = np.abs(moves.spread) > MOVED * moves.spread_error
    seen = level | spread | moves.zero | moves.frozen
    speaks_for = [
        _seen(moves, place)
        for place in np.flatnonzero(seen & (fits > still + SPEAKS) & (fits > anything - SPEAKS)).tolist()
    ]
    steady = [moves.names[place] for place in np.flatnonzero(~seen & (fits > anything))]
    if speaks_for and steady:
        speaks_for[0] += f", {_listed(steady)} about normal"
    noun = fault.replace("_", " ") if fault else "this"
    against = [
        f"{_seen(moves, place)} is not explained by {noun}"
        for place in np.flatnonzero(seen & (fits < anything - SPEAKS)).tolist()
    ]
    against += [
        f"{moves.names[place]} about normal speaks against {noun}"
        # A hypothesis that leaves a channel open, as a silent sensor leaves all others, has nothing against it there.
        for place in np.flatnonzero(~seen & (fits < still - SPEAKS) & (fits != anything))
    ]
    return tuple(speaks_for), tuple(against)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _seen(moves: Moves, place: int) -> str:
    """Return what was seen of a channel."""
    name, unit = moves.names[place], moves.units[place]
    if moves.frozen[place]:
        return f"{name} does not change at all, at {moves.now[place]:.4g} {unit}"
    parts = []
    if abs(moves.level[place]) > MOVED * moves.level_error[place]:
        parts.append(_level(moves, place))
    if moves.zero[place]:
        parts.append("drops to zero")
    elif abs(moves.spread[place]) > MOVED * moves.spread_error[place]:
        parts.append(_spread(float(moves.spread[place])))
    return f"{name} {' and '.join(parts)}"


def _level(moves: Moves, place: int) -> str:
    now, normal, unit = float(moves.now[place]), float(moves.normal[place]), moves.units[place]
    side = "above" if now > normal else "below"
    if moves.kelvin[place]:
        return f"{abs(now - normal):.0f} {'K' if unit == 'degC' else unit} {side} normal"
    share = abs(now / normal - 1) if normal > 0 else np.inf  # a vacuum has no half
    if share > 3:
        return f"{abs(now - normal):.3g} {unit} {side} normal"
    return f"{100 * share:.0f} % {side} normal"


def _spread(change: float) -> str:
    if change < 0:
        return "steadier than normal"
    return f"{np.exp(change):.1f} times as unsteady as normal"
