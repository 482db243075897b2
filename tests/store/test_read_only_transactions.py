"""A transaction of the application's that takes no writes."""

import psycopg
import pytest

from fairlane import ConfigurationError, Fairlane, JobContext


def test_a_submission_in_a_read_only_transaction_says_so(postgres: str) -> None:
    with Fairlane(postgres) as fl:

        @fl.job_type("report")
        def report(ctx: JobContext) -> None: ...

        fl.migrate()
        fl.organizations.create("acme")
        with psycopg.connect(postgres.replace("postgresql+psycopg", "postgresql")) as theirs:
            theirs.read_only = True
            with pytest.raises(ConfigurationError, match="is read-only, so it takes no job; pass one"):
                fl.submit("report", organization="acme", connection=theirs)
