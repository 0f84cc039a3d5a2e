"""The examples in the docstrings run, and give what they say."""

import doctest
import importlib
import pkgutil

import pytest

import theorylab

#: Modules that only exist where an extra is installed.
OPTIONAL = {"torch", "cupy", "distributed"}


def modules():
    for info in pkgutil.walk_packages(theorylab.__path__, "theorylab."):
        if not info.name.startswith("theorylab._validations") and info.name != "theorylab.__main__":
            yield info.name


@pytest.mark.parametrize("name", ["theorylab", *modules()])
def test_examples(name):
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        if (error.name or "").split(".")[0] in OPTIONAL:
            pytest.skip(f"needs {error.name}")
        raise
    failed, _ = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert failed == 0
