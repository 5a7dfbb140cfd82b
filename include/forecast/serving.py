"""The former name of ``include.forecast.server``: a Deployment of an earlier release starts a new image by it.

An image is often replaced before the lever applies the manifest again; without this module every new pod would fail.
"""

from __future__ import annotations

from include.forecast.server.__main__ import main

if __name__ == "__main__":
    raise SystemExit(main())
