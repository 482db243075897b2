"""The ways through the dashboard without a mouse, and on a narrow screen."""

from collections.abc import Callable

from playwright.sync_api import Page, expect

from tests.browser.site import Site

# Both keys, and between them something that draws the page anew.
PAIR_AROUND_A_CLICK = """async (button) => {
  const press = (key) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  press("g");
  button.click();
  await new Promise((drawn) => requestAnimationFrame(() => setTimeout(drawn)));
  press("j");
}"""


def test_keys_lead_to_screens_and_open_the_palette(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme")
    expect(page.get_by_role("heading", name="Acme")).to_be_visible()
    for key, title in (("j", "Jobs"), ("q", "Queues"), ("d", "Dead letters"), ("s", "Settings")):
        page.keyboard.press("g")
        page.keyboard.press(key)
        expect(page.get_by_role("heading", name=title, exact=True)).to_be_visible()
    # Whoever types means letters.
    page.get_by_label("Name").press("g")
    page.get_by_label("Name").press("j")
    expect(page.get_by_role("heading", name="Settings", exact=True)).to_be_visible()
    page.locator("main").focus()
    page.keyboard.press("/")
    palette = page.get_by_role("combobox", name="Go to")
    expect(palette).to_be_focused()
    expect(palette).to_have_value("")
    palette.press("g")
    expect(palette).to_have_value("g")
    page.keyboard.press("Escape")
    expect(palette).to_have_count(0)


def test_on_a_narrow_screen_the_menu_is_behind_a_button(enter: Callable[..., Page], site: Site):
    page = enter("ana", "o/acme", viewport={"width": 390, "height": 844})
    menu, button = page.get_by_role("navigation", name="Menu"), page.get_by_role("button", name="Menu")
    expect(menu).to_be_hidden()
    button.click()
    expect(button).to_have_attribute("aria-expanded", "true")
    menu.get_by_role("link", name="Queues").click()
    expect(page.get_by_role("heading", name="Queues")).to_be_visible()
    expect(menu).to_be_hidden()
    button.evaluate(PAIR_AROUND_A_CLICK)
    expect(page.get_by_role("heading", name="Jobs", exact=True)).to_be_visible()
