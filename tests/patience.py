"""The time that tests wait."""

from typing import Final

PATIENCE: Final = 30.0  # seconds until a test that waits for something gives up
