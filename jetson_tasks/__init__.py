"""The power agent of a Jetson device: it brings the device into the mode that its desired state asks for.

It runs on the device, with Python 3.8 or newer and the standard library alone; ``bundle.py`` packs it into one file.
"""
