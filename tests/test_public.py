"""The public face: narrow, sorted, described, and quiet when imported."""

import inspect
import subprocess
import sys

import pytest

import steersman


def test_the_door_is_narrow_and_sorted():
    assert list(steersman.__all__) == sorted(set(steersman.__all__))
    assert len(steersman.__all__) <= 30


@pytest.mark.parametrize("name", steersman.__all__)
def test_every_name_is_there_and_described(name):
    thing = getattr(steersman, name)
    if name == "__version__":
        assert isinstance(thing, str)
        return
    own = thing.__doc__ or ""
    # A dataclass without a docstring is given its signature as one.
    assert len(own.split()) >= 3
    assert not own.startswith(f"{name}(")


@pytest.mark.parametrize("name", steersman.__all__)
def test_public_methods_are_described(name):
    thing = getattr(steersman, name)
    if not inspect.isclass(thing):
        assert callable(thing) or isinstance(thing, str)
        return
    public = {key: value for key, value in vars(thing).items() if not key.startswith("_")}
    bare = [key for key, value in public.items() if callable(value) and not inspect.getdoc(value)]
    assert bare == []


def test_nothing_public_is_forgotten():
    ours = {
        name
        for name, thing in vars(steersman).items()
        if not name.startswith("_") and not inspect.ismodule(thing) and "steersman" in getattr(thing, "__module__", "")
    }
    assert ours == set(steersman.__all__) - {"__version__"}


def test_importing_says_nothing_and_draws_no_random_number():
    code = (
        "import random, torch; torch.manual_seed(0); random.seed(0); before = torch.get_rng_state(), random.getstate();"
        "import steersman; after = torch.get_rng_state(), random.getstate();"
        "assert before[1] == after[1] and bool((before[0] == after[0]).all()), 'the global generators moved'"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
