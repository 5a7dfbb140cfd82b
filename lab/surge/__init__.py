"""The surge drill: the same rise of traffic replayed with and without the forecast's trigger, side by side.

    python -m lab.surge [--surge morning|burst|both] [--trace FILE] [--region NAME] [--json FILE] [--markdown FILE]

``scenario`` says what is replayed, ``pace`` how the waits of the world follow its faster time, ``measures`` and
``texts`` make figures and tables of what was seen; these four are pure. ``champion``, ``stage``, ``replay`` and
``seen`` act on a real lab.
"""
