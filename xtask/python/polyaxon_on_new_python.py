"""Loaded at the start of Python: gives the standard library its old names back, which packages of 2019 still use."""

import collections
import collections.abc
import inspect

for name in collections.abc.__all__:
    vars(collections).setdefault(name, getattr(collections.abc, name))
vars(inspect).setdefault("getargspec", inspect.getfullargspec)
