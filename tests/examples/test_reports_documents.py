"""The PDF, its thumbnails and the ZIP: opened with another library than the one that wrote them, where there is one."""

import io
import zipfile
from concurrent.futures import ThreadPoolExecutor

import pytest

from examples.reports.importing import check, read_data, read_records
from examples.reports.packing import Entry, pack, safe_name
from examples.reports.series import Row, Series
from examples.reports.trend import Trend

pdfium = pytest.importorskip("pypdfium2")
pytest.importorskip("reportlab")
image = pytest.importorskip("PIL.Image")

from examples.reports.rendering import Report, render_pdf  # noqa: E402  (after the skips)
from examples.reports.thumbnails import page_count, thumbnails  # noqa: E402


def report(file: str = "sunspots.csv") -> Report:
    return report_of(check(*read_records(read_data(file))).series)


def report_of(series: Series) -> Report:
    return Report("Reed & Daughters <Waterworks>", "A title", "#1f4e79", series, Trend(1.0, 0.5, 1.5))


@pytest.mark.parametrize(("file", "pages"), [("nile.csv", 4), ("sunspots.csv", 6), ("co2.csv", 8), ("elnino.csv", 11)])
def test_the_pdf_has_title_summary_and_data_pages(file: str, pages: int) -> None:
    assert report(file).pages == pages
    assert page_count(render_pdf(report(file))) == pages


def test_the_pdf_says_whose_it_is_and_what_is_in_it() -> None:
    with pdfium.PdfDocument(render_pdf(report())) as document:
        text = [page.get_textpage().get_text_range() for page in document]
    assert "Reed & Daughters <Waterworks>" in text[0]
    assert "1700 to 2008, 309 rows" in text[0]
    assert "+10.00" in text[1]  # the trend, per decade
    assert "sunspots" in text[1]  # the chart's caption
    assert "2008" in text[-1]
    assert "page 6 of 6" in text[-1]


@pytest.mark.slow
def test_the_same_report_gives_the_same_bytes_even_in_threads() -> None:
    with ThreadPoolExecutor(4) as pool:
        pdfs = list(pool.map(render_pdf, [report()] * 8))
    assert len(set(pdfs)) == 1


def test_a_single_row_is_enough_for_a_report() -> None:
    assert page_count(render_pdf(report_of(Series("x", (Row("1900", 1.0),))))) == 3


def test_each_page_is_announced_once_and_in_order() -> None:
    seen: list[tuple[int, int]] = []
    render_pdf(report(), lambda page, pages: seen.append((page, pages)))
    assert seen == [(page, 6) for page in range(1, 7)]


def test_what_on_page_raises_stops_the_rendering() -> None:
    def cancel(page: int, pages: int) -> None:
        raise InterruptedError(f"canceled on page {page}")

    with pytest.raises(InterruptedError, match="page 1"):
        render_pdf(report(), cancel)


def test_thumbnails_are_pngs_of_the_asked_width_one_a_page() -> None:
    pictures = [image.open(io.BytesIO(png)) for png in thumbnails(render_pdf(report()), width=120)]
    assert [picture.format for picture in pictures] == ["PNG"] * 6
    assert {picture.size for picture in pictures} == {(120, 170)}  # A4


def test_the_zip_holds_every_entry_and_is_the_same_each_time() -> None:
    entries = [
        Entry("nile", "report.pdf", b"one"),
        Entry("nile", "page-1.png", b"two"),
        Entry("co2", "report.pdf", b"3"),
    ]
    archive = pack(entries)
    assert archive == pack(entries)
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        assert {name: opened.read(name) for name in opened.namelist()} == {
            "nile/report.pdf": b"one",
            "nile/page-1.png": b"two",
            "co2/report.pdf": b"3",
        }


def test_entries_of_the_same_name_are_numbered() -> None:
    archive = pack([Entry("a", "x.pdf", b"1"), Entry("a", "x.pdf", b"2"), Entry("A", "X.pdf", b"3")])
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.namelist() == ["a/x.pdf", "a/x-2.pdf", "A/X-3.pdf"]


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "_.._etc_passwd"),
        ("C:\\autoexec.bat", "C_autoexec.bat"),
        ("Größe 2.pdf", "Größe 2.pdf"),
        ("a\x00b\nc", "a_b_c"),
        ("..", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_names_lead_nowhere(name: str, safe: str) -> None:
    assert safe_name(name) == safe
