"""What one LIST of the store tells: which records there are, and what their marks say of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from include.clients.storage import Folder, Storage
from include.rollout.ledger.records import WHOLE_RUN
from include.rollout.marks import Mark, Standing, standing

Item = TypeVar("Item")
Result = TypeVar("Result")
_AT_ONCE = 32  # requests to the store: each waits for a network
_KEY = re.compile(r"((?:[^/]+/){2}[^/]+)/(?:(\d{6})\.json|(\d{6}-[^/]+))")  # a record's or a mark's


def at_once(do: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``do`` with each item, many at the same time; results in the order of the items."""
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        return list(pool.map(do, items))


def read_each(store: Storage, read: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
    """``read`` of each item, in their order, for one reader with the processor to itself, such as the page.

    Threads wait for a network together; on a folder they only take the interpreter from each other.
    """
    return [read(item) for item in items] if isinstance(store, Folder) else at_once(read, items)


class Listing:
    """The records and marks that one LIST names, by the path of their chain."""

    def __init__(self, keys: Iterable[str]) -> None:
        self.records: dict[str, set[int]] = {}
        self.marks: dict[str, dict[int, Mark]] = {}
        for key in keys:
            found = _KEY.fullmatch(key)
            if found is None:
                continue
            path, number, name = found.groups()
            mark = Mark.parse(name) if name else None
            if number:
                self.records.setdefault(path, set()).add(int(number))
            elif mark is not None:
                self.marks.setdefault(path, {})[mark.number] = mark

    @property
    def paths(self) -> list[str]:
        """Every chain, sorted."""
        return sorted({*self.records, *self.marks})

    def numbers(self, path: str) -> list[int]:
        """The numbers of a chain's records, in order."""
        return sorted(self.records.get(path, ()))

    def missing(self, path: str) -> int | None:
        """The number of the first record that the chain's other names say there must be, or None."""
        there = self.records.get(path, set())
        highest = max({*there, *self.marks.get(path, ())}, default=0)
        return next((number for number in range(1, highest + 1) if number not in there), None)

    def unmarked(self) -> list[tuple[str, int]]:
        """(path, number) of the records without a mark."""
        return [(p, n) for p in self.paths for n in self.numbers(p) if n not in self.marks.get(p, ())]


@dataclass(frozen=True)
class Marked:
    """Every chain's marks by number, and what is wrong with the chains that don't add up."""

    chains: Mapping[str, Sequence[Mark]]
    bad: Mapping[str, str]

    def standing(self) -> list[Standing]:
        """What stands, of the chains that add up."""
        places: dict[str, dict[str, Sequence[Mark]]] = {}
        for path, marks in self.chains.items():
            places.setdefault(path.rpartition("/")[0], {})[path] = marks
        return [change for chains in places.values() for change in standing(chains) if change.path not in self.bad]


def is_of_a_place(path: str) -> bool:
    """Whether a chain is one of a place, and not that of a run as a whole."""
    return path.split("/")[1] != WHOLE_RUN
