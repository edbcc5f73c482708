"""What the tests of reductions ask for by name."""

from unittest import mock

import numpy as np
import pytest

from linalign.plan import budget


@pytest.fixture(scope="module")
def whatever_holds():
    """A reduction that holds is used, whether it pays or not: these networks are small."""
    with mock.patch.object(budget, "GAIN", np.inf):
        yield
