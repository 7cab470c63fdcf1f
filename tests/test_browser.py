"""The page as a visitor has it: in a real browser, by mouse, keyboard and link."""

import base64
import io
import json
import re
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pytest
import torch
from PIL import Image

import app
from page import catalog, drawing, labels, pictures, records, site
from page.catalog import MODELS
from page.networks import decode, load
from page.recipe import MODEL_KEY, RECIPE_KEY, Recipe
from tests.conftest import WEIGHTS
from tests.markup import EPOCHS, FOREIGN, MARKUP, models_with_markup

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
# As long as playwright itself waits, for machines that have much else to do.
expect.set_options(timeout=10_000)

TABS = ["Generate", "Your photo", "Morph", "Out of distribution", "Training"]
CROWD, LARGE = "#tab-generate .crowd canvas", "#tab-generate .portrait canvas"
STRIP, MORPHED = "#tab-interpolate .morph > .faces canvas", "#tab-interpolate .portrait canvas"
APART = ".model .faces canvas"

# What is on the first screen: chosen by looking at it.
ARRIVAL = ("Attribute GAN", 8, 9, 1.0)
MORPH = ("Perceptual autoencoder", ("0/4", "0/6", "0/16"))
LONELY = "Matched autoencoder"


@pytest.fixture(scope="module")
def at_home(chromium):
    """A browser that keeps what it has loaded, for visitors who come with no wishes of their own."""
    context = chromium.new_context(reduced_motion="reduce")
    yield context
    context.close()


@pytest.fixture
def visit(chromium, at_home, url):
    """A function that opens the page at the address that `link` leads to; nothing moves unless the options say so."""
    opened = []

    def open_page(link: str = "", at: str = url, **options):
        context = chromium.new_context(**{"reduced_motion": "reduce", **options}) if options else at_home
        page = context.new_page()
        opened.append(context if options else page)
        page.complaints, page.asked = [], []
        page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(at + link)
        page.wait_for_function("window.latentFaces?.opened")
        return page

    yield open_page
    for one in opened:
        one.close()


def shown(page, selector: str) -> np.ndarray:
    """The pixels of the visible pictures that a selector finds, (n, height, width, 3)."""
    sources = page.locator(f"{selector} >> visible=true").evaluate_all("all => all.map(one => one.toDataURL())")
    opened = (Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))) for source in sources)
    return np.array([np.asarray(image.convert("RGB")).astype(int) for image in opened])


def query(page) -> dict[str, str]:
    """What the address says."""
    return dict(parse_qsl(page.evaluate("location.search.slice(1)")))


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")


def wait_for_address(page, pattern: str) -> None:
    page.wait_for_function("pattern => new RegExp(pattern).test(location.search)", arg=pattern)


def wait_until_drawn(page) -> None:
    """Until all that was asked for is on screen."""
    page.wait_for_function("latentFaces.tabs.every((tab) => !tab.drawing)")


def wait_for_change(page, selector: str, before: np.ndarray) -> np.ndarray:
    for _ in range(200):
        now = shown(page, selector)
        if now.shape != before.shape or (now != before).any():
            return now
        page.wait_for_timeout(50)
    raise AssertionError(f"{selector} never changed")


def wait_for_faces(page, selector: str, wanted: np.ndarray, came: bool = False) -> None:
    """Until the pictures are these, (n, height, width, 3).

    Args:
        came: whether they came along as files, slightly compressed; else they differ by the browser's rounding only.
    """
    for _ in range(200):
        now = shown(page, selector)
        if now.shape == wanted.shape:
            apart = np.abs(now - wanted)
            if apart.mean() < 5 if came else apart.max() <= 2:
                return
        page.wait_for_timeout(50)
    raise AssertionError(f"{selector} never showed what it should")


def drawn(model: str, mean: float, seed: int = 0, count: int = 6) -> np.ndarray:
    return drawing.out_of_distribution(model, mean, seed, count)


def everywhere(mean: float, seed: int = 0) -> np.ndarray:
    """Every model's faces at a mean."""
    return np.concatenate([drawn(name, mean, seed) for name in MODELS])


def slide(page, label: str, value: float) -> None:
    """Write a value into the box of a slider."""
    page.get_by_label(f"{label}, exactly").locator("visible=true").evaluate(
        "(box, value) => { box.value = value; box.dispatchEvent(new Event('change')); }", f"{value:g}"
    )


def unfold(page, summary: str) -> None:
    page.locator("summary:visible").get_by_text(summary).click()


# Arriving.


def test_a_face_is_there_before_any_script(chromium, url):
    context = chromium.new_context(viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.route("**/*.js", lambda route: route.abort())
    page.goto(url)
    pixels = []
    for image in page.locator("img[data-model]").all():
        assert image.evaluate("one => one.decode().then(() => one.naturalWidth)") >= 64
        box = image.bounding_box()
        assert box["width"] == pytest.approx(box["height"], rel=0.02) and 150 < box["width"] < 380
        assert box["y"] + box["height"] < 844 or pixels
        response = context.request.get(url + image.get_attribute("src"))
        pixels.append(np.asarray(Image.open(io.BytesIO(response.body())).convert("RGB")).astype(int))
    wanted = drawing.generate(*ARRIVAL)
    living, crowd = pixels
    assert np.abs(living[:64] - wanted[5]).mean() < 5
    rows = [np.concatenate([*wanted[at : at + 3]], axis=1) for at in (0, 3, 6)]
    assert np.abs(crowd - np.concatenate(rows)).mean() < 5
    context.close()


def test_one_large_face_eight_more_and_six_switches_are_there_and_no_network_is_loaded(visit):
    page = visit(viewport={"width": 1280, "height": 800})
    wanted = drawing.generate(*ARRIVAL)
    wait_for_faces(page, CROWD, wanted, came=True)
    wait_for_faces(page, LARGE, wanted[5:6], came=True)
    for tab in TABS:
        expect(page.get_by_role("tab", name=tab)).to_be_visible()
    assert [name.strip() for name in page.get_by_role("tab").all_inner_texts()] == TABS
    switches = page.locator(".attribute:visible bdi").all_inner_texts()
    assert switches == ["Smiling", "Eyeglasses", "Blond hair", "Wearing hat", "Male", "Young"]
    for folded in ("More attributes", "Switches without a name", "Model, seed, how many"):
        assert page.locator("details", has_text=folded).last.get_attribute("open") is None
    page.wait_for_timeout(500)
    assert not [address for address in page.asked if "/weights/" in address or "wasm" in address]
    page.get_by_role("button", name="Another").hover()
    with page.expect_request("**/weights/attribute-gan/**"):
        pass
    assert not [address for address in page.asked if "/weights/" in address and "attribute-gan" not in address]
    assert page.complaints == [] and page.get_by_role("alert").count() == 0


def test_each_tab_shows_its_first_faces_without_a_network(visit):
    page = visit()
    page.route("**/weights/**", lambda route: route.abort())
    open_tab(page, "Morph")
    model, recipes = MORPH
    wait_for_faces(
        page, STRIP, drawing.interpolate(model, recipes[:2], (None, None), 11, "straight", "relaxed").faces, True
    )
    a, b, c = (Recipe.parse(recipe).latent(load(model)) for recipe in recipes)
    wait_for_faces(page, ".end canvas", decode(model, torch.stack([a, b, c])), came=True)
    wait_for_faces(page, ".found > canvas", decode(model, ((b + c) / 2)[None]), came=True)
    assert_is_the_map(page, model, a, b, c, 5)
    open_tab(page, "Out of distribution")
    wait_for_faces(page, APART, drawn(LONELY, 0), came=True)
    open_tab(page, "Training")
    wait_for_faces(page, "#tab-training .faces canvas", records.training("GAN", 1), came=True)
    assert page.get_by_role("alert").count() == 0


def test_the_large_face_lives_and_rests_within_five_seconds(visit):
    page = visit(reduced_motion="no-preference")
    face = drawing.generate(*ARRIVAL)[5:6]
    wait_for_faces(page, LARGE, face, came=True)
    page.wait_for_function("latentFaces.tab('generate').large.isPlaying")
    films = page.evaluate("[...latentFaces.tab('generate').large.pixels]")
    films = np.array(films).reshape(-1, 64, 64, 4)[..., :3]
    assert 0.08 * 3 * len(films) < 5
    # It moves, and stays the same face.
    apart = np.abs(films - face).mean((1, 2, 3))
    assert apart[0] < 5 < apart.max() < 40
    page.wait_for_function("!latentFaces.tab('generate').large.isPlaying")
    wait_for_faces(page, LARGE, face, came=True)
    still = visit()
    still.wait_for_timeout(1000)
    assert not still.evaluate("latentFaces.tab('generate').large.isPlaying")


def test_another_and_the_space_bar_draw_other_faces_and_the_address_leads_back_to_them(visit):
    page = visit()
    wait_until_drawn(page)
    before = shown(page, CROWD)
    seeds = set()
    for act in (page.get_by_role("button", name="Another").click, lambda: page.keyboard.press("Space")):
        act()
        before = wait_for_change(page, CROWD, before)
        wait_for_address(page, "seed=")
        page.wait_for_timeout(300)
        seeds.add(seed := int(query(page)["seed"]))
        wanted = drawing.generate("Attribute GAN", seed, 9, 1.0)
        wait_for_faces(page, CROWD, wanted)
        wait_for_faces(page, LARGE, wanted[5:6])
        page.locator("h1").click()  # The focus is nowhere.
    assert len(seeds) == 2
    again = visit(page.evaluate("location.search"))
    wait_for_faces(again, CROWD, wanted)
    summary = page.locator("summary:visible").first
    summary.focus()
    page.keyboard.press("Space")  # It is the summary's here.
    page.wait_for_timeout(300)
    assert int(query(page)["seed"]) == seed


def test_the_browser_draws_as_pytorch_does_and_asks_the_server_for_nothing_more(visit, url):
    page = visit("?mean=5")
    wait_for_faces(page, APART, everywhere(5))
    page.asked.clear()
    slide(page, "Push all numbers by", -50)
    wanted = []
    for name in MODELS:
        model = load(name)
        with torch.inference_mode():  # In float32, which the server's faster layers do not touch.
            faces = model.decode(model.sample_latent(6, seed=0, mean=-50)).permute(0, 2, 3, 1)
        wanted.append(((faces + 1) * 127.5).round().clamp(0, 255).numpy())
    wait_for_faces(page, APART, np.concatenate(wanted))
    assert [
        address for address in page.asked if not address.startswith("blob:") and "icon" not in address
    ] == [] and page.complaints == []
    expect(page.locator(".status")).to_have_text("Drawn in your browser")


def test_files_alone_are_a_page_too(visit, tmp_path):
    site.write(tmp_path)
    # As `python -m http.server` does, which knows no parts of files.
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        at = f"http://127.0.0.1:{server.server_port}/"
        page = visit(at=at)
        for tab in TABS:
            open_tab(page, tab)
            wait_until_drawn(page)
            expect(page.locator("canvas:visible").first).to_be_visible()
        open_tab(page, "Generate")
        page.get_by_role("button", name="Another").click()
        wait_for_address(page, "seed=")
        wait_for_faces(page, CROWD, drawing.generate("Attribute GAN", int(query(page)["seed"]), 9, 1.0))
        assert page.get_by_role("alert").count() == 0 and page.complaints == []
        assert all(address.startswith((at, "blob:", "data:")) for address in page.asked)
        for name in ("card.jpg", "icon.png"):
            assert (tmp_path / "front/first" / name).is_file()
        server.shutdown()


# Links.


def test_a_link_shows_what_it_says(visit):
    page = visit("?tab=generate&model=Matched autoencoder&seed=5&faces=4&temperature=0.5")
    wait_for_faces(page, CROWD, drawing.generate("Matched autoencoder", 5, 4, 0.5, ""))
    expect(page.get_by_text("Switches without a name")).to_be_hidden()
    expect(page.get_by_text("Give every face")).to_be_hidden()

    page = visit("?tab=out-of-distribution&mean=-40&models=GAN&faces=5")
    wait_for_faces(page, APART, drawn("GAN", -40, 0, 5))
    assert query(page)["mean"] == "-40"

    page = visit("?tab=generate&model=Attribute GAN&attributes=Bangs")
    expect(page.get_by_role("button", name="Bangs: with", exact=True)).to_be_visible()  # Among the folded.


def test_links_of_once_show_what_they_showed(visit):
    page = visit("?tab=interpolate&a=3/2&b=4&steps=5&way=spherical")
    walk = drawing.interpolate("GAN", ("3/2", "4"), (None, None), 5, "spherical", "relaxed")
    wait_for_faces(page, STRIP, walk.faces)
    page = visit("?tab=generate&seed=3")
    wait_for_faces(page, CROWD, drawing.generate("GAN", 3, 16, 1.0))
    page = visit("?tab=experiment&seed=3")  # A tab of its own once.
    wait_for_faces(page, APART, everywhere(-3, seed=3))
    page = visit("?mean=2")  # Of the tab that was first once.
    wait_for_faces(page, APART, everywhere(2))


@pytest.mark.parametrize(
    "link, words",
    [
        ("?tab=nowhere", None),
        ("?seed=-1", "seed cannot be -1"),
        ("?tab=generate&faces=many", 'faces cannot be "many"'),
        ("?tab=generate&model=VAE", 'model cannot be "VAE"'),
        ("?bits=xyz", 'bits cannot be "xyz"'),
        ("?tab=generate&bits=xyz&seed=8e99", "seed cannot be 8e+99"),
    ],
)
def test_what_a_link_asks_for_in_vain_is_said_once_and_left(visit, link, words):
    page = visit(link)
    wait_for_faces(page, CROWD, drawing.generate(*ARRIVAL), came=True)
    complaint = page.get_by_role("alert")
    if words:
        expect(complaint.first).to_contain_text(words)
        page.get_by_role("button", name="Smiling: with", exact=True).click()
    expect(complaint).to_have_count(0)


def test_a_recipe_or_a_mean_that_cannot_be_had_leaves_its_tab_as_it_is_first(visit):
    page = visit("?mean=1e99")
    expect(page.get_by_role("alert")).to_have_text("The link's mean cannot be 1e+99: choose a number from -100 to 100.")
    wait_for_faces(page, APART, drawn(LONELY, 0), came=True)
    page = visit("?tab=interpolate&a=nobody")
    expect(page.get_by_role("alert")).to_contain_text('"nobody" is no face')
    wait_for_faces(page, ".end canvas >> nth=0", decode(MORPH[0], Recipe(0, 4).latent(load(MORPH[0]))[None]), came=True)


def test_tabs_are_steps_of_the_history_and_values_are_not(visit):
    page = visit("?tab=generate&seed=1")
    wait_until_drawn(page)
    open_tab(page, "Out of distribution")
    for mean in (3, 4):
        slide(page, "Push all numbers by", mean)
        wait_for_address(page, f"mean={mean}")
    open_tab(page, "Training")
    steps = [("Out of distribution", "mean=4"), ("Generate", "seed=1")]
    for tab, address in steps:
        page.go_back()
        expect(page.get_by_role("tab", name=tab)).to_have_attribute("aria-selected", "true")
        wait_for_address(page, address)
    wait_for_faces(page, CROWD, drawing.generate("GAN", 1, 16, 1.0))
    page.go_forward()
    wait_for_faces(page, APART, drawn(LONELY, 4))


def test_the_link_that_is_copied_leads_to_what_is_shown(visit):
    page = visit("?theirs=1", permissions=["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Eyeglasses: with", exact=True).click()
    wait_until_drawn(page)
    page.get_by_role("button", name="Copy link").click()
    expect(page.get_by_role("button", name="Link copied")).to_be_visible()
    link = page.evaluate("navigator.clipboard.readText()")
    again = visit("?" + link.partition("?")[2])
    wait_for_faces(again, CROWD, drawing.generate("Attribute GAN", 8, 9, 1.0, "", "Eyeglasses"))


def test_the_tour_sets_the_page_step_by_step(visit):
    page = visit()
    tour = page.get_by_label("Tour").first
    page.locator(".steps a").first.click()
    expect(tour).to_contain_text("1 of 4. Draw a face")
    wait_for_faces(page, CROWD, drawing.generate(*ARRIVAL), came=True)
    tour.get_by_role("link").click()
    wait_for_faces(page, CROWD, drawing.generate("Attribute GAN", 8, 9, 1.0, "", "Smiling"))
    wait_for_faces(page, LARGE, drawing.generate("Attribute GAN", 8, 9, 1.0, "", "Smiling")[2:3])
    tour.get_by_role("link").click()
    expect(page.get_by_role("tab", name="Morph")).to_have_attribute("aria-selected", "true")
    tour.get_by_role("link").click()
    wait_for_faces(page, APART, drawn(LONELY, 100))
    expect(page.locator(".sentence:visible")).to_contain_text("has collapsed")
    expect(tour.get_by_role("link")).to_have_count(0)
    page.get_by_role("button", name="End the tour").click()
    expect(tour).to_be_hidden()
    for link in page.locator(".steps a").all():  # Each is a link that can be sent.
        assert visit(link.get_attribute("href")).get_by_role("alert").count() == 0


# Generate.


def test_a_face_is_chosen_by_keys_and_shown_at_once(visit):
    page = visit()
    wait_until_drawn(page)
    page.route("**/weights/**", lambda route: route.abort())
    crowd = shown(page, CROWD)
    radios = page.locator(".crowd input")
    radios.nth(5).focus()
    for key, number in (("ArrowUp", 3), ("ArrowRight", 4), ("ArrowDown", 7), ("Home", 1), ("ArrowLeft", 9), ("End", 9)):
        page.keyboard.press(key)
        expect(radios.nth(number - 1)).to_be_checked()
        expect(radios.nth(number - 1)).to_be_focused()
        expect(page.get_by_text(f"face {number} of seed 8")).to_be_visible()
        assert (shown(page, LARGE)[0] == crowd[number - 1]).all()
    wait_for_address(page, "face=9")


def test_a_bit_is_flipped_held_and_let_go(visit):
    page = visit("?tab=generate&model=GAN&seed=0")  # Its bits have no names, so they are not folded.
    first = drawing.generate("GAN", 0, 16, 1.0)
    wait_for_faces(page, CROWD, first)
    bits = page.locator(".bits button")
    expect(bits).to_have_count(50)
    signs = [one.get_attribute("aria-pressed") == "true" for one in bits.all()]
    assert signs == [bool(bit > 0) for bit in Recipe(0, 1).latent(load("GAN"))[50:]]
    bit = bits.nth(2)
    for held in ("+-"[signs[2]], "-+"[signs[2]]):  # The other way, then as it was drawn.
        bit.click()
        expect(bit).to_have_attribute("aria-label", f"Bit 3: {'+1' if held == '+' else '−1'}, held")
        expect(bit).to_be_focused()
        line = f"..{held}{'.' * 47}"
        wait_for_faces(page, CROWD, drawing.generate("GAN", 0, 16, 1.0, line))
        page.wait_for_function("bits => new URLSearchParams(location.search).get('bits') === bits", arg=line)
    off, on = (faces[:6] for faces in drawing.flip_bit("GAN", 0, 16, 1.0, "", 3))
    difference = (3 * np.abs(on.astype(int) - off)).clip(0, 255)
    wait_until_drawn(page)
    effect = shown(page, ".effect canvas")
    assert np.abs(effect[:12] - np.concatenate([off, on])).max() <= 2 and np.abs(effect[12:] - difference).max() <= 9
    change = np.abs(on.astype(int) - off).mean()
    told = re.search(r"Bit 3 changes a pixel by ([\d.]+) grey levels", page.locator("#tab-generate").inner_text())
    assert float(told[1]) == pytest.approx(change, abs=0.1)
    bit.click()
    wait_for_faces(page, CROWD, first)
    page.wait_for_function("!location.search.includes('bits')")


def test_an_attribute_is_given_taken_and_let_go(visit):
    page = visit()
    drawn = partial(drawing.generate, *ARRIVAL, "")
    unfold(page, "More attributes")
    on, off = (page.get_by_role("button", name=f"Smiling: {side}", exact=True) for side in ("with", "without"))
    bangs = page.get_by_role("button", name="Bangs: with", exact=True)
    on.click()
    bangs.click()
    wait_for_faces(page, CROWD, drawn("Smiling, Bangs"))
    expect(on).to_have_attribute("aria-pressed", "true")
    expect(bangs, "what was opened stays open").to_be_visible()
    unfold(page, "The same faces in Python")
    expect(page.locator("#tab-generate .code")).to_contain_text('attributes={"Smiling": True, "Bangs": True}')
    off.focus()
    page.keyboard.press("Enter")
    wait_for_faces(page, CROWD, drawn("Bangs, no Smiling"))
    expect(on).to_have_attribute("aria-pressed", "false")
    expect(off).to_be_focused()
    wait_for_address(page, r"no\+Smiling")
    again = visit(page.evaluate("location.search"))
    wait_for_faces(again, CROWD, drawn("Bangs, no Smiling"))
    off.click()
    bangs.click()
    wait_for_faces(page, CROWD, drawn(""), came=True)
    page.wait_for_function("!location.search.includes('attributes')")


def test_the_line_of_attributes_is_read_as_programs_write_it(visit):
    link = {
        "tab": "generate",
        "model": "Attribute GAN",
        "attributes": 'no  mouth slightly OPEN, "Young=0.5",Beard of bees',
    }
    page = visit("?" + urlencode(link))
    values = {"Mouth_Slightly_Open": -1.0, "Young": 0.5}
    wait_for_faces(page, CROWD, drawing.generate("Attribute GAN", 0, 16, 1.0, "", labels.write(values)))
    expect(page.get_by_role("alert")).to_contain_text("knows no Beard of bees")


def test_the_code_that_is_shown_draws_the_faces_that_are_shown(visit):
    for link in (
        "?tab=generate&model=Attribute GAN&seed=4&faces=3&temperature=0.7&attributes=Smiling, no Young",
        "?tab=generate&model=GAN&seed=2&faces=2",
    ):
        page = visit(link)
        wait_until_drawn(page)
        unfold(page, "The same faces in Python")
        model = load("Attribute GAN" if "Attribute" in link else "GAN")
        faces = eval(page.locator("#tab-generate .code").inner_text(), {"model": model})
        wait_for_faces(page, CROWD, np.stack([np.asarray(face) for face in faces]))


def test_the_bits_of_a_face_are_held_with_and_without_names(visit):
    page = visit()
    unfold(page, "More attributes")
    unfold(page, "Switches without a name")
    wait_until_drawn(page)
    page.get_by_role("button", name="Hold all of").click()
    count = len(load("Attribute GAN").attributes)
    expect(page.locator(".attribute [aria-pressed=true]")).to_have_count(count)
    expect(page.locator(".bits .held")).to_have_count(50 - count)
    page.locator(".attribute [aria-pressed=true]").first.click()
    expect(page.locator(".attribute [aria-pressed=true]")).to_have_count(count - 1)
    page.get_by_role("button", name="Let all go").click()
    expect(page.locator(".attribute [aria-pressed=true]")).to_have_count(0)
    expect(page.locator(".bits .held")).to_have_count(0)


def test_a_face_is_sent_to_morph(visit):
    page = visit("?tab=generate&seed=7&temperature=0.8&face=5")
    wait_until_drawn(page)
    face = shown(page, CROWD)[4]
    page.get_by_role("button", name="Morph to this").click()
    expect(page.get_by_role("tab", name="Morph")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_label("B: seed / face")).to_have_value("7/5 temperature=0.8")
    ends = ("0/4", "7/5 temperature=0.8")
    path = drawing.interpolate("GAN", ends, (None, None), 11, "straight", "relaxed").faces
    wait_for_faces(page, STRIP, path)
    assert np.abs(path[-1] - face).max() <= 2


def saved_picture(page) -> tuple[str, Image.Image]:
    with page.expect_download() as download:
        page.get_by_role("button", name="Save picture").click()
    return download.value.suggested_filename, Image.open(download.value.path())


@pytest.mark.parametrize("link", ["", "?tab=generate&model=Attribute GAN&seed=8&attributes=Smiling, no Young"])
def test_the_picture_that_is_saved_is_the_chosen_face_with_its_recipe_and_a_name_of_its_own(visit, link):
    page = visit(link)
    wait_until_drawn(page)
    page.get_by_label("Show pixels").check()
    names = []
    for number in (1, 6):
        page.locator(".crowd input").nth(number - 1).check(force=True)
        name, image = saved_picture(page)
        names.append(name)
        assert image.format == "PNG" and image.size == (512, 512)
        assert image.info[MODEL_KEY] == "Attribute GAN"
        recipe = Recipe.parse(image.info[RECIPE_KEY])
        assert (recipe.seed, recipe.face, bool(recipe.attributes)) == (8, number, bool(link))
        face = decode("Attribute GAN", recipe.latent(load("Attribute GAN"))[None])[0].astype(int)
        # Each of its pixels as eight times eight.
        assert np.abs(np.asarray(image.convert("RGB")) - face.repeat(8, 0).repeat(8, 1)).max() <= 2
    assert len({*names}) == 2 and all(re.fullmatch(r"attribute-gan-8-[16](-\w{8})?\.png", name) for name in names)
    page.get_by_label("Show pixels").uncheck()
    smooth = np.asarray(saved_picture(page)[1].convert("RGB")).astype(int)
    assert np.abs(smooth.reshape(64, 8, 64, 8, 3).mean((1, 3)) - face).mean() < 4
    assert np.abs(np.diff(smooth, axis=1)).max() < np.abs(np.diff(face, axis=1)).max()


# Morph.


def assert_is_the_map(page, model: str, a, b, c, within: float) -> None:
    """That the map has A at the left below, B at the right below, C at the left above, and mixtures between."""
    tiles = shown(page, ".map canvas")[0]
    for row, v in enumerate((1, 0.75, 0.5, 0.25, 0)):
        line = decode(model, torch.stack([a + u * (b - a) + v * (c - a) for u in (0, 0.25, 0.5, 0.75, 1)]))
        wanted = np.concatenate([*line], axis=1)
        assert np.abs(tiles[64 * row : 64 * (row + 1)] - wanted).mean() < within


def test_the_way_is_scrubbed_and_its_pictures_are_clicked(visit):
    page = visit("?tab=interpolate&model=Plain autoencoder&a=4&b=5&c=6&steps=7")
    walk = drawing.interpolate("Plain autoencoder", ("4", "5"), (None, None), 7, "straight", "relaxed")
    wait_for_faces(page, STRIP, walk.faces)
    scrubber = page.get_by_label("From A to B", exact=True)
    for at in (0, 9, 23):
        scrubber.fill(f"{at}")
        wait_for_faces(page, MORPHED, walk.smooth_faces[at : at + 1])
    expect(scrubber).to_have_attribute("aria-valuetext", "100 % of the way to B")
    page.locator("#tab-interpolate .morph > .faces input").nth(2).check(force=True)
    wait_for_faces(page, MORPHED, walk.faces[2:3])
    expect(scrubber).to_have_value(f"{round(23 / 3)}")
    unfold(page, "Model and way")
    expect(page.get_by_text("Switches on the way")).to_be_hidden()  # The autoencoder has none.
    page.get_by_role("button", name="Another face A").click()
    wait_for_change(page, STRIP, shown(page, STRIP))
    seed = page.get_by_label("A: seed / face").input_value()
    walk = drawing.interpolate("Plain autoencoder", (seed, "5"), (None, None), 7, "straight", "relaxed")
    wait_for_faces(page, STRIP, walk.faces)


def test_a_walk_is_saved(visit):
    page = visit("?tab=interpolate&model=GAN&a=0")
    wait_until_drawn(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Save as GIF").click()
    assert download.value.suggested_filename == "gan-0-1.gif"
    walk = Image.open(download.value.path())
    smooth = drawing.interpolate("GAN", ("0", "1"), (None, None), 2, "straight", "relaxed").smooth_faces
    assert walk.n_frames == 2 * len(smooth) - 2 and walk.size == (256, 256) and walk.info["loop"] == 0
    for frame in (0, 12, len(smooth) - 1):
        walk.seek(frame)
        # A palette of 256 colours for a face.
        assert np.abs(np.asarray(walk.convert("RGB"))[::4, ::4].astype(int) - smooth[frame]).mean() < 6


def test_the_pin_wanders_over_the_map(visit):
    model = "Plain autoencoder"
    page = visit(f"?tab=interpolate&model={model}&a=4&b=5&c=6")
    wait_until_drawn(page)
    a, b, c = (Recipe(seed).latent(load(model)) for seed in (4, 5, 6))
    assert_is_the_map(page, model, a, b, c, 1)
    face = ".found > canvas"
    wait_for_faces(page, face, decode(model, (a + (b - a) / 2 + (c - a) / 2)[None]))
    plane = page.locator(".map")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    page.mouse.up()
    wait_for_faces(page, face, decode(model, b[None]))  # A corner, half a face from the edge.
    expect(plane).to_have_attribute("aria-valuetext", "100 % from A to B, 0 % from A to C")
    plane.focus()
    page.keyboard.press("Home")
    wait_for_faces(page, face, decode(model, a[None]))
    for _ in range(20):
        page.keyboard.press("ArrowUp")
    wait_for_faces(page, face, decode(model, c[None]))
    expect(plane).to_have_attribute("aria-valuetext", "0 % from A to B, 100 % from A to C")
    # A finger that scrolls the page does not end here.
    assert "pan-y" in plane.evaluate("one => getComputedStyle(one).touchAction")


# Out of distribution.


def test_a_dragged_slider_ends_on_its_last_position(visit):
    page = visit("?tab=out-of-distribution&mean=1")
    wait_until_drawn(page)
    slider = page.locator(".hero input[type=range]")
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for step in range(30):
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.45 * step / 30), y)
    page.mouse.up()
    mean = float(page.get_by_label("Push all numbers by, exactly").input_value())
    assert mean > 30
    wait_for_faces(page, f"[data-mean='{mean:g}'] {APART}", everywhere(mean))
    wait_for_address(page, f"mean={mean:g}$")


def test_the_mean_jumps_by_buttons_and_moves_by_keys(visit):
    page = visit("?models=Shifted autoencoder")
    for button, mean in {"100": 100, "−100": -100, "Back to normal": -3}.items():
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.locator(f"[data-mean='{mean}']")).to_be_visible()
    page.locator(".hero input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-mean='-2.9']")).to_be_visible()
    expect(page.locator(".sentence:visible")).to_contain_text("At −2.9")
    page.get_by_role("button", name="Compare all six").click()
    wait_for_faces(page, APART, everywhere(-2.9))
    page.get_by_role("button", name="Only the shifted autoencoder").click()
    wait_for_faces(page, APART, drawn("Shifted autoencoder", -2.9))


def test_the_slider_stays_in_sight(visit):
    page = visit("?mean=2", viewport={"width": 390, "height": 700})
    wait_for_faces(page, APART, everywhere(2))
    page.evaluate("window.scrollTo(0, document.querySelector('.model:last-child').offsetTop)")
    page.wait_for_function("scrollY > 400")
    box = page.locator(".hero input[type=range]").bounding_box()
    assert 0 <= box["y"] < 200
    # Nothing lies above it.
    on_top = "([x, y]) => document.elementFromPoint(x, y).matches('.hero input[type=range]')"
    assert page.evaluate(on_top, [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])


def test_the_chosen_face_stays_in_sight_on_a_phone(visit):
    page = visit(viewport={"width": 390, "height": 700})
    wait_until_drawn(page)
    unfold(page, "More attributes")
    page.get_by_role("button", name="Young: with", exact=True).scroll_into_view_if_needed()
    page.mouse.wheel(0, 300)
    page.wait_for_function("scrollY > 250")
    box = page.locator(LARGE).bounding_box()
    assert 0 <= box["y"] and box["y"] + box["height"] < 350 and box["width"] > 150


@pytest.mark.parametrize(
    "model, mean", [("Matched autoencoder", 100), ("Matched autoencoder", 30), ("GAN", 4), ("GAN", -100)]
)
def test_the_numbers_and_words_beside_the_faces_are_those_of_the_model(visit, model, mean):
    page = visit(f"?mean={mean}&models={model}&seed=2&faces=4")
    apart, at_prior = (pictures.diversity(drawn(model, where, 2, 4)) for where in (mean, 0))
    prior = json.loads((WEIGHTS / MODELS[model] / "config.json").read_text())
    sigmas = abs(mean) / prior.get("prior_variance", 1) ** 0.5
    numbers = page.locator(".model .numbers")
    expect(numbers).to_contain_text(f"{float(f'{sigmas:.1f}'):g} σ from normal")
    expect(numbers).to_contain_text(f"variety {apart:.0f}")
    expect(numbers).to_contain_text(f"faces detected {100 * records.face_share(model, mean):.0f} %")
    # Less than a quarter of their variety is left, or more.
    verdict = "has collapsed" if apart < at_prior / 4 else "still differ"
    expect(page.locator(".sentence:visible")).to_contain_text(verdict)


def heights(page, selector: str) -> dict[float, float]:
    """By the place of each of a line's points along its chart, its height above the axis, both in pixels on screen."""
    return dict(
        page.locator(selector).first.evaluate(
            """line => {
                const axis = line.ownerSVGElement.querySelector(".axis").getBoundingClientRect();
                const screen = line.getScreenCTM();
                return [...line.points].map((point) => point.matrixTransform(screen))
                    .map(({x, y}) => [x - axis.x, axis.y - y]);
            }"""
        )
    )


def assert_is_drawn(line: dict[float, float], values: list[float]) -> None:
    """That the points of a line lie as high above the axis as these values are large."""
    found = np.array([*line.values()])
    assert len(found) == len(values) and found.min() >= 0
    assert np.abs(found / found.max() - np.array(values) / max(values)).max() < 0.05


def test_the_curves_are_those_that_were_measured(visit):
    page = visit(f"?mean=0&models={LONELY}")
    wait_until_drawn(page)
    measured = records.measured(LONELY)
    blue = heights(page, ".model .chart .blue")
    assert_is_drawn(blue, [point["pixel_diversity"] for point in measured])
    assert_is_drawn(heights(page, ".model .chart .red"), [point["face_share"] for point in measured])
    # The mark lies where its mean was measured.
    places = dict(zip((point["mean"] for point in measured), blue))
    for mean in (-100, 0, 100):
        slide(page, "Push all numbers by", mean)
        expect(page.locator(f"[data-mean='{mean}']")).to_be_visible()
        mark = page.locator(".model .chart .mark").evaluate(
            "mark => mark.getBoundingClientRect().x - mark.ownerSVGElement.querySelector('.axis').getBoundingClientRect().x"
        )
        assert mark == pytest.approx(places[mean], abs=2)


# Training.


def test_the_epochs_of_training_are_leafed_through(visit):
    page = visit("?tab=training&model=GAN&epoch=1")
    for epoch in (1, 2):
        expect(page.get_by_text(f"After epoch {epoch} of {EPOCHS}.")).to_be_visible()
        wait_for_faces(page, "#tab-training .faces canvas", records.training("GAN", epoch), came=True)
        page.locator("#tab-training input[type=range]").focus()
        page.keyboard.press("ArrowRight")
    assert np.abs(records.training("GAN", 1).astype(int) - records.training("GAN", 2)).mean() > 8
    losses = json.loads((WEIGHTS / "gan/training.json").read_text())["losses"]
    most = np.quantile([value for name, values in losses.items() if name != "step" for value in values], 0.99)
    names = [name for name in losses if name != "step"]
    for colour, name in zip(("blue", "red"), names):
        found = np.array([*heights(page, f".training .chart .{colour}").values()])
        assert np.corrcoef(found, np.minimum(losses[name], most))[0, 1] > 0.99
    unfold(page, "How it was trained")
    expect(page.locator("#tab-training .code")).to_contain_text("python -m train.gan")


def test_training_plays_once_from_its_beginning_and_to_the_end_of_the_model_that_is_shown(visit):
    page = visit("?tab=training", reduced_motion="no-preference")
    page.wait_for_function("latentFaces.tab('training').settings.epoch === 3", polling=10)
    epochs = {name: records.history(name).epochs for name in MODELS}
    expect(page.get_by_text(f"After epoch {epochs['GAN']} of {epochs['GAN']}.")).to_be_visible()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    name, most = max(epochs.items(), key=lambda item: item[1])
    assert most > epochs["GAN"]
    page.get_by_role("button", name="Play").click()
    page.get_by_label("Model").locator("visible=true").select_option(name)
    page.wait_for_function(f"latentFaces.tab('training').settings.epoch === {epochs['GAN'] + 2}", polling=10)
    slide(page, "Epoch", most - 1)
    expect(page.get_by_text(f"After epoch {most} of {most}.")).to_be_visible()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    still = visit("?tab=training")
    still.wait_for_timeout(700)
    expect(still.get_by_text("After epoch 1 of")).to_be_visible()


# Everybody.


def test_the_pixels_are_a_click_away(visit):
    page = visit()
    rendering = "getComputedStyle(document.querySelector('.faces canvas')).imageRendering"
    assert page.evaluate(rendering) == "auto"
    page.get_by_label("Show pixels").check()
    page.wait_for_function(f"{rendering} === 'pixelated'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 768])
def test_a_small_screen_shows_every_tab_without_scrolling_sideways(visit, width, scheme):
    page = visit(viewport={"width": width, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True)
    for tab in TABS:
        open_tab(page, tab)
        wait_until_drawn(page)
        expect(page.locator("canvas:visible").first).to_be_visible()
        page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
    background = page.locator(".latent-faces").evaluate("one => getComputedStyle(one).backgroundColor")
    red = int(background.partition("(")[2].split(",")[0])
    assert red < 60 if scheme == "dark" else red > 200


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(visit, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = visit(color_scheme=scheme)
    for tab in TABS:
        open_tab(page, tab)
        wait_until_drawn(page)
        page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
        wait_until_drawn(page)
        found = axe.Axe().run(page).response["violations"]
        assert [(one["id"], one["nodes"][0]["html"][:200]) for one in found] == [], tab


def test_tabs_are_turned_by_keys(visit):
    page = visit()
    page.get_by_role("tab", name=TABS[0]).focus()
    ways = [(after, "ArrowRight") for after in [*TABS[1:], TABS[0]]] + [(TABS[-1], "End"), (TABS[0], "Home")]
    for after, key in ways:
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=after)).to_be_focused()
        expect(page.locator("[role=tab][aria-selected=true]")).to_have_text(after)
        expect(page.locator("[role=tabpanel]:visible")).to_have_count(1)


def test_few_stops_of_the_tab_key_lead_through_generate(visit):
    page = visit("?tab=generate&model=GAN&seed=1")
    wait_until_drawn(page)
    stops = """() => [...document.querySelectorAll("a, button, input, select, summary, [tabindex]")]
        .filter((one) => one.checkVisibility() && one.tabIndex >= 0 && (one.type !== "radio" || one.checked)).length"""
    assert page.locator(".bits button").count() == 50 and page.evaluate(stops) < 25
    bits = page.locator(".bits button")
    bits.first.focus()
    for key, index in (("ArrowRight", 1), ("End", 49), ("ArrowRight", 0), ("ArrowLeft", 49), ("Home", 0)):
        page.keyboard.press(key)
        expect(bits.nth(index)).to_be_focused()
    page.goto(page.url.partition("?")[0])
    page.wait_for_function("window.latentFaces?.opened")
    wait_until_drawn(page)
    assert page.evaluate(stops) < 25


def test_who_wants_less_motion_sees_a_still_walk(visit):
    page = visit("?tab=interpolate")
    wait_until_drawn(page)
    still = shown(page, MORPHED)
    page.wait_for_timeout(500)
    assert (shown(page, MORPHED) == still).all()
    page.locator("#tab-interpolate").get_by_role("button", name="Play").click()
    wait_for_change(page, MORPHED, still)
    page.locator("#tab-interpolate").get_by_role("button", name="Pause").click()
    moving = visit("?tab=interpolate", reduced_motion="no-preference")
    expect(moving.locator("#tab-interpolate").get_by_role("button", name="Pause")).to_be_visible()


def test_the_head_says_what_the_page_is(visit, url):
    page = visit()
    told = {
        meta.get_attribute("property") or meta.get_attribute("name"): meta.get_attribute("content")
        for meta in page.locator("head meta[content]").all()
    }
    assert 50 < len(told["description"]) < 200 and told["og:title"] == "Latent Faces"
    for address in (told["og:image"], page.locator("link[rel=icon]").get_attribute("href")):
        response = page.request.get(url + address.removeprefix(url))
        image = Image.open(io.BytesIO(response.body()))
        assert image.width >= 64
    unfold(page, "About")
    foot = page.locator("footer")
    for caveat in ("Nobody in these pictures exists", "Attributes are opinions"):
        expect(foot.get_by_text(caveat)).to_be_visible()
    for name in MODELS:
        expect(foot.locator("#origins")).to_contain_text(name)


# Strangers.


@pytest.fixture(scope="module")
def url_of_strangers_models(tmp_path_factory):
    """The address of a page whose models came with markup in all that is told of them."""
    models = models_with_markup(tmp_path_factory.mktemp("history"))
    remembered = (site.page, site.tabs)
    with pytest.MonkeyPatch.context() as patch:
        for function in remembered:
            function.cache_clear()
        for module in (catalog, site, app):
            if hasattr(module, "load_all"):
                patch.setattr(module, "load_all", lambda: models)
        page = app.build()
        _, url, _ = app.launch(page, prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        yield url
        page.close()
    for function in remembered:
        function.cache_clear()


def assert_is_only_text(page) -> None:
    """That no planted tag is on the page, no planted script has run, and nothing foreign was asked for."""
    assert page.locator(".planted").count() == 0
    assert page.evaluate("window.planted") is None
    assert not [complaint for complaint in page.complaints if "elsewhere" in complaint or "template" in complaint]


def test_what_a_hub_says_is_shown_as_text(visit, url_of_strangers_models):
    page = visit("?tab=training&model=GAN&epoch=3", at=url_of_strangers_models)
    expect(page.get_by_text(f"After epoch 3 of {EPOCHS}.")).to_be_visible()
    unfold(page, "How it was trained")
    expect(page.locator("#tab-training .code")).to_contain_text("<img class=planted")
    expect(page.locator(".key.blue:visible")).to_contain_text("0<img class=planted")
    unfold(page, "About")
    foot = page.locator("#origins")
    expect(foot).to_contain_text("GAN (<img class=planted")
    assert len(foot.inner_text()) < 300 * len(MODELS)
    for tab in TABS:
        open_tab(page, tab)
        wait_until_drawn(page)
        assert_is_only_text(page)


def test_what_a_strangers_attributes_are_called_is_shown_as_text(visit, url_of_strangers_models):
    phone = {"width": 360, "height": 800}
    page = visit("?tab=generate&model=Attribute GAN", at=url_of_strangers_models, viewport=phone)
    wait_until_drawn(page)
    unfold(page, "More attributes")
    assert page.locator(".attribute").count() > 30
    plus = page.locator(".attribute button:last-child")
    for number in range(8):
        plus.nth(number).click()
        expect(page.locator(".attribute button:last-child[aria-pressed=true]")).to_have_count(number + 1)
    wait_until_drawn(page)
    assert page.get_by_role("alert").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert_is_only_text(page)
    wait_for_address(page, "attributes=")
    page.wait_for_timeout(300)
    again = visit(page.evaluate("location.search"), at=url_of_strangers_models, viewport=phone)
    expect(again.locator(".attribute button:last-child[aria-pressed=true]")).to_have_count(8)
    assert_is_only_text(again)


def test_what_a_link_says_is_shown_as_text(visit):
    text = MARKUP.replace("\ud800", "")
    names = ("model", "seed", "faces", "bits", "face")
    page = visit("?" + urlencode({"tab": "generate", **dict.fromkeys(names, text)}))
    for name in ("model", "seed", "faces", "face"):
        expect(page.get_by_text(f"The link's {name} cannot be")).to_contain_text("<img class=planted")
    wait_until_drawn(page)
    assert_is_only_text(page)
    link = f"<img class=planted src={FOREIGN} onerror=planted=1>"
    page = visit(
        "?" + urlencode({"tab": "interpolate", "a": link, "b": f"![a]({FOREIGN}/c.png)", "steps": "${planted=1}"})
    )
    expect(page.get_by_role("alert").filter(has_text="is no face").first).to_contain_text("<img class=planted")
    assert_is_only_text(page)


def test_after_a_moment_offline_the_page_draws_again_by_itself(visit):
    page = visit("?tab=generate&model=GAN&seed=0", service_workers="block")
    wait_for_faces(page, CROWD, drawing.generate("GAN", 0, 16, 1.0))
    page.context.set_offline(True)
    unfold(page, "Model, seed, how many")
    page.get_by_label("Model").locator("visible=true").select_option("Plain autoencoder")
    expect(page.get_by_role("alert")).to_be_visible(timeout=120_000)
    page.context.set_offline(False)
    wait_for_faces(page, CROWD, drawing.generate("Plain autoencoder", 0, 16, 1.0))
    expect(page.get_by_role("alert")).to_have_count(0)


# Where Spaces are shown.
HUB = "https://huggingface.co"

FRAME = """<script>onmessage = (event) => (window.heard ??= []).push([event.origin, event.data]);</script>
<iframe src="{}" width="1000" height="800"></iframe>"""


def test_on_a_space_the_outer_address_follows(chromium, url):
    context = chromium.new_context(permissions=["local-network-access"])
    page = context.new_page()
    inner = f"{url}?logs=build&tab=generate&seed=5&__theme=dark&__sign=secret#part"
    page.route(f"{HUB}/**", lambda route: route.fulfill(body=FRAME.format(inner), content_type="text/html"))
    page.goto(f"{HUB}/spaces/somebody/latent-faces")
    frame = next(frame for frame in page.frames if frame.url.startswith(url))
    frame.wait_for_function("window.latentFaces?.opened")
    frame.get_by_text("Model, seed, how many").locator("visible=true").click()
    box = frame.get_by_label("Temperature, exactly")
    box.fill("0.5")
    box.press("Enter")
    frame.wait_for_function("location.search.includes('temperature=0.5')")
    said = dict(parse_qsl(frame.evaluate("location.search.slice(1)")))
    wanted = {"logs": "build", "tab": "generate", "seed": "5", "temperature": "0.5", "__theme": "dark"}
    assert said == {**wanted, "__sign": "secret"} and frame.evaluate("location.hash") == "#part"
    page.wait_for_function("window.heard?.some(([, data]) => data.queryString?.includes('temperature=0.5'))")
    sender, message = page.evaluate("heard.findLast(([, data]) => data.queryString)")
    assert url.startswith(sender)
    assert dict(parse_qsl(message["queryString"])) == wanted and message["hash"] == "#part"
    context.close()


def test_nobody_elses_page_frames_it(chromium, url):
    context = chromium.new_context(permissions=["local-network-access"])
    page = context.new_page()
    page.route(f"{FOREIGN}/**", lambda route: route.fulfill(body=FRAME.format(url), content_type="text/html"))
    with page.expect_console_message(lambda message: "frame-ancestors" in message.text):
        page.goto(f"{FOREIGN}/")
    assert not any(frame.url.startswith(url) for frame in page.frames)
    context.close()


def test_unframed_the_page_sends_no_message(visit):
    page = visit("?theirs=1&tab=generate&seed=5")
    page.evaluate("window.heard = []; addEventListener('message', (event) => heard.push(event.data))")
    wait_until_drawn(page)
    page.get_by_role("button", name="Another").click()
    wait_for_address(page, r"seed=(?!5(&|$))\d")
    assert query(page)["theirs"] == "1"
    assert not page.evaluate("heard.some((data) => data.queryString)")
