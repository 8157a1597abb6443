from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest

import boxer
from boxer import BoxerAPIError, BoxerTimeoutError, ResourceLimits


def test_limits_that_are_not_set_are_not_sent() -> None:
    assert ResourceLimits().to_dict() == {}
    assert ResourceLimits(memory_mb=64, cpu_cores=0.5).to_dict() == {"cpu_cores": 0.5, "memory_mb": 64}
    assert ResourceLimits(memory_mb=0).to_dict() == {"memory_mb": 0}


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        ({"memory_mb": "64"}, "memory_mb must be a whole number, not str"),
        ({"memory_mb": 64.5}, "memory_mb must be a whole number, not float"),
        ({"nofile": True}, "nofile must be a whole number, not bool"),
        ({"cpu_cores": "1"}, "cpu_cores must be a number, not str"),
        ({"cpu_time_secs": "2"}, "cpu_time_secs must be a number, not str"),
        ({"wall_clock_secs": [1]}, "wall_clock_secs must be a number, not list"),
    ],
)
def test_limits_of_the_wrong_type_are_reported_by_name(limits: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        ResourceLimits(**limits)
    with pytest.raises(TypeError, match=words):
        ResourceLimits.from_mapping(limits)


def test_ranges_are_checked_by_the_host() -> None:
    assert ResourceLimits(memory_mb=-1).to_dict() == {"memory_mb": -1}


def test_a_misspelt_limit_gets_a_suggestion() -> None:
    with pytest.raises(ValueError, match=r"unknown key 'memory'; did you mean 'memory_mb'\?"):
        ResourceLimits.from_mapping({"memory": 64})
    with pytest.raises(ValueError, match="unknown key 'xyzzy'; known are cpu_cores, memory_mb"):
        ResourceLimits.from_mapping({"xyzzy": 1})


def test_every_public_name_exists() -> None:
    for name in boxer.__all__:
        assert getattr(boxer, name) is not None
    assert issubclass(BoxerTimeoutError, BoxerAPIError)
    assert issubclass(boxer.BoxerOutputLimitError, BoxerAPIError)
    assert issubclass(boxer.BoxerCapacityError, BoxerAPIError)
    assert issubclass(BoxerAPIError, boxer.BoxerError)
    assert issubclass(boxer.BoxerConnectionError, boxer.BoxerError)
    assert not issubclass(boxer.BoxerConnectionError, BoxerAPIError)


@pytest.mark.parametrize("remake", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy])
def test_errors_survive_pickling(remake: Any) -> None:
    error = BoxerTimeoutError(408, "too long", exec_id="boxer-1", stdout="so far", retry_after=2.0, raw={"a": 1})

    again = remake(error)

    assert type(again) is BoxerTimeoutError
    assert str(again) == "HTTP 408: too long"
    assert vars(again) == vars(error)
