"""The documentation is true: its code runs and prints what it says, its links lead somewhere, its commands exist."""

import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token
from sqlalchemy import make_url
from typer.testing import CliRunner

import fairlane
from docs import build, reference_pages, state_machine
from fairlane import Settings, WebSettings
from fairlane.cli.root import app as commands
from tests.store.logins import bound_logins

ROOT: Final = Path(__file__).parents[1]
DOCS: Final = ROOT / "docs"
PAGES: Final = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "AGENTS.md")),
    *sorted(DOCS.rglob("*.md")),
]
WEB_RECIPES: Final = ("docs/how-to/fastapi.md", "docs/how-to/flask.md")
# By files and commands of their own.
FOLLOWED_RECIPES: Final = (
    ("docs/how-to/parameters.md", "Change a handler while jobs wait"),
    *((page, None) for page in WEB_RECIPES),
)
BUILT: Final = "src/fairlane/dashboard"  # by `make dashboard`; it is not committed
OTHER_TERMINALS: Final = ("second terminal", "third terminal")
MARKDOWN: Final = MarkdownIt("commonmark").enable("table")

by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block of a page. `line` is that of its first line of text, from 1."""

    language: str
    title: str
    text: str
    line: int


def tokens_of(page: Path, section: str | None = None) -> Iterator[Token]:
    """Yield all tokens of a page, inline ones too; only those of one section, if it is named."""
    inside = section is None
    tokens = MARKDOWN.parse(page.read_text(encoding="utf-8"))
    for position, token in enumerate(tokens):
        if section is not None and token.type == "heading_open":
            inside = tokens[position + 1].content == section
        if inside:
            yield token
            yield from token.children or ()


def blocks_of(page: Path, section: str | None = None) -> list[Block]:
    return [
        Block(
            language=token.info.partition(" ")[0],
            title=match[1] if (match := re.search(r'title="([^"]*)"', token.info)) else "",
            text=token.content,
            line=token.map[0] + 2,
        )
        for token in tokens_of(page, section)
        if token.type == "fence" and token.map is not None
    ]


# --- Settings ---


@by_page
def test_defaults_that_a_page_names_are_those_of_the_settings(page: Path) -> None:
    named = re.findall(r"`(\w+)`\s+\(([\d.]+)(?: (KiB))?", page.read_text(encoding="utf-8"))
    said = {name: float(number) * (1024 if unit else 1) for name, number, unit in named}
    defaults = {name: Settings.model_fields[name].default for name in said if name in Settings.model_fields}
    assert {name: said[name] for name in defaults} == defaults


# --- The README's program ---


def test_the_program_in_the_readme_is_the_quickstart_and_prints_what_it_says() -> None:
    program, printed = [one.text for one in blocks_of(ROOT / "README.md") if one.language in {"python", "text"}][:2]
    quickstart = ROOT / "examples" / "quickstart.py"
    assert program == quickstart.read_text(encoding="utf-8")
    run = subprocess.run([sys.executable, quickstart], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout == printed


# --- Pages that a reader follows with two terminals ---


def free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return str(listening.getsockname()[1])


def is_like(shown: str, printed: str) -> bool:
    """`…` stands for whatever differs from run to run."""
    return re.fullmatch(".*?".join(map(re.escape, shown.split("…"))), printed, re.DOTALL) is not None


def on_postgresql(program: str, url: str) -> str:
    """Return the program with the URL that its comment names, of this database."""

    def named(found: re.Match[str]) -> str:
        return f"URL = {make_url(url).set(drivername=found[1]).render_as_string(hide_password=False)!r}"

    return re.sub(r"^URL = .*# or ([a-z0-9+]+)://localhost/letters$", named, program, flags=re.MULTILINE)


@dataclass
class Reader:
    """Somebody who does what a page says: writes its files, types its commands, looks at what they print.

    With a PostgreSQL `database` they take the URL that a comment names beside the one of SQLite.
    """

    folder: Path
    database: str = ""
    exports: str = ""
    printed: str = ""
    others: "dict[str, subprocess.Popen[str]]" = field(default_factory=dict)
    # Where pages say 8000: something of the reader's machine may be there.
    port: str = field(default_factory=free_port)
    files: set[str] = field(default_factory=set)

    def follow(self, blocks: list[Block]) -> None:
        for block, following in zip(blocks, [*blocks[1:], None], strict=True):
            match block.language:
                case "python":
                    self.write(block)
                case "sh" if block.title in OTHER_TERMINALS:
                    self.end(block.title)
                    self.start(block.title, block.text)
                case "sh":
                    self.type(block.text, may_fail=following is not None and following.text.startswith("Error: "))
                case "text":
                    self.compare(block)
                case other:
                    pytest.fail(f"line {block.line}: nobody knows what to do with a block of {other!r}")

    def write(self, block: Block) -> None:
        """A file that is there is added to."""
        text = on_postgresql(block.text, self.database) if self.database else block.text
        more = "\n\n" + text if block.title in self.files else text
        self.files.add(block.title)
        with (self.folder / block.title).open("a", encoding="utf-8") as file:
            file.write(more)

    def type(self, text: str, *, may_fail: bool) -> None:
        exports = [line for line in text.splitlines() if line.startswith("export ")]
        self.exports += "".join(f"{{ {line}; }} 2>/dev/null\n" for line in exports)
        run = subprocess.run(**self.bash(text), timeout=120, check=False)
        self.printed = run.stdout
        assert may_fail or run.returncode == 0, run.stdout

    def compare(self, block: Block) -> None:
        assert is_like(block.text, self.printed), f"line {block.line}: it printed\n{self.printed}"

    def start(self, terminal: str, command: str) -> None:
        self.others[terminal] = subprocess.Popen(**self.bash(f"exec {command}"), start_new_session=True)

    def end(self, terminal: str) -> None:
        """Stop it like Ctrl-C; a worker that was stopped ends well."""
        if terminal in self.others:
            running = self.others.pop(terminal)
            running.send_signal(signal.SIGINT)
            printed, _ = running.communicate(timeout=60)
            assert running.returncode == 0, printed

    def bash(self, text: str) -> dict[str, Any]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FAIRLANE_")}
        return {
            "args": ["bash", "-c", re.sub("(?<=[: ])8000", self.port, f"set -e\n{self.exports}{text}")],
            "cwd": self.folder,
            "env": environment
            | {"PATH": f"{Path(sys.executable).parent}:{environment['PATH']}", "FAIRLANE_PORT": self.port},
            "stdout": subprocess.PIPE,
            "stderr": subprocess.STDOUT,
            "text": True,
        }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "sections"),
    [
        ("README.md", ["Your own job type in five minutes", "Your own jobs over HTTP"]),
        ("docs/tutorial.md", [None]),
        *((page, [section]) for page, section in FOLLOWED_RECIPES),
    ],
    ids=["README", "tutorial", *(page for page, _ in FOLLOWED_RECIPES)],
)
def test_a_reader_who_follows_the_page_sees_what_it_says(page: str, sections: list[str | None], tmp_path: Path) -> None:
    read(Reader(tmp_path), page, sections)


@pytest.mark.slow
@pytest.mark.parametrize("page", WEB_RECIPES)
def test_a_recipe_for_a_web_framework_runs_on_postgresql(page: str, postgres_url: str, tmp_path: Path) -> None:
    read(Reader(tmp_path, postgres_url), page, [None])


def read(reader: Reader, page: str, sections: list[str | None]) -> None:
    try:
        for section in sections:
            blocks = blocks_of(ROOT / page, section)
            assert blocks
            reader.follow(blocks)
        for terminal in OTHER_TERMINALS:
            reader.end(terminal)
    finally:
        for running in reader.others.values():
            running.kill()
            running.communicate()  # else the next test is told of what this one has left


LETTERS = """
import asyncio, httpx
from letters import api, engine, fl, make_tables

there = []

async def looking(scope, receive, send):
    async def sending(message):
        if message["type"] == "http.response.start" and scope["path"].startswith("/letters/"):
            there.extend((await fl.aio.list(organization=organization, job_type="letter.print")).items)
        await send(message)
    await api(scope, receive, sending)

async def main():
    global organization
    await make_tables()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(looking), base_url="http://here") as client:
        one, other = [(await client.post("/sign-ups")).json() for _ in range(2)]
        organization = one["organization"]
        ours, theirs = [{"Authorization": "Bearer " + each["key"]} for each in (one, other)]
        job = (await client.post("/letters/Ana", headers=ours)).json()["job"]
        assert [str(each.id) for each in there] == [job], "it has answered before its transaction was committed"
        await fl.worker(queues=None).drain_async()
        assert (await client.get("/jobs/" + job, headers=ours)).json()["status"] == "completed"
        assert (await client.get("/jobs/" + job + "/files/letter.txt", headers=ours)).text == "Dear Ana\\n"
        assert (await client.get("/jobs/" + job, headers=theirs)).status_code == 404
        assert (await client.get("/jobs/" + job, headers={"Authorization": "Bearer none"})).status_code == 401
        nightly = await fl.aio.schedules.submit("nightly", organization=organization)
        await fl.worker(queues=None).drain_async()
        assert (await fl.aio.result(nightly, organization=organization)).value == 1
        stolen = await fl.aio.submit("letter.print", organization=other["organization"], parameters={"letter": 1})
        await fl.worker(queues=None).drain_async()
        stolen = await fl.aio.get(stolen, organization=other["organization"])
        assert (stolen.status, stolen.attempt) == ("queued", 1), "it prints a letter of another organization"
        await fl.aio.organizations.update(organization, max_live_jobs=0)
        assert (await client.post("/letters/Ben", headers=ours)).status_code == 429
    await engine.dispose()

asyncio.run(main())
"""


@pytest.mark.slow
def test_the_recipe_for_fastapi_has_committed_the_job_before_it_answers(database_url: str, tmp_path: Path) -> None:
    (program,) = [one.text for one in blocks_of(DOCS / "how-to" / "fastapi.md") if one.language == "python"]
    if database_url.startswith("postgres"):
        program = on_postgresql(program, database_url)
    else:
        shutil.copyfile(make_url(database_url).database or "", tmp_path / "letters.db")
    (tmp_path / "letters.py").write_text(program)
    (tmp_path / "host.py").write_text(LETTERS)
    run = subprocess.run(
        [sys.executable, "host.py"], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=240
    )
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.slow
def test_three_commands_lead_from_the_readme_to_a_job_that_is_watched(tmp_path: Path) -> None:
    made, typed = blocks_of(ROOT / "README.md", "Over HTTP")
    arguments = made.text.removeprefix("make demo ARGS=").split()
    command = [sys.executable, "-m", "examples.demo", *arguments, "--directory", str(tmp_path / "demo")]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        try:
            submit, watch = islice((line.strip() for line in demo.stdout if line.startswith("  curl ")), 2)
            assert is_like(typed.text, f"{submit}\n{watch}\n")
            answer = subprocess.run(["bash", "-c", submit], capture_output=True, check=True, timeout=60).stdout
            job = json.loads(answer)["id"]
            with subprocess.Popen(["bash", "-c", f"exec {watch} --silent"], stdout=subprocess.PIPE, text=True) as seen:
                assert seen.stdout is not None
                assert any(job in line and '"percent"' in line for line in seen.stdout)
                seen.kill()
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate(timeout=60)
    assert demo.returncode == 130  # as shells say of what Ctrl-C ended


# --- Recipes ---

HOST = """
import gc, os, sys, time, types, django.conf, django.db, psycopg
from fairlane import Fairlane
from sqlalchemy import make_url
from typer.testing import CliRunner
url = make_url(os.environ["SHOP"])
django.conf.settings.configure(DATABASES={"default": {
    "CONN_MAX_AGE": None, "OPTIONS": {"application_name": "django"},
    "ENGINE": "django.db.backends.postgresql", "NAME": url.database, "USER": url.username, "PASSWORD": url.password,
    "HOST": url.query.get("host", url.host), "PORT": url.query.get("port", url.port or ""),
}})
with psycopg.connect(os.environ["ADMINISTRATOR"], autocommit=True) as connection:
    connection.execute(open("invoices.sql").read())
    connection.execute(f'GRANT ALL ON invoices TO "{url.username}"')
with Fairlane(os.environ["SHOP"]) as fl:
    fl.organizations.create("acme")
    fl.members.add("acme", "ana", role="admin")
# As a module, not as a script: a handler with process isolation has to be importable.
sys.modules["recipes"] = recipes = types.ModuleType("recipes")
for page in os.environ["PAGES"].split(os.pathsep):
    exec(compile(open(os.path.basename(page) + ".py").read(), page, "exec"), recipes.__dict__)
recipes.put_schedules()  # as at the next deployment
nightly = recipes.fl.schedules.submit("nightly", organization="acme")
archives = [recipes.fl.submit("invoice.archive", organization="acme", parameters={"number": number})
    for number in range(1, 21)]
gc.disable()  # a worker has the collector look less often, too
assert recipes.fl.worker(queues=None).drain().completed > 0
assert recipes.fl.result(archives[0].id, organization="acme").value == 1
django.db.connection.close()  # that of this thread
with psycopg.connect(os.environ["ADMINISTRATOR"], autocommit=True) as connection:
    deadline = time.monotonic() + 10  # a session ends a moment after its connection
    while left := connection.execute("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'django'"
            " AND datname = current_database()").fetchone()[0]:
        assert time.monotonic() < deadline, f"{left} connections of Django's are left by threads"
        time.sleep(0.01)
said = {recipes.fl.result(one.id, organization="acme").value for one in recipes.fl.list(
    organization="acme", label={"schedule": "nightly"}).items}
assert said == {"sales of acme, as nightly says"}
assert {one.name for one in recipes.fl.schedules.list(organization="acme")} == {"nightly", "stock"}
assert recipes.fl.schedules.get("nightly", organization="acme").problem is None
assert recipes.fl.get(nightly.id, organization="acme").status == "completed"
"""


PROJECT: Final = {
    "manage.py": "import sys; from django.core.management import execute_from_command_line as it; it(sys.argv)",
    "settings.py": "INSTALLED_APPS = ['shop']",
    "shop/__init__.py": "",
    "shop/apps.py": "from django.apps import AppConfig\nclass Shop(AppConfig):\n    name = 'shop'\n",
    "shop/models.py": "",
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "addition"),
    [
        ("shop/models.py", "import shop.jobs"),
        ("shop/apps.py", "    def ready(self): import shop.jobs"),
        ("shop/models.py", ""),
    ],
    ids=["by models", "when ready", "by a worker only"],
)
def test_the_handlers_of_the_recipe_for_django_may_be_imported_by_django_or_first(
    tmp_path: Path, file: str, addition: str
) -> None:
    jobs = "\n".join(one.text for one in blocks_of(DOCS / "how-to" / "web-frameworks.md") if one.language == "python")
    preamble = "from fairlane import Fairlane, JobContext\nfrom django.db import connection\nfl = Fairlane()\n"
    (tmp_path / "shop").mkdir()
    for name, text in (PROJECT | {"shop/jobs.py": preamble + jobs}).items():
        (tmp_path / name).write_text(text + (addition if name == file else ""))
    for command in (
        "manage.py check",
        "-m fairlane --app shop.jobs:fl migrate",
        "-m fairlane --app shop.jobs:fl types list",
    ):
        run = subprocess.run(
            [sys.executable, *command.split()],
            cwd=tmp_path,
            env=os.environ | {"DJANGO_SETTINGS_MODULE": "settings", "FAIRLANE_URL": "sqlite:///jobs.db"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert run.returncode == 0, run.stdout + run.stderr


def recipes_of(page: Path) -> str:
    """Return the page's Python as one program, except files of their own, which have a title.

    Each line keeps its number, so that a traceback leads to the page.
    """
    lines = [""] * len(page.read_text(encoding="utf-8").splitlines())
    for block in blocks_of(page):
        if block.language == "python" and not block.title:
            lines[block.line - 1 : block.line - 1 + block.text.count("\n")] = block.text.splitlines()
    return "\n".join(lines)


@pytest.mark.slow
@pytest.mark.parametrize("production", ["0", "1"], ids=["as the owner", "in production"])
def test_the_recipes_run_one_after_the_other(postgres_url: str, tmp_path: Path, production: str) -> None:
    index = DOCS / "how-to.md"
    listed = [DOCS / target for target, _ in links_of(index)]
    assert set(listed) == set((DOCS / "how-to").glob("*.md")), "list each how-to in docs/how-to.md"
    pages = [index, *listed]
    (tmp_path / "invoices.sql").write_text(next(one.text for one in blocks_of(index) if one.language == "sql"))
    (tmp_path / "host.py").write_text(HOST)
    with bound_logins(postgres_url) as logins:
        shop = logins["jobs"] if production == "1" else postgres_url
        for page in pages:
            program = re.sub(
                r"(postgresql(?:\+\w+)?)://localhost/shop",
                lambda found: make_url(shop).set(drivername=found[1]).render_as_string(hide_password=False),
                recipes_of(page),
            )
            (tmp_path / f"{page.name}.py").write_text(program, encoding="utf-8")
        run = subprocess.run(
            [sys.executable, "host.py"],
            cwd=tmp_path,
            env=os.environ
            | {
                "ADMINISTRATOR": postgres_url,
                "SHOP": shop,
                "PAGES": os.pathsep.join(map(str, pages)),
                "FAIRLANE_PRODUCTION": production,
            },
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
    assert run.returncode == 0, run.stdout + run.stderr


# --- Links ---


def anchors_of(page: Path) -> set[str]:
    tokens = MARKDOWN.parse(page.read_text(encoding="utf-8"))
    headings = [tokens[position + 1].content for position, one in enumerate(tokens) if one.type == "heading_open"]
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_of(page: Path) -> Iterator[tuple[str, str]]:
    """Target and text of every link."""
    tokens = list(tokens_of(page))
    for position, token in enumerate(tokens):
        if token.type == "link_open":
            yield str(token.attrs["href"]), tokens[position + 1].content


@by_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    for target, text in links_of(page):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"[{text}]({target})"
        if anchor:
            assert anchor in anchors_of(file), f"[{text}]({target})"


@by_page
def test_every_path_of_the_repository_that_a_page_names_is_there(page: Path) -> None:
    named = [token.content for token in tokens_of(page) if token.type == "code_inline"]
    paths = [one for one in named if re.fullmatch(r"(src|tests|docs|frontend|benchmarks|examples)/[\w./-]+", one)]
    assert [path for path in paths if not (ROOT / path).exists() and path != BUILT] == []


@by_page
def test_every_name_that_links_to_code_is_defined_there(page: Path) -> None:
    for target, text in links_of(page):
        if not re.search(r"(^|/)(src|tests)/.*\.py$", target) or text.endswith((".py", "/")):
            continue
        name = text.removesuffix("()").rpartition(".")[2]
        code = (page.parent / target).read_text(encoding="utf-8")
        definition = rf"^\s*(?:(?:async )?def|class) {name}\b|^{name}\b.*="
        assert re.search(definition, code, re.MULTILINE), f"{text}: {target}"


# --- Commands ---


def commands_of(page: Path) -> Iterator[str]:
    """Everything that begins with `fairlane`, typed or mentioned."""
    for token in tokens_of(page):
        if token.type == "fence" and token.info.partition(" ")[0] == "sh":
            yield from (line for line in token.content.splitlines() if line.startswith("fairlane "))
        elif token.type == "code_inline" and token.content.startswith("fairlane "):
            yield token.content


@cache
def complaint_about(command: str) -> str:
    """Return the complaint of the command line about a command; nothing of it is run.

    `--help` is looked at after the options before it are known to be options.
    """
    arguments = shlex.split(command, comments=True)[1:]
    answer = CliRunner().invoke(commands, [*arguments, "--help"])
    return "" if answer.exit_code == 0 else answer.output


@pytest.mark.slow
@by_page
def test_every_command_and_its_options_exist(page: Path) -> None:
    assert {command: said for command in commands_of(page) if (said := complaint_about(command))} == {}


@pytest.mark.parametrize("wrong", ["fairlane none", "fairlane jobs none", "fairlane jobs list --none"])
def test_a_command_that_does_not_exist_is_noticed(wrong: str) -> None:
    assert complaint_about(wrong)


# --- Words and numbers ---

# What a reader meets everywhere: in the code, the command line, the dashboard and these pages.
KEPT_WORDS: Final = {
    *("claim", "lease", "attempt", "outcome", "transition", "stage", "rescue", "snooze", "lane", "dead letter"),
}


def first_cells_of(page: Path) -> list[str]:
    """Return the first cell of each row of a page's tables, without their heads."""
    return re.findall(r"^\| ([^|]+?) \|.*\|$", page.read_text(encoding="utf-8"), re.MULTILINE)[1:]


def test_the_glossary_has_the_words_that_are_kept_each_once_and_in_order() -> None:
    terms = first_cells_of(DOCS / "glossary.md")
    assert set(terms) >= KEPT_WORDS
    assert terms == sorted(set(terms), key=str.lower)


def test_each_requirement_that_is_named_stands_on_its_page() -> None:
    files = [file for folder in ("src", "tests", "docs", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    named = {number for file in files for number in re.findall(r"\bR\d{1,2}\b", file.read_text(encoding="utf-8"))}
    assert named
    assert named - {*first_cells_of(DOCS / "requirements.md")} == set()


# --- Length ---


def test_no_page_is_longer_than_400_lines() -> None:
    lengths = {page.name: len(page.read_text(encoding="utf-8").splitlines()) for page in PAGES}
    assert {name: lines for name, lines in lengths.items() if lines > 400} == {}, "split it by subject"


def sentences_of(page: Path) -> Iterator[str]:
    """Yield the sentences of a page's prose. A piece of code in a sentence counts as a word; tables are skipped."""
    tokens = MARKDOWN.parse(page.read_text(encoding="utf-8"))
    for before, token in pairwise(tokens):
        if token.type == "inline" and before.type == "paragraph_open":
            words = {"code_inline": "X", "softbreak": " "}
            text = "".join(words.get(one.type, one.content) for one in token.children or ())
            yield from re.split(r"(?<=[.!?])[\"”)]*\s+(?=[\"“(…A-Z0-9])", text)


def test_no_sentence_of_prose_has_more_than_30_words() -> None:
    generated = {DOCS / "benchmarks.md", state_machine.PAGE, *reference_pages.PAGES}
    long = [
        (len(sentence.split()), f"{page.relative_to(ROOT)}: {sentence}")
        for page in PAGES
        if page not in generated
        for sentence in sentences_of(page)
        if len(sentence.split()) > 30
    ]
    assert not long, "make two sentences of it, the longest first:\n" + "\n".join(
        f"{words} words in {sentence}" for words, sentence in sorted(long, reverse=True)
    )


# --- Pages that are made from code ---


def test_the_page_of_statuses_is_what_the_transition_table_makes() -> None:
    assert state_machine.PAGE.read_text(encoding="utf-8") == state_machine.page(), "run `make docs`"


@pytest.mark.parametrize("page", reference_pages.PAGES, ids=lambda page: page.stem)
def test_a_page_of_the_reference_is_what_the_code_makes(page: Path) -> None:
    assert page.read_text(encoding="utf-8") == reference_pages.brief(page), "run `make docs`"


def test_each_public_name_is_on_one_page_of_the_reference() -> None:
    assert reference_pages.unplaced() == set(), "name it in NAMES of docs/reference_pages.py"


@pytest.mark.slow
def test_the_site_builds_and_its_reference_names_all_that_is_public(tmp_path: Path) -> None:
    made = tmp_path / "build" / "docs"
    build.gather(made)
    pages = [made / "reference.md", *(made / "reference").glob("*.md")]
    page = "\n".join(one.read_text(encoding="utf-8") for one in pages)
    public = {*fairlane.__all__, *Settings.model_fields, *WebSettings.model_fields, *reference_pages.REACHED}
    assert {name for name in public if f"`{name}`" not in page} == set()
    assert "<!-- " not in page
    shutil.copy(ROOT / "zensical.toml", tmp_path)
    command = [sys.executable, "-m", "zensical", "build", "--strict"]
    site = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert site.returncode == 0, site.stdout + site.stderr
