"""The champion of one region as it is served: followed in the registry, changed whole, never given up for nothing."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from include.forecast.candidates.candidate import CandidateError
from include.forecast.registry import ChampionPointer, CorruptError, Manifest, NoChampionError, Registry
from include.forecast.server.fast_candidate import FastCandidate, load_fast

RETRY_SECONDS = 300.0  # a version is immutable: one that was refused is looked at again only this often
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ServedChampion:
    """A champion in memory. ``loaded_at`` is in Unix seconds."""

    fast: FastCandidate
    manifest: Manifest
    loaded_at: float

    @property
    def version(self) -> str:
        """The version's id."""
        return self.manifest.version


class Champions:
    """Follows the champion of one region. ``refresh`` runs in one thread; ``served`` may be read in any."""

    def __init__(
        self, registry: Registry, compile_version: Callable[[Path], None], clock: Callable[[], float] = time.time
    ) -> None:
        self.region = registry.region
        self.served: ServedChampion | None = None
        self.problem = "the registry was not read yet"
        self.looked = threading.Event()  # set once the registry has been looked at
        self._registry = registry
        self._compile = compile_version
        self._clock = clock
        self._refused: dict[str, tuple[float, str]] = {}

    def refresh(self) -> None:
        """Serve the pointer's champion; where that is unusable, what is served stays and ``problem`` says why."""
        try:
            problem = self._follow(self._registry.pointer())
        except Exception as error:  # noqa: BLE001 - whatever storage raises: what is served goes on being served
            problem = f"the registry can't be read ({type(error).__name__}: {error}): check its location and rights"
        if problem != self.problem:
            log.log(logging.WARNING if problem else logging.INFO, "%s: %s", self.region, problem or "champion is well")
        self.problem = problem
        self.looked.set()

    def _follow(self, pointer: ChampionPointer) -> str:
        served = self.served
        if not pointer.version:
            reason = pointer.problem or f"models/{self.region}/champion.json does not exist"
            if served:
                return f"{reason}: {served.version} goes on being served"
            return reason if not pointer.problem else self._fall_back(reason)
        if served and served.version == pointer.version:
            return ""
        refusal = self._try(pointer.version)
        if not refusal:
            return ""
        reason = f"champion {pointer.version} is refused: {refusal}"
        return f"{reason}; {served.version} goes on being served" if served else self._fall_back(reason)

    def _fall_back(self, reason: str) -> str:
        """Serve the newest former champion that can be served."""
        for version in self._registry.champions():
            if not self._try(version):
                return f"{reason}; {version} is served, the last good champion"
        return reason

    def _try(self, version: str) -> str:
        """Serve ``version``; why not, or an empty text."""
        at, reported = self._refused.get(version, (0.0, ""))
        if reported and self._clock() - at < RETRY_SECONDS:
            return reported
        try:
            with tempfile.TemporaryDirectory(prefix="akidb-serve-") as folder:
                manifest = self._registry.fetch(version, Path(folder))
                self._compile(Path(folder))
                fast = load_fast(Path(folder))
        except (CandidateError, CorruptError, NoChampionError) as error:
            self._refused[version] = (self._clock(), str(error))
            return str(error)
        self._refused.pop(version, None)
        # One assignment: a request has the old champion or the new one.
        self.served = ServedChampion(fast, manifest, self._clock())
        log.info("%s: %s (%s) is served", self.region, version, manifest.model)
        return ""
