"""Print the OpenAPI document (`python -m fairlane.api`), from which the dashboard's types are made."""

import json
import sys

from fairlane.api.application import create_app
from fairlane.app import Fairlane


def main() -> None:
    """Print the document without opening a database."""
    with Fairlane("sqlite://") as fl:
        json.dump(create_app(fl).openapi(), sys.stdout)


if __name__ == "__main__":
    main()
