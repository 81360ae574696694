"""How scenes are written."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from vectors.stage import FILE, INPUTS, SQLiteFile, play

Scene = dict[str, Any]
Step = dict[str, Any]


def scene(name: str, settings: str, steps: list[Step], store: str = "none") -> Scene:
    return {"scene": name, "store": store, "settings": f"dict({settings})", "steps": steps}


def played(scene: Scene, folder: Path) -> Scene:
    """Return a scene with the results of its steps."""
    own = Path(tempfile.mkdtemp(dir=folder))
    results = play(scene, own)
    assert not any(INPUTS & result.keys() for result in results)
    steps = [step | result for step, result in zip(scene["steps"], results, strict=True)]
    schema = {"schema": SQLiteFile(own / FILE).schema()} if scene["store"] == "sqlite" else {}
    return scene | schema | {"steps": steps}


def visit(code: str, visitor: str = "ada", **more: Any) -> Step:
    """Return a request that runs this code with the session `s`."""
    return {"do": f"s = open({visitor}); {code}; commit({visitor}, s)", **more}


def write(data: str, visitor: str = "ada", **more: Any) -> Step:
    return visit(f"s.update({data})", visitor, **more)


def end(visitor: str = "ada") -> Step:
    return visit("s.terminate()", visitor)
