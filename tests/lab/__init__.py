"""The lab: a home's network in namespaces, with the real kernel and real tools.

Tests ask for the fixture `lab`, or for `at_home` to be in Home Assistant's place of
the network themselves; others write `with Lab() as lab:`. `python -m tests.lab`
builds one to look at. Nothing of it is on disk, nothing has a name outside, and all
of it is gone when the process that built it is.
"""
