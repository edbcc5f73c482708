"""Settings of every test."""

import pytest

from tests import examples

pytest.register_assert_rewrite("tests.oracles")
examples.load()
