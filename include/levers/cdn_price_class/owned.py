"""The price class of a distribution as a lever owns it: a field that others may set too, to one of the same values.

A value alone doesn't say who set it, and a distribution's document has no room for it. So what the lever writes is also
on the distribution as a tag: at an undo, a price class that isn't the tag's is somebody else's and stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from include.levers.cloudfront import DISTRIBUTIONS, of_cloudfront
from include.levers.documents import Setting
from include.levers.owned import Holds, Report
from include.levers.world import World
from include.rollout.lever import Difference, Json

FIELD = "PriceClass"
TAG = "akidb.io/price-class"
SIGNED = "signed"  # in a snapshot's entry: the tag's value


@dataclass(frozen=True)
class PriceClass(Setting):
    """A distribution's price class, signed by a tag."""

    def entry(self, world: World) -> Json:
        """See :class:`include.levers.owned.Thing`: the field's value and the tag's."""
        found = super().entry(world)
        return None if found is None else found | {SIGNED: signed(world, self.name)}

    def write(self, world: World, dry_run: bool = False) -> bool:
        """See :class:`include.levers.owned.Thing`. Signed first: a crash in between leaves a tag and no change."""
        if not dry_run:
            sign(world, self.name, self.fields[FIELD])
        return super().write(world, dry_run)

    def restore(self, world: World, was: Json, report: Report, held: Holds | None = None) -> str | None:
        """See :class:`include.levers.owned.Thing`."""
        if was is None or not self._exists(world):
            return super().restore(world, was, report, held)
        ours = Setting(self.store, self.name, {FIELD: signed(world, self.name)})
        done = ours.restore(world, was, report, held)
        return "tag set back" if sign(world, self.name, was.get(SIGNED)) and done is None else done

    def unrestored(self, world: World, was: Json) -> Sequence[Difference]:
        """See :class:`include.levers.owned.Thing`."""
        found = list(super().unrestored(world, was))
        if was is None or not self._exists(world):
            return found
        tag, before = signed(world, self.name), was.get(SIGNED)
        return found if tag == before else [*found, Difference(f"{self.key} tag {TAG}", tag, before)]

    def _exists(self, world: World) -> bool:
        return self.store.read(world, self.name)[0] is not None


def price_class(name: str, value: str | None = None) -> PriceClass:
    """The price class of the distribution with that id; without ``value`` it is not to be written."""
    return PriceClass(DISTRIBUTIONS, name, {FIELD: value}, wanted=value is not None)


# The tag -------------------------------------------------------------------------------------------------------------


def signed(world: World, name: str) -> str | None:
    """What a lever last wrote, by the tag; None without one."""
    tags = of_cloudfront(world, "list_tags_for_resource", Resource=_arn(world, name))["Tags"].get("Items", [])
    return next((str(tag["Value"]) for tag in tags if tag["Key"] == TAG), None)


def sign(world: World, name: str, value: Any) -> bool:
    """Set the tag, or take it off; False when it is so already."""
    if signed(world, name) == value:
        return False
    world.target.fence()
    arn = _arn(world, name)
    if value is None:
        of_cloudfront(world, "untag_resource", Resource=arn, TagKeys={"Items": [TAG]})
    else:
        of_cloudfront(world, "tag_resource", Resource=arn, Tags={"Items": [{"Key": TAG, "Value": value}]})
    return True


def _arn(world: World, name: str) -> str:
    return str(of_cloudfront(world, "get_distribution", Id=name)["Distribution"]["ARN"])
