"""An application's own alembic beside Fairlane's tables: what autogenerate proposes is about the application alone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, make_url, text

pytestmark = pytest.mark.slow

SHOP = """
import os
from alembic import context
from sqlalchemy import Column, ForeignKeyConstraint, Integer, MetaData, String, Table, Uuid, create_engine
from fairlane.alembic import include_name, include_object

metadata = MetaData()
Table("invoices", metadata, Column("number", Integer, primary_key=True), Column("total", Integer))
if os.environ["SHOP_REFERS"]:
    job = ("organization_id", "id")
    Table("fairlane_jobs", metadata, Column(job[0], String, primary_key=True), Column(job[1], Uuid, primary_key=True))
    Table("sendings", metadata, Column("organization", String, primary_key=True), Column("job", Uuid, primary_key=True),
        ForeignKeyConstraint(["organization", "job"], [f"fairlane_jobs.{one}" for one in job], name="job_fk"))

def none_of_the_archive(name, type_, parents):
    return include_name(name, type_, parents) and not (type_ == "table" and name.startswith("archive"))

options = {
    "nothing": {},
    "include_name": {"include_name": include_name},
    "include_object": {"include_object": include_object},
    "of our own": {"include_name": none_of_the_archive},
}[os.environ["SHOP_INCLUDES"]]
with create_engine(os.environ["SHOP_URL"]).connect() as connection:
    context.configure(
        connection=connection, target_metadata=metadata, include_schemas=bool(os.environ["SHOP_SCHEMAS"]), **options
    )
    with context.begin_transaction():
        context.run_migrations()
"""
TEMPLATE = """
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
from alembic import op
import sqlalchemy as sa

def upgrade():
    ${upgrades if upgrades else "pass"}

def downgrade():
    ${downgrades if downgrades else "pass"}
"""


@pytest.fixture
def shop(database_url: str, tmp_path: Path) -> Path:
    """An application's folder with its alembic, and its database, which it shares with Fairlane."""
    (tmp_path / "alembic.ini").write_text("[alembic]\nscript_location = %(here)s/migrations\n")
    (tmp_path / "migrations" / "versions").mkdir(parents=True)
    (tmp_path / "migrations" / "env.py").write_text(SHOP)
    (tmp_path / "migrations" / "script.py.mako").write_text(TEMPLATE)
    return tmp_path


def alembic(shop: Path, url: str, *command: str, includes: str, refers: str = "", schemas: str = "") -> str:
    """Run the command and return its output, whether or not it succeeds."""
    parsed = make_url(url)
    driver = {"postgresql": "postgresql+psycopg", "sqlite": "sqlite"}[parsed.get_backend_name()]
    run = subprocess.run(
        [sys.executable, "-m", "alembic", *command],
        cwd=shop,
        env=os.environ
        | {
            "SHOP_URL": parsed.set(drivername=driver).render_as_string(hide_password=False),
            "SHOP_INCLUDES": includes,
            "SHOP_REFERS": refers,
            "SHOP_SCHEMAS": schemas,
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run.stdout + run.stderr


def execute(url: str, *statements: str) -> None:
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"))
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def proposed(shop: Path) -> str:
    (script,) = (shop / "migrations" / "versions").glob("*.py")
    return script.read_text()


def test_without_it_autogenerate_would_drop_all_of_fairlane_s_tables(database_url: str, shop: Path) -> None:
    alembic(shop, database_url, "revision", "--autogenerate", includes="nothing")
    assert "op.drop_table('fairlane_jobs')" in proposed(shop)


@pytest.mark.parametrize("schemas", ["", "1"], ids=["one schema", "all schemas"])
@pytest.mark.parametrize("includes", ["include_name", "include_object"])
def test_autogenerate_proposes_the_application_s_tables_alone(
    database_url: str, shop: Path, includes: str, schemas: str
) -> None:
    alembic(shop, database_url, "revision", "--autogenerate", includes=includes, schemas=schemas)
    assert "op.create_table('invoices'" in proposed(shop)
    assert "fairlane" not in proposed(shop)
    alembic(shop, database_url, "upgrade", "head", includes=includes, schemas=schemas)
    assert "No new upgrade operations" in alembic(shop, database_url, "check", includes=includes, schemas=schemas)


def test_tables_in_a_schema_of_their_own_are_left_alone(postgres_url: str, shop: Path) -> None:
    execute(postgres_url, "CREATE SCHEMA jobs", "ALTER TABLE fairlane_labels SET SCHEMA jobs")
    alembic(shop, postgres_url, "revision", "--autogenerate", includes="include_name", schemas="1")
    assert "fairlane" not in proposed(shop)


def test_an_application_leaves_out_more_by_an_include_name_of_its_own(database_url: str, shop: Path) -> None:
    execute(database_url, "CREATE TABLE archive_2025 (n integer)", "CREATE TABLE fairs (n integer)")
    alembic(shop, database_url, "revision", "--autogenerate", includes="of our own")
    assert "op.drop_table('fairs')" in proposed(shop)
    assert "archive_2025" not in proposed(shop)
    assert "fairlane" not in proposed(shop)


def test_a_foreign_key_to_a_job_is_proposed_and_the_table_of_jobs_is_not(database_url: str, shop: Path) -> None:
    alembic(shop, database_url, "revision", "--autogenerate", includes="include_object", refers="1")
    assert "['fairlane_jobs.organization_id', 'fairlane_jobs.id']" in proposed(shop)
    assert "op.create_table('fairlane_jobs'" not in proposed(shop)
    alembic(shop, database_url, "upgrade", "head", includes="include_object", refers="1")
    assert "No new upgrade" in alembic(shop, database_url, "check", includes="include_object", refers="1")
