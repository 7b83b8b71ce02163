"""The console in a real browser: what people do, what they see, and what a hostile page or plugin can do to them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from loadlock.testing.loopback import Loopback, status
from tests.crl_server.console.browser import RULES, Axe, Window, chromium
from tests.crl_server.console.sso import Sso
from tests.crl_server.console.world import World
from tests.crl_server.deployments import NOW, digest
from tests.crl_server.live import Live, address_of, listen

SHOWN = {
    "overview": "/",
    "plugins": "/plugins",
    "plugin": "/plugins/sample_plugin",
    "artifact": "/artifacts/{artifact}",
    "revocations": "/revocations",
    "rules": "/rules",
    "revoke": "/revoke",
    "approvals": "/approvals",
    "waivers": "/waivers",
    "hosts": "/hosts?purl=pkg:pypi/attrs",
    "host": "/hosts/web-1",
    "event": "/events/1",
    "audit": "/audit",
    "search": "/search?q=sample",
    "refused": "/artifacts/sha256:" + "0" * 64,
}
DARK = ("overview", "artifact", "revoke", "hosts", "approvals", "waivers")
"""Where a browser computes the contrast of the dark colours; the palette itself is judged in test_files."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One Chromium. It ends with this module: while Playwright runs, no event loop of anybody else's runs here."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="session")
def axe() -> Axe:
    """The checker of accessibility."""
    return Axe()


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[World, Live, Sso]]:
    """A deployment whose people may sign in through an issuer, its server, and the issuer."""
    listening = listen()
    with Sso(lambda: NOW) as sso:
        sso.redirects = {f"{address_of(listening)}/console/login/sso/return"}
        world = World(tmp_path_factory.mktemp("browser") / "acme", address_of(listening), issuers=sso.settings)
        with Live(world.authority, listening) as live:
            live.now = NOW
            yield world, live, sso
        world.close()


@pytest.fixture
def window(browser: Browser, scene: tuple[World, Live, Sso]) -> Iterator[Window]:
    """A window of somebody who is not signed in; nothing may have gone wrong in it."""
    opened = Window(browser, scene[1].address)
    yield opened
    opened.close()
    assert opened.complaints == []


@pytest.fixture
def ann(window: Window, scene: tuple[World, Live, Sso]) -> Page:
    """The page of somebody with every role."""
    return window.sign_in(scene[0].tokens["all"])


# -- what people do ----------------------------------------------------------------------------------------------------


def test_somebody_signs_in_through_the_issuer_and_out(window: Window) -> None:
    page = window.open("/plugins?q=sample")
    expect(page).to_have_title("Sign in · acme · Loadlock")
    window.picture("sign-in")
    page.click("text=Sign in through sso")
    expect(page).to_have_title("Who are you?")
    page.click("text=ann")
    expect(page).to_have_url(re.compile(r"/console/plugins\?q=sample$"))
    expect(page.locator(".actor")).to_have_text("oidc:sso:ann")
    page.click("text=Sign out")
    expect(page).to_have_title("Sign in · acme · Loadlock")
    page.go_back()
    expect(page).to_have_title("Sign in · acme · Loadlock")


def test_somebody_revokes_and_watches_the_hosts_follow(
    ann: Page, window: Window, scene: tuple[World, Live, Sso]
) -> None:
    world = scene[0]
    ann.click("nav >> text=Plugins")
    ann.click("text=sample_plugin")
    ann.click("text=1.2")
    ann.click("text=Revoke it")
    ann.select_option("#reason", "malicious")
    ann.fill("#note", "sends files to an unknown host")
    window.picture("revoke-1-what")
    ann.click("text=See what it reaches")
    expect(ann.locator(".radius")).to_contain_text("1 of 4 admitted artifacts")
    expect(ann.locator(".radius")).to_contain_text("4 hosts that acknowledge run any of it")
    expect(ann.locator("main")).to_contain_text("web-1")
    window.picture("revoke-2-radius")
    ann.click("text=Revoke now")
    expect(ann.locator("h1")).to_contain_text("Event")
    coverage = ann.locator("#coverage")
    expect(coverage).to_contain_text("0 of 3 hosts enforce")
    window.picture("revoke-3-begins")
    last = int(ann.url.partition("/events/")[2].partition("?")[0])
    for count, host in enumerate(("web-1", "web-2", "batch"), 1):
        world.acknowledge(host, last)
        expect(coverage).to_contain_text(f"{count} of 3 hosts enforce")  # nobody reloads anything
    expect(coverage).to_contain_text("none behind")
    window.picture("revoke-4-done")


def test_two_people_agree_to_take_something_back(browser: Browser, ann: Page, scene: tuple[World, Live, Sso]) -> None:
    ann.goto(f"{scene[1].address}/console/artifacts/{digest('d')}")
    ann.click("text=Ask to take it back")
    ann.fill("#note", "it was superseded by mistake")
    ann.click("main >> button:text-is('Ask')")
    row = ann.locator("tr", has_text="it was superseded by mistake")
    expect(row).to_contain_text("yours: somebody else has to approve")
    assert row.locator("button").count() == 0
    second = Window(browser, scene[1].address)
    page = second.sign_in(scene[0].tokens["second"])
    page.click("nav >> text=Approvals")
    page.locator("tr", has_text="it was superseded by mistake").locator("button").click()
    expect(page.locator("table").nth(1)).to_contain_text("token:bob")
    second.close()


def test_two_people_agree_to_a_waiver_and_one_ends_it(
    browser: Browser, ann: Page, window: Window, scene: tuple[World, Live, Sso]
) -> None:
    ann.click("nav >> text=Plugins")
    ann.click("text=sample_plugin")
    ann.click("text=1.1")
    ann.click("text=Ask for a waiver")
    expect(ann.locator("#artifact")).to_have_value(scene[0].wheels["sample_plugin 1.1"].digest)
    ann.select_option("#lifts", "certification-expiry")
    ann.fill("#hours", "72")
    ann.fill("#reason", "the certifier is on leave")
    window.picture("waiver-1-asked")
    ann.click("text=Ask for the waiver")
    row = ann.locator("tr", has_text="the certifier is on leave")
    expect(row).to_contain_text("yours: somebody else has to approve")
    second = Window(browser, scene[1].address)
    page = second.sign_in(scene[0].tokens["second"])
    page.click("nav >> text=Waivers")
    page.locator("tr", has_text="the certifier is on leave").locator("button", has_text="Approve").click()
    expect(page.locator("tr", has_text="the certifier is on leave")).to_contain_text("not signed yet")
    second.close()
    ann.reload()
    window.picture("waiver-2-approved")
    row.locator("button", has_text="End").click()
    expect(row).to_contain_text("by token:ann")


def test_plugins_are_found_while_somebody_types(ann: Page, scene: tuple[World, Live, Sso]) -> None:
    ann.goto(f"{scene[1].address}/console/plugins")
    expect(ann.locator("#results tbody tr")).to_have_count(2)
    ann.locator("#words").press_sequentially("comma")
    expect(ann.locator("#results tbody tr")).to_have_count(1)
    expect(ann).to_have_url(re.compile(r"q=comma"))
    ann.reload()
    expect(ann.locator("#words")).to_have_value("comma")


def test_everything_can_be_done_without_javascript(browser: Browser, scene: tuple[World, Live, Sso]) -> None:
    window = Window(browser, scene[1].address, java_script_enabled=False)
    page = window.sign_in(scene[0].tokens["all"])
    page.click("nav >> a:text-is('Revoke')")
    page.check("#kind-component")
    page.fill("#purl", "pkg:pypi/attrs")
    page.select_option("#reason", "vulnerability")
    page.click("text=See what it reaches")
    page.click("text=Revoke now")
    expect(page.locator("h1")).to_contain_text("Event")
    expect(page.locator("main")).to_contain_text("R2")
    page.fill("#q", "attrs")
    page.press("#q", "Enter")
    expect(page.locator("main")).to_contain_text("Components")
    page.click("text=Sign out")
    expect(page).to_have_title("Sign in · acme · Loadlock")
    window.close()


def test_everything_is_reached_with_the_keyboard(ann: Page, window: Window) -> None:
    ann.keyboard.press("Tab")
    expect(ann.locator(".skip")).to_be_focused()
    expect(ann.locator(".skip")).to_be_in_viewport()
    ann.keyboard.press("Enter")
    assert ann.evaluate("document.activeElement.id") == "main"
    window.open("/revoke")
    reached, place = [], ""
    for _ in range(60):
        ann.keyboard.press("Tab")
        place = ann.evaluate("document.activeElement.id || document.activeElement.textContent.trim()")
        outline = ann.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        if place:
            assert outline != "none", place
        reached.append(place)
        if place == "See what it reaches":
            break
    for wanted in ("Overview", "kind-artifacts", "digests", "reason", "note", "See what it reaches"):
        assert wanted in reached, wanted
    ann.keyboard.press("Shift+Tab")


def test_each_page_is_walked_through_with_the_tab_key(browser: Browser, scene: tuple[World, Live, Sso]) -> None:
    """Everything that can be pressed or filled in is come to, and shows where one is."""
    world, live, _ = scene
    window = Window(browser, live.address)
    missed = {"sign-in": not_reached(window.open("/login"))}
    window.sign_in(world.tokens["second"])
    for name, path in SHOWN.items():
        missed[name] = not_reached(window.open(path.format(artifact=world.wheels["sample_plugin 1.1"].digest)))
    window.close()
    assert {name: places for name, places in missed.items() if places} == {}


def not_reached(page: Page) -> list[str]:
    """What of a page the tab key does not come to, or comes to unseen."""
    count = page.evaluate(MARK)
    for _ in range(count + 10):  # a date is come to in several steps
        page.keyboard.press("Tab")
        if page.evaluate(LOOK) is None:
            break
    return list(page.evaluate(MISSED))


MARK = """() => {
    const all = 'a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex="0"]';
    window.places = [...document.querySelectorAll(all)].filter(place => place.checkVisibility() && !place.disabled);
    window.seen = new Set();
    return window.places.length;
}"""
"""Finds what can be pressed or filled in; how much that is."""
LOOK = """() => {
    const here = document.activeElement;
    if (here === document.body) return null;
    const style = getComputedStyle(here);
    if (style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) > 0) window.seen.add(here);
    return here.outerHTML.slice(0, 100);
}"""
"""Remembers what has the focus, if that shows; nothing at the end."""
MISSED = """() => {
    const found = new Set([...window.seen].map(place => place.type === 'radio' ? place.name : place));
    const missing = window.places.filter(place => !found.has(place.type === 'radio' ? place.name : place));
    return missing.map(place => place.outerHTML.slice(0, 120));
}"""
"""What was never seen with the focus; of a group of radio buttons one is enough, arrows lead to the others."""


def test_somebody_asks_for_a_waiver_with_the_keyboard_alone(ann: Page, window: Window) -> None:
    """And is told what is wrong at the form, which keeps what was typed."""
    window.open("/waivers")
    ann.evaluate("document.querySelector('form.stack').noValidate = true")  # what a browser would say first
    ann.locator("#main").focus()
    typed = ("sha256:" + "0" * 64, "its certification", "500", "typed without a mouse")
    for words in typed:
        ann.keyboard.press("Tab")
        ann.keyboard.type(words)
    ann.keyboard.press("Tab")
    ann.keyboard.press("Enter")
    expect(ann.locator("[role=alert]")).to_contain_text("the hours of a waiver")
    expect(ann.locator("#reason")).to_have_value("typed without a mouse")
    window.complaints.clear()  # of a form that was refused, which the browser tells of as well
    ann.locator("#hours").focus()
    ann.keyboard.press("Control+a")
    ann.keyboard.type("24")
    ann.keyboard.press("Enter")
    expect(ann.locator("tr", has_text="typed without a mouse")).to_contain_text("yours: somebody else has to approve")


# -- what they see -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_for_everybody(browser: Browser, scene: tuple[World, Live, Sso], axe: Axe, scheme: str) -> None:
    world, live, _ = scene
    window = Window(browser, live.address, color_scheme=scheme)
    rules = RULES if scheme == "light" else ["wcag2aa"]
    found = {"sign-in": axe.findings(window.open("/login"), rules)}
    window.picture(f"sign-in-{scheme}")
    window.sign_in(world.tokens["second"])
    for name, path in SHOWN.items():
        page = window.open(path.format(artifact=world.wheels["sample_plugin 1.1"].digest))
        if scheme == "light" or name in DARK:  # colours apart, both are one page
            found[name] = axe.findings(page, rules)
        window.picture(f"{name}-{scheme}")
    window.close()
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@pytest.mark.parametrize("width", [320, 768])
def test_no_page_is_wider_than_its_screen(browser: Browser, scene: tuple[World, Live, Sso], width: int) -> None:
    world, live, _ = scene
    window = Window(browser, live.address, viewport={"width": width, "height": 640})
    window.sign_in(world.tokens["second"])
    wide = {}
    for name, path in SHOWN.items():
        page = window.open(path.format(artifact=world.wheels["sample_plugin 1.1"].digest))
        found = page.evaluate("document.documentElement.scrollWidth")
        if found > width:
            wide[name] = found
        if name in ("overview", "revoke"):
            window.picture(f"{name}-{width}")
    window.close()
    assert wide == {}


# -- what a hostile page or plugin can do ------------------------------------------------------------------------------


def test_a_hostile_plugin_is_words_on_a_page(ann: Page, window: Window, scene: tuple[World, Live, Sso]) -> None:
    hostile = scene[0].wheels["other_plugin 0.9"].digest
    for path in ("/plugins", "/plugins/other_plugin", f"/artifacts/{hostile}", "/revocations", "/"):
        window.open(path)
        assert "owned" not in ann.title()
        expect(ann.locator("img")).to_have_count(1)  # our own mark
        expect(ann.locator("main script")).to_have_count(0)
    expect(ann.locator("main")).to_contain_text("<script>document.title='owned'</script>")


def test_a_script_that_gets_into_a_page_does_not_run(ann: Page, window: Window) -> None:
    """The second lock: should a template ever fail to escape, the policy stops what comes through."""
    ann.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = "document.title = 'owned'";
            document.body.append(script);
            const image = document.createElement('div');
            image.innerHTML = "<img src=/console/nothing onerror=\\"document.title = 'owned'\\">";
            document.body.append(image);
        }"""
    )
    ann.wait_for_function("document.querySelector('body > div > img').complete")
    assert "owned" not in ann.title()
    assert len([words for words in window.complaints if "Content Security Policy" in words]) >= 2
    window.complaints.clear()


def test_no_other_site_frames_the_console_or_sends_its_forms(
    ann: Page, window: Window, scene: tuple[World, Live, Sso]
) -> None:
    address = scene[1].address
    with Loopback() as evil:
        evil.files["frame"] = f"<!doctype html><iframe src='{address}/console/'></iframe>".encode()
        evil.files["form"] = (
            f"<!doctype html><form id=f method=post action='{address}/console/logout'><input name=a value=b></form>"
        ).encode()
        for name in evil.files:
            evil.lies[name] = status(200, evil.files[name], Content_Type="text/html")
        ann.goto(f"{evil.url}/frame")
        frame = ann.frames[1]
        assert "Overview" not in (frame.content() if frame.url.startswith(address) else "")
        ann.goto(f"{evil.url}/form")
        ann.evaluate("document.getElementById('f').submit()")
        expect(ann.locator("main")).to_contain_text("auth.form")
    window.complaints.clear()
    window.open("/")
    expect(ann.locator("h1")).to_have_text("Overview")


def test_the_session_is_out_of_reach_of_scripts(ann: Page) -> None:
    assert ann.evaluate("document.cookie") == ""
    assert ann.evaluate("Object.keys(localStorage).length") == 0
    # htmx remembers the path; of what a page shows it remembers nothing.
    assert ann.evaluate("JSON.stringify(sessionStorage)") == '{"htmx-current-path-for-history":"/console/"}'
