"""Meters of shipped profiles for slaves: what their own vectors say is in their registers."""

from collections.abc import Callable
from pathlib import Path

from gateway.meters.vectors import VECTORS_SUFFIX, parse_vectors
from gateway.profiles import built_in

Words = Callable[[int, int], int]


def memory(profile: str, vector: int = 0) -> dict[int, int]:
    """The words by address of a meter of `profile`."""
    text = (built_in() / f"{profile}{VECTORS_SUFFIX}").read_text("utf-8")
    return parse_vectors(text, profile).vectors[vector].memory()


def meters(**profiles: str) -> tuple[list[int], Words]:
    """Units `u7="eastron-sdm120"` and their words."""
    memories = {int(unit[1:]): memory(profile) for unit, profile in profiles.items()}
    return list(memories), lambda unit, address: memories[unit].get(address, 0)


def hasty(folder: Path, profile: str) -> str:
    """A copy of a shipped profile in `folder`, by its own name, that is not patient; its name."""
    text = (built_in() / f"{profile}.yaml").read_text("utf-8")
    name = f"hasty-{profile}"
    text = text.replace(f"profile: {profile}", f"profile: {name}").replace(
        "response_timeout_ms: 500", "response_timeout_ms: 60"
    )
    if "iec62056_21" in text:
        text += "timing: {reaction_max_ms: 200, character_gap_ms: 200, after_failure_ms: 200}\n"
    (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
    return name
