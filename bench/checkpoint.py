"""Keeps what compare.py has measured, so that a run of an hour that was cut off can go on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from comparison import Item, Measured


class Checkpoint:
    """Results by item in a file of build/, valid for one program and number of rounds."""

    def __init__(self, path: Path, program: Path, rounds: int, resume: bool):
        self._path = path
        self._made_by = {"program": hashlib.sha256(program.read_bytes()).hexdigest(),
                         "rounds": rounds}
        self._items: dict[str, dict] = {}
        if resume and path.exists():
            kept = json.loads(path.read_text())
            if kept["made_by"] == self._made_by:
                self._items = kept["items"]

    def find(self, item: Item) -> Measured | None:
        """Return what was measured of an item, or None."""
        kept = self._items.get(item.key)
        if kept is None:
            return None
        peers = {(peer, form): values for peer, form, values in kept["peers"]}
        return Measured(item, kept["ours"], peers, kept["notes"])

    def add(self, result: Measured) -> None:
        """Keep a result; the file is whole at every moment."""
        self._items[result.item.key] = {
            "ours": result.ours, "notes": result.notes,
            "peers": [[*key, values] for key, values in result.peers.items()]}
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps({"made_by": self._made_by, "items": self._items}))
        new.replace(self._path)
