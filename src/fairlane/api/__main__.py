"""`python -m fairlane.api` prints the OpenAPI document, which the dashboard's types are made from."""

import json
import sys

from fairlane.api.application import create_app
from fairlane.app import Fairlane


def main() -> None:
    """Print it. No database is opened for it."""
    with Fairlane("sqlite://") as fl:
        json.dump(create_app(fl).openapi(), sys.stdout)


if __name__ == "__main__":
    main()
