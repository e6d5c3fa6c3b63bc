"""The fake servers speak plain HTTP, so that no client needs the hundreds of certificates it would load at its start."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True, scope="session")
def no_certificates() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if os.environ.get("VIBESERVE_LIVE") != "1":  # the real services are another matter
            patch.setattr(ssl.SSLContext, "load_verify_locations", lambda *args, **kwargs: None)
        yield
