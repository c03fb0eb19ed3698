"""Hosts to try Ansible on: a system with systemd as process 1, booted in a second, on a network of their own.

``image.py`` makes a bare system of ``systems.py`` once. ``network.py`` gives a run its bridge, its addresses and
its way to the packages (``proxy.py``). ``host.py`` is one machine on it: it is started, asked over SSH, cut off,
killed, removed. ``machine.py`` says what this machine lacks for that. They need root: ``make test-hosts``.
"""
