"""Chains that add up and still can't be shown, as when another release has written a figure in another shape.

They are named and left out, so that one record never takes the whole page away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from include.overview.ledger_copy import ChainCopy, LedgerContent, version_of

Show = Callable[[LedgerContent], object]
# What a value of another shape than the one that is meant brings about.
OF_SHAPE = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def without_odd(content: LedgerContent, show: Show) -> LedgerContent:
    """A content of which ``show`` fails, without the chains that it fails of: what is wrong is their problem then.

    Where it fails of no chain by itself, or without any, the content stays as it is.
    """
    if _failure(LedgerContent({}), show):
        return content
    odd = {path: text for path, chain in content.chains.items() if (text := _failure(_alone(path, chain), show))}
    if not odd:
        return content
    kept = {path: _named(chain, odd[path]) if path in odd else chain for path, chain in content.chains.items()}
    return LedgerContent(kept, version_of(kept))


def _alone(path: str, chain: ChainCopy) -> LedgerContent:
    return LedgerContent({path: chain})


def _named(chain: ChainCopy, failure: str) -> ChainCopy:
    text = f"its records add up, but a figure has a shape that this release can't show ({failure}); the rest is shown"
    return replace(chain, records=(), problem=chain.problem or text)


def _failure(content: LedgerContent, show: Show) -> str:
    """What went wrong when the content was shown; "" for nothing."""
    try:
        show(content)
    except OF_SHAPE as error:
        return f"{type(error).__name__}: {error}"
    return ""
