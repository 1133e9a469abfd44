"""Lines as they are in the country: thin where much flows, so that some per cent are lost.

The built-in networks are stout cables that lose a fraction of one. It owns how their impedances are
raised; it must not know about dates nor meters.
"""

from collections.abc import Callable

import msgspec
import numpy as np

from simulator.errors import SimulatorError
from simulator.grid import Grid

TRIES_MAX = 8
GROWTH_MAX = 4.0
NEAR_ENOUGH = 0.03

# Where the network cannot carry its load, less is asked for.
RELAXED = 0.85


def rural(grid: Grid, loss_percent: float, loss_of: Callable[[Grid], float]) -> Grid:
    """The grid with its trunk lines' resistances raised until `loss_of` it is near `loss_percent`.

    A line is raised by its share of the load, so that mains become thin and house connections stay
    much as they are. Reactances stay: that of an overhead line hardly depends on how thin its wires
    are, and with more of it a network collapses before it loses much. Raises SimulatorError where
    that has no solution.
    """
    shares = _shares(grid)
    strength = 5.0
    wanted = loss_percent
    best: tuple[float, Grid] | None = None
    for _ in range(TRIES_MAX):
        raised = _raised(grid, shares, strength)
        try:
            loss = loss_of(raised)
        except SimulatorError:
            strength /= 2
            wanted *= RELAXED
            continue
        if best is None or abs(loss - wanted) < abs(best[0] - wanted):
            best = loss, raised
        if abs(loss - wanted) <= NEAR_ENOUGH * wanted:
            break
        strength *= min(GROWTH_MAX, wanted / max(loss, 1e-6))
    if best is None:
        raise SimulatorError(f"grid {grid.name}: no lines let it lose {loss_percent:.1f} %")
    return best[1]


def _raised(grid: Grid, shares: np.ndarray, strength: float) -> Grid:
    factors = 1 + strength * shares
    lines = tuple(
        msgspec.structs.replace(line, r_ohm=line.r_ohm * float(factor))
        for line, factor in zip(grid.lines, factors, strict=True)
    )
    return msgspec.structs.replace(grid, lines=lines)


def _shares(grid: Grid) -> np.ndarray:
    """Of each line, the load behind it as a share of the most that any line has behind it."""
    neighbours: dict[int, list[tuple[int, int]]] = {node: [] for node in range(grid.nodes)}
    for number, line in enumerate(grid.lines):
        neighbours[line.node_from].append((line.node_to, number))
        neighbours[line.node_to].append((line.node_from, number))
    behind = np.zeros(grid.nodes)
    for load in grid.loads:
        behind[load.node] += load.p_kw
    shares = np.zeros(len(grid.lines))
    order = [grid.transformer.lv_node]
    before: dict[int, tuple[int, int]] = {}
    for node in order:
        for other, number in neighbours[node]:
            if other not in before and other != order[0]:
                before[other] = node, number
                order.append(other)
    for node in reversed(order[1:]):
        parent, number = before[node]
        shares[number] = behind[node]
        behind[parent] += behind[node]
    relative: np.ndarray = shares / shares.max()
    return relative
