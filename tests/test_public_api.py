"""The public surface: what is exported exists, is documented, and nothing else leaks."""

import importlib
import inspect

import pytest

import theorylab

PACKAGES = ["theorylab", *(f"theorylab.{name}" for name in theorylab._SUBPACKAGES)]


@pytest.mark.parametrize("name", PACKAGES)
def test_all_is_sorted_and_complete(name):
    package = importlib.import_module(name)
    names = package.__all__
    assert len(set(names)) == len(names)
    for public in names:
        assert hasattr(package, public), f"{name}.{public} is in __all__ but does not exist"
    assert package.__doc__


def members():
    for name in PACKAGES[1:]:
        package = importlib.import_module(name)
        for public in package.__all__:
            thing = getattr(package, public)
            if inspect.isclass(thing) or inspect.isfunction(thing):
                yield pytest.param(thing, id=f"{name}.{public}")


@pytest.mark.parametrize("thing", list(members()))
def test_everything_public_is_documented(thing):
    assert thing.__doc__, f"{thing} has no docstring"
    first = inspect.cleandoc(thing.__doc__).splitlines()[0]
    assert first.endswith((".", ":", ",")) or first[-1].isalnum()
    if inspect.isclass(thing):
        for name, method in vars(thing).items():
            if inspect.isfunction(method) and not name.startswith("_"):
                assert inspect.getdoc(getattr(thing, name)), f"{thing.__name__}.{name} has no docstring"


def test_unknown_attributes_are_told():
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        theorylab.nothing
    assert set(theorylab._SUBPACKAGES) <= set(dir(theorylab))
