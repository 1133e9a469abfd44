"""`songlo gateway profile`: one meter profile and its vectors, checked as the suite checks ours.

Owns what someone who adds a meter sees. Like all commands it imports what it needs only when it is
run, so that the others start at once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from gateway.meters.profile import MeterProfile


def profile(
    name: Annotated[
        str, typer.Argument(metavar="NAME|FILE", help="A meter profile's name, or its file.")
    ],
) -> None:
    """Check a meter profile and the vectors beside it, and show what a scan would ask."""
    from gateway.meters.profile import MeterProfile  # noqa: PLC0415 - see the module's docstring
    from gateway.meters.profile_file import ProfileError  # noqa: PLC0415
    from gateway.profiles import (  # noqa: PLC0415
        SUFFIX,
        ProfileLibrary,
        UnknownProfileError,
        built_in,
        profile_from_file,
    )

    is_file = name.endswith(SUFFIX) or "/" in name
    try:
        model = profile_from_file(Path(name)) if is_file else ProfileLibrary().get(name)
    except (UnknownProfileError, ProfileError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    typer.echo(f"{model.name}: {model.model}")
    if not isinstance(model, MeterProfile):
        typer.echo(f"{len(model.registers)} registers, read over IEC 62056-21")
        return
    _show(model)
    folder: Traversable = Path(name).parent if is_file else built_in()
    _check_vectors(model, folder)


def _show(model: "MeterProfile") -> None:
    from gateway.meters.plan import plan  # noqa: PLC0415
    from gateway.ports import Part  # noqa: PLC0415

    typer.echo(f"{len(model.registers)} registers, status {model.status.value}; a scan asks for")
    for part in Part:
        for block in plan(model, part):
            last = block.address + block.count - 1
            wanted = ", ".join(mapped.register.field for mapped in block.registers)
            typer.echo(
                f"  {part.value:<9} function {block.function}, "
                f"0x{block.address:04X} to 0x{last:04X}: {wanted}"
            )


def _check_vectors(model: "MeterProfile", folder: "Traversable") -> None:
    from gateway.meters.vectors import (  # noqa: PLC0415
        VECTORS_SUFFIX,
        VectorsError,
        mistakes,
        parse_vectors,
        untried,
    )

    file = folder / f"{model.name}{VECTORS_SUFFIX}"
    if not file.is_file():
        typer.echo(f"no vectors: {file} is not there; `songlo gateway read --dump` writes one")
        return
    try:
        document = parse_vectors(file.read_text("utf-8"), str(file))
    except (VectorsError, OSError, UnicodeDecodeError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    found = [
        f"{vector.name}: {mistake}"
        for vector in document.vectors
        for mistake in mistakes(model, vector)
    ]
    if document.profile != model.name:
        found.append(f"the vectors are of {document.profile!r}")
    for line in found:
        typer.echo(line, err=True)
    if found:
        raise typer.Exit(1)
    typer.echo(f"{len(document.vectors)} vectors, all as expected")
    if missing := untried(model, document):
        typer.echo(f"not tried by any of them: {', '.join(missing)}")
