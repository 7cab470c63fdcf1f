"""The page as a visitor has it: in a real browser, by mouse, keyboard and link."""

import json
import re
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pytest
import torch
from PIL import Image

from page import catalog, drawing, pictures, recipe, records, site
from page.catalog import MODELS
from page.networks import decode, load
from page.recipe import Recipe
from tests.conftest import WEIGHTS
from tests.in_browser import shown, static_page, visiting, wait_until, wait_until_drawn
from tests.markup import FOREIGN, MARKUP, models_with_markup

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect

TABS = ["Generate", "Your photo", "Morph", "Out of distribution", "Training"]
CROWD, LARGE = "#tab-generate .crowd canvas", "#tab-generate .portrait canvas"
STRIP, MORPHED = "#tab-interpolate .morph > .faces canvas", "#tab-interpolate .portrait canvas"
APART, EPOCH = ".model .faces canvas", "#tab-training .faces canvas"

# What is on the first screen: chosen by looking at it.
ARRIVAL = ("Attribute GAN", 0, 9, 1.0)
MORPH = ("Perceptual autoencoder", ("0/12", "0/21", "0/25"))
LONELY = "Matched autoencoder"

# A script, in a link.
LINKED = f"<img class=planted src={FOREIGN} onerror=planted=1>"

# Shows what a link says, as Back and Forward do; all else is as it is for who arrives.
FOLLOW = """(link) => {
    const page = latentFaces;
    for (const tab of page.tabs) {
        tab.take(Object.fromEntries(tab.controls.map(({ name, value, first }) => [name, first ?? value])));
    }
    page.tour.end();
    document.querySelectorAll("details").forEach((one) => (one.open = false));
    page.element.classList.remove("pixelated");
    document.querySelector(".foot input").checked = false;
    document.activeElement.blur();
    scrollTo(0, 0);
    history.pushState(null, "", location.pathname + link);
    dispatchEvent(new PopStateEvent("popstate"));
}"""


@pytest.fixture(scope="module")
def arrive(chromium, url):
    """A function that opens the page in a browser that knows nothing of it; nothing moves unless the options say so."""
    with ExitStack() as stack:

        def open_page(link: str = "", at: str = url, prepare=lambda page: None, **options):
            page = stack.enter_context(
                visiting(chromium, at + link, prepare, **{"reduced_motion": "reduce", **options})
            )
            page.wait_for_function("window.latentFaces?.opened")
            return page

        yield open_page


def stop_the_clock(page) -> None:
    page.clock.install()


@pytest.fixture(scope="module")
def opened(arrive):
    return arrive(permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture
def visit(opened):
    """A function that shows what a link says, on a page that stays open, since its networks take a while to load."""

    def follow(link: str = ""):
        opened.complaints.clear()
        opened.evaluate(FOLLOW, link)
        wait_until_drawn(opened)
        return opened

    yield follow
    opened.set_viewport_size({"width": 1280, "height": 720})
    assert opened.complaints == []


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True).locator("visible=true")


def open_tab(page, name: str) -> None:
    page.get_by_role("tab", name=name).click()
    expect_tab(page, name)


def expect_tab(page, name: str) -> None:
    expect(page.get_by_role("tab", name=name)).to_have_attribute("aria-selected", "true")


def unfold_all(page) -> None:
    page.evaluate("document.querySelectorAll('details').forEach((one) => (one.open = true))")
    wait_until_drawn(page)


def wait_for_address(page, pattern: str) -> None:
    page.wait_for_function("pattern => new RegExp(pattern).test(location.search)", arg=pattern)


def wait_for_faces(page, selector: str, wanted: np.ndarray, came: bool = False) -> None:
    """Until the pictures are these, (n, height, width, 3). Those that `came` as files are slightly compressed."""

    def are_there() -> bool:
        now = shown(page, selector)
        if now.shape != wanted.shape:
            return False
        apart = np.abs(now - wanted)
        return apart.mean() < 5 if came else apart.max() <= 2

    wait_until(page, are_there)


def drawn(model: str, mean: float, seed: int = 0, count: int = 6) -> np.ndarray:
    return decode(model, load(model).sample_latent(count, seed=seed, mean=mean))


def everywhere(mean: float, seed: int = 0) -> np.ndarray:
    """Every model's faces at a mean."""
    return np.concatenate([drawn(name, mean, seed) for name in MODELS])


def walk(model: str, a: str, b: str, steps: int = 11, way: str = "straight"):
    return drawing.interpolate(model, (a, b), (None, None), steps, way, "relaxed")


def slide(page, label: str, value: float) -> None:
    """Write a value into the box of a slider."""
    page.get_by_label(f"{label}, exactly").locator("visible=true").evaluate(
        "(box, value) => { box.value = value; box.dispatchEvent(new Event('change')); }", f"{value:g}"
    )


def unfold(page, summary: str) -> None:
    page.locator("summary:visible").get_by_text(summary).click()


# Arriving.


def test_a_face_is_there_before_any_script(chromium, url):
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.route("**/*.js", lambda route: route.abort())
    page.goto(url)
    expect(page.get_by_role("alert")).to_contain_text("The page could not be loaded.")
    for image in page.locator("img[data-model]").all():
        assert image.evaluate("one => one.decode().then(() => one.naturalWidth)") >= 64
        box = image.bounding_box()
        assert box["width"] == pytest.approx(box["height"], rel=0.02) and 150 < box["width"] < 380
    box = page.locator("img.first").bounding_box()
    assert box["y"] + box["height"] < 844
    wanted = drawing.generate(*ARRIVAL)
    first = WEIGHTS.parent / "page/front/first"
    living, crowd = (np.asarray(Image.open(first / f"{name}.webp").convert("RGB")) for name in ("living", "faces"))
    assert np.abs(living[:64].astype(int) - wanted[2]).mean() < 5
    rows = [np.concatenate([*wanted[at : at + 3]], axis=1) for at in (0, 3, 6)]
    assert np.abs(crowd.astype(int) - np.concatenate(rows)).mean() < 5
    page.close()


# Notes frame by frame whether the large face is there.
WATCH = """window.seen = [];
const look = () => {
    const face = document.querySelector(".portrait canvas");
    if (face) seen.push(face.getContext("2d").getImageData(32, 32, 1, 1).data[3] > 0);
    requestAnimationFrame(look);
};
look();"""


def test_files_alone_are_a_page_whose_networks_come_when_they_are_wanted(arrive, tmp_path):
    with static_page(tmp_path) as at:
        page = arrive(at=at, prepare=lambda page: page.add_init_script(WATCH), viewport={"width": 1280, "height": 800})
        wanted = drawing.generate(*ARRIVAL)
        wait_for_faces(page, CROWD, wanted, came=True)
        wait_for_faces(page, LARGE, wanted[2:3], came=True)
        page.wait_for_timeout(500)
        assert page.evaluate("seen.length > 5 && seen.every(Boolean)")
        assert [name.strip() for name in page.get_by_role("tab").all_inner_texts()] == TABS
        switches = page.locator(".attribute:visible bdi").all_inner_texts()
        assert switches == ["Smiling", "Eyeglasses", "Blond hair", "Wearing hat", "Male", "Young"]
        for folded in ("More attributes", "Switches without a name", "Model, seed, how many"):
            assert page.locator("details", has_text=folded).last.get_attribute("open") is None
        assert not [address for address in page.asked if "/weights/" in address or "wasm" in address]
        button(page, "Another").hover()
        with page.expect_request("**/weights/attribute-gan/**"):
            pass
        assert not [address for address in page.asked if "/weights/" in address and "attribute-gan" not in address]

        page.route("**/weights/**", lambda route: route.abort())
        open_tab(page, "Morph")
        model, recipes = MORPH
        wait_for_faces(page, STRIP, walk(model, *recipes[:2]).faces, came=True)
        a, b, c = (Recipe.parse(recipe).latent(load(model)) for recipe in recipes)
        wait_for_faces(page, ".end canvas", decode(model, torch.stack([a, b, c])), came=True)
        wait_for_faces(page, ".found > canvas", decode(model, ((b + c) / 2)[None]), came=True)
        assert_is_the_map(page, model, a, b, c, 5)
        for tab, selector, faces in (
            ("Your photo", ".uncover canvas", decode(model, torch.stack([a, a]))),
            ("Out of distribution", APART, drawn(LONELY, 0)),
            ("Training", EPOCH, records.training("GAN", 1)),
        ):
            open_tab(page, tab)
            wait_for_faces(page, selector, faces, came=True)
        assert page.get_by_role("alert").count() == 0

        page.unroute_all()
        open_tab(page, "Generate")
        button(page, "Another").click()
        wait_for_address(page, "seed=")
        seed = page.evaluate("latentFaces.opened.settings.seed")
        wait_for_faces(page, CROWD, drawing.generate("Attribute GAN", seed, 9, 1.0))
        assert all(address.startswith((at, "blob:", "data:")) for address in page.asked)


def test_what_moves_comes_to_rest_and_nothing_moves_for_who_wants_less(arrive, visit):
    page = arrive(reduced_motion="no-preference", prepare=stop_the_clock)
    face = drawing.generate(*ARRIVAL)[2:3]
    wait_for_faces(page, LARGE, face, came=True)
    page.wait_for_function("latentFaces.tab('generate').large.isPlaying")
    film = np.array(page.evaluate("[...latentFaces.tab('generate').large.pixels]")).reshape(-1, 64, 64, 4)[..., :3]
    # It moves, and stays the same face.
    apart = np.abs(film - face).mean((1, 2, 3))
    assert apart[0] < 5 < apart.max() < 40
    page.clock.run_for(5000)
    assert not page.evaluate("latentFaces.tab('generate').large.isPlaying")
    wait_for_faces(page, LARGE, face, came=True)
    open_tab(page, "Morph")
    expect(button(page, "Pause")).to_be_visible()

    page = visit()
    page.wait_for_timeout(600)
    assert not page.evaluate("latentFaces.tab('generate').large.isPlaying")
    page = visit("?tab=interpolate")
    still = shown(page, MORPHED)
    page.wait_for_timeout(200)
    assert (shown(page, MORPHED) == still).all()
    button(page, "Play").click()
    wait_until(page, lambda: (shown(page, MORPHED) != still).any())
    button(page, "Pause").click()
    page = visit("?tab=training")
    page.wait_for_timeout(300)
    expect(page.get_by_text("After epoch 1 of")).to_be_visible()


def test_another_and_the_space_bar_draw_other_faces_and_the_address_leads_back_to_them(arrive, visit):
    page = visit()
    seeds = {0}
    for act in (button(page, "Another").click, lambda: page.keyboard.press("Space")):
        act()
        page.wait_for_function("seeds => !seeds.includes(latentFaces.opened.settings.seed)", arg=[*seeds])
        seed = page.evaluate("latentFaces.opened.settings.seed")
        wait_for_address(page, f"seed={seed}")
        seeds.add(seed)
        wanted = drawing.generate("Attribute GAN", seed, 9, 1.0)
        wait_for_faces(page, CROWD, wanted)
        wait_for_faces(page, LARGE, wanted[2:3])
        page.locator("h1").click()  # The focus is nowhere.
    again = arrive(page.evaluate("location.search"))
    wait_for_faces(again, CROWD, wanted)
    page.locator("summary:visible").first.focus()
    page.keyboard.press("Space")  # It is the summary's here.
    page.wait_for_timeout(100)
    assert page.evaluate("latentFaces.opened.settings.seed") == seed


# Links.


@pytest.mark.parametrize(
    "link, selector, wanted",
    [
        (
            "?tab=generate&model=Matched autoencoder&seed=5&faces=4&temperature=0.5",
            CROWD,
            lambda: drawing.generate("Matched autoencoder", 5, 4, 0.5),
        ),
        ("?tab=out-of-distribution&mean=-40&models=GAN&faces=5", APART, lambda: drawn("GAN", -40, 0, 5)),
        # What old links leave out is as it was, whatever is shown first today.
        (
            "?tab=interpolate&a=3/2&b=4&steps=5&way=spherical",
            STRIP,
            lambda: walk("GAN", "3/2", "4", 5, "spherical").faces,
        ),
        ("?tab=generate&seed=3", CROWD, lambda: drawing.generate("GAN", 3, 16, 1.0)),
        ("?mean=2", APART, lambda: everywhere(2)),  # Without a tab, it is the one with such a setting.
        (
            '?tab=generate&model=Attribute GAN&attributes=no  mouth slightly OPEN, "Young=0.5"',
            CROWD,
            lambda: drawing.generate("Attribute GAN", 0, 16, 1.0, "", "no Mouth_Slightly_Open, Young=0.5"),
        ),
    ],
)
def test_a_link_shows_what_it_says(visit, link, selector, wanted):
    page = visit(link)
    wait_for_faces(page, selector, wanted())
    assert page.get_by_role("alert").count() == 0
    if "Matched" in link:
        expect(page.get_by_text("Switches without a name")).to_be_hidden()
        expect(page.get_by_text("Give every face")).to_be_hidden()
    if "mouth" in link:  # Its switch is folded where no link sets it.
        expect(button(page, "Mouth slightly open: with")).to_have_attribute("aria-pressed", "false")


@pytest.mark.parametrize(
    "link, words, left",
    [
        ("?tab=nowhere", None, {"model": "Attribute GAN"}),
        ("?seed=-1", "seed cannot be -1", {"seed": 0}),
        ("?tab=generate&model=VAE", 'model cannot be "VAE"', {"model": "Attribute GAN"}),
        ("?tab=generate&bits=xyz&seed=8e99", "seed cannot be 8e+99", {"seed": 0, "bits": ""}),
        ("?bits=xyz", 'bits cannot be "xyz": write +, - or .', {"bits": ""}),
        ("?mean=1e99", "The link's mean cannot be 1e+99: choose a number from -100 to 100.", {"mean": 0}),
        ("?tab=interpolate&a=nobody", '"nobody" is no face', {"a": "0/12"}),
        ("?tab=interpolate&model=GAN&a=7 bits=%2B", 'The bits cannot be "+": write +, - or . for each of the 50', {}),
        ("?tab=interpolate&model=Attribute GAN&a=7 attributes=Beard", "The attribute GAN knows no Beard.", {"a": "0"}),
        ("?" + urlencode({"tab": "interpolate", "a": LINKED}), '"<img class=planted', {"a": "0/12"}),
        ("?" + urlencode({"tab": "generate", "model": LINKED}), "The link's model cannot be \"<img class=planted", {}),
        ("?tab=generate&model=Attribute GAN&attributes=Beard of bees", "knows no Beard of bees", {}),
    ],
)
def test_what_a_link_asks_for_in_vain_is_said_once_and_left(visit, link, words, left):
    page = visit(link)
    complaint = page.get_by_role("alert")
    if words:
        expect(complaint.first).to_contain_text(words)
    assert_is_only_text(page)
    expect(page.locator("canvas:visible").first).to_be_visible()
    assert page.evaluate("latentFaces.opened.settings").items() >= left.items()
    page.evaluate("latentFaces.opened.set({ attributes: '' })")
    expect(complaint).to_have_count(0)


def test_tabs_are_steps_of_the_history_and_values_are_not(visit):
    page = visit("?tab=generate&seed=1")
    open_tab(page, "Out of distribution")
    for mean in (3, 4):
        slide(page, "Mean of the numbers", mean)
        wait_for_address(page, f"mean={mean}")
    open_tab(page, "Training")
    for tab, address in (("Out of distribution", "mean=4"), ("Generate", "seed=1")):
        page.go_back()
        expect_tab(page, tab)
        wait_for_address(page, address)
    wait_for_faces(page, CROWD, drawing.generate("GAN", 1, 16, 1.0))
    page.go_forward()
    wait_for_faces(page, APART, drawn(LONELY, 4))


def test_the_link_that_is_copied_leads_to_what_is_shown(visit):
    page = visit("?theirs=1")
    button(page, "Eyeglasses: with").click()
    button(page, "Copy link").click()
    expect(button(page, "Link copied")).to_be_visible()
    page = visit("?" + page.evaluate("navigator.clipboard.readText()").partition("?")[2])
    wait_for_faces(page, CROWD, drawing.generate("Attribute GAN", 0, 9, 1.0, "", "Eyeglasses"))


def test_the_tour_sets_the_page_step_by_step(visit):
    page = visit()
    links = [link.get_attribute("href") for link in page.locator(".steps a").all()]
    tour = page.get_by_label("Tour").first
    page.locator(".steps a").first.click()
    expect(tour).to_contain_text("1 of 4. Draw a face")
    wait_for_faces(page, CROWD, drawing.generate(*ARRIVAL), came=True)
    tour.get_by_role("link").click()
    smiling = drawing.generate("Attribute GAN", 0, 9, 1.0, "", "Smiling")
    wait_for_faces(page, CROWD, smiling)
    wait_for_faces(page, LARGE, smiling[4:5])
    tour.get_by_role("link").click()
    expect_tab(page, "Morph")
    tour.get_by_role("link").click()
    wait_for_faces(page, APART, drawn(LONELY, 100))
    expect(page.locator(".model .numbers")).to_contain_text("has collapsed")
    expect(tour.get_by_role("link")).to_have_count(0)
    page.get_by_role("button", name="End the tour").click()
    expect(tour).to_be_hidden()
    for link in links:  # Each is a link that can be sent.
        assert visit(link).get_by_role("alert").count() == 0


# Generate.


def test_a_face_is_chosen_by_keys_and_shown_at_once(visit):
    page = visit()
    page.evaluate("latentFaces.decoder.decode = null")  # Nothing is decoded for it.
    crowd = shown(page, CROWD)
    radios = page.locator(".crowd input")
    radios.nth(5).focus()
    for key, number in (("ArrowUp", 3), ("ArrowRight", 4), ("ArrowDown", 7), ("Home", 1), ("ArrowLeft", 9), ("End", 9)):
        page.keyboard.press(key)
        expect(radios.nth(number - 1)).to_be_checked()
        expect(radios.nth(number - 1)).to_be_focused()
        expect(page.get_by_text(f"face {number} of seed 0")).to_be_visible()
        assert (shown(page, LARGE)[0] == crowd[number - 1]).all()
    wait_for_address(page, "face=9")
    page.keyboard.press("Alt+ArrowRight")  # It is the browser's.
    expect(radios.nth(8)).to_be_checked()
    page.evaluate("delete latentFaces.decoder.decode")


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
    change = np.abs(on.astype(int) - off)
    wait_until_drawn(page)
    effect = shown(page, ".effect canvas")
    assert np.abs(effect[:12] - np.concatenate([off, on])).max() <= 2
    assert np.abs(effect[12:] - (3 * change).clip(0, 255)).max() <= 9
    told = re.search(r"Bit 3 changes a pixel by ([\d.]+) grey levels", page.locator("#tab-generate").inner_text())
    assert float(told[1]) == pytest.approx(change.mean(), abs=0.1)
    bit.click()
    wait_for_faces(page, CROWD, first)
    page.wait_for_function("!location.search.includes('bits')")


def test_an_attribute_is_given_taken_and_let_go(visit):
    page = visit()
    drawn = partial(drawing.generate, *ARRIVAL, "")
    unfold(page, "More attributes")
    on, off, bangs = (button(page, name) for name in ("Smiling: with", "Smiling: without", "Bangs: with"))
    on.click()
    bangs.click()
    wait_for_faces(page, CROWD, drawn("Smiling, Bangs"))
    expect(on).to_have_attribute("aria-pressed", "true")
    expect(bangs, "what was opened stays open").to_be_visible()
    off.focus()
    page.keyboard.press("Enter")
    wait_for_faces(page, CROWD, drawn("Bangs, no Smiling"))
    expect(on).to_have_attribute("aria-pressed", "false")
    expect(off).to_be_focused()
    wait_for_address(page, r"no\+Smiling")
    off.click()
    bangs.click()
    wait_for_faces(page, CROWD, drawn(""), came=True)
    page.wait_for_function("!location.search.includes('attributes')")


@pytest.mark.parametrize("bits", ["", "&bits=" + "%2B-.." * 12 + "%2B-"])
def test_the_code_that_is_shown_draws_the_faces_that_are_shown(visit, bits):
    link = "?tab=generate&model=Attribute GAN&seed=4&faces=3&temperature=0.7&attributes=Smiling, no Young"
    page = visit(link + bits)
    unfold(page, "The same faces in Python")
    *lines, last = page.locator("#tab-generate .code").inner_text().replace("latent_faces", "models").splitlines()
    known: dict = {}
    exec("\n".join(lines), known)  # noqa: S102
    wait_for_faces(page, CROWD, np.stack([np.asarray(face) for face in eval(last, known)]))


def test_the_bits_of_a_face_are_held_with_and_without_names(visit):
    page = visit()
    unfold_all(page)
    button(page, "Hold all of the chosen face").click()
    count = len(load("Attribute GAN").attributes)
    named, others = page.locator(".attribute [aria-pressed=true]"), page.locator(".bits .held")
    expect(named).to_have_count(count)
    expect(others).to_have_count(50 - count)
    held = "".join("+-"[bit < 0] for bit in Recipe(0, 3).latent(load("Attribute GAN"))[50:])
    page.wait_for_function("bits => new URLSearchParams(location.search).get('bits') === bits", arg=held)
    named.first.click()
    expect(named).to_have_count(count - 1)
    button(page, "Release all").click()
    expect(named).to_have_count(0)
    expect(others).to_have_count(0)


def test_the_chosen_face_is_moved_along_its_models_main_directions(visit):
    page = visit("?tab=generate&model=Matched autoencoder&seed=3&faces=4&face=2&direction.1=-2.5")
    label = site.names_of_directions("Matched autoencoder")[1]
    page.get_by_label(label, exact=True).fill("1.5")
    wait_for_address(page, "direction.2=1.5")
    network = load("Matched autoencoder")
    z, directions = network.sample_latent(4, seed=3), network.main_directions(2)
    wait_for_faces(page, LARGE, decode("Matched autoencoder", z[1:2] - 2.5 * directions[0] + 1.5 * directions[1]))
    wait_for_faces(page, CROWD, decode("Matched autoencoder", z))
    morph = page.get_by_role("button", name="Morph from this")
    expect(morph).to_be_disabled()  # A recipe cannot say this face.
    assert recipe.RECIPE_KEY not in saved_picture(page)[1].info
    page.locator("#tab-generate").get_by_label("Model").select_option("GAN")  # It has other directions.
    expect(morph).to_be_enabled()
    page.wait_for_function("!location.search.includes('direction')")


def test_a_face_is_sent_to_morph(visit):
    page = visit("?tab=generate&seed=7&temperature=0.8&face=5")
    face = shown(page, CROWD)[4]
    button(page, "Morph to this").click()
    expect_tab(page, "Morph")
    expect(page.get_by_label("B: seed / face")).to_have_value("7/5 temperature=0.8")
    path = walk("GAN", MORPH[1][0], "7/5 temperature=0.8").faces
    wait_for_faces(page, STRIP, path)
    assert np.abs(path[-1] - face).max() <= 2


def saved_picture(page) -> tuple[str, Image.Image]:
    with page.expect_download() as download:
        button(page, "Save picture").click()
    return download.value.suggested_filename, Image.open(download.value.path())


@pytest.mark.parametrize("link", ["", "?tab=generate&model=Attribute GAN&seed=0&attributes=Smiling, no Young"])
def test_the_picture_that_is_saved_is_the_chosen_face_with_its_recipe_and_a_name_of_its_own(visit, link):
    page = visit(link)
    rendering = "getComputedStyle(document.querySelector('.faces canvas')).imageRendering"
    assert page.evaluate(rendering) == "auto"
    page.get_by_label("Show pixels").check()
    assert page.evaluate(rendering) == "pixelated"
    names = []
    for number in (1, 6):
        page.locator(".crowd input").nth(number - 1).check(force=True)
        name, image = saved_picture(page)
        names.append(name)
        assert image.format == "PNG" and image.size == (512, 512)
        assert image.info[recipe.MODEL_KEY] == "Attribute GAN"
        found = Recipe.parse(image.info[recipe.RECIPE_KEY])
        assert (found.seed, found.face, bool(found.attributes)) == (0, number, bool(link))
        face = decode("Attribute GAN", found.latent(load("Attribute GAN"))[None])[0].astype(int)
        # Each of its pixels as eight times eight.
        assert np.abs(np.asarray(image.convert("RGB")) - face.repeat(8, 0).repeat(8, 1)).max() <= 2
    assert len({*names}) == 2 and all(re.fullmatch(r"attribute-gan-0-[16](-\w{8})?\.png", name) for name in names)
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


def test_the_way_is_scrubbed_and_saved_and_its_pictures_are_clicked(visit):
    page = visit("?tab=interpolate&model=Plain autoencoder&a=4&b=5&c=6&steps=7")
    way = walk("Plain autoencoder", "4", "5", 7)
    wait_for_faces(page, STRIP, way.faces)
    with page.expect_download() as download:
        button(page, "Save as GIF").click()
    assert download.value.suggested_filename == "autoencoder-4-5.gif"
    saved, count = Image.open(download.value.path()), len(way.smooth_faces)
    assert saved.n_frames == 2 * count - 2 and saved.size == (256, 256) and saved.info["loop"] == 0
    assert saved.info["duration"] == pictures.FRAME_MILLISECONDS
    for frame in (0, 12, count - 1):
        saved.seek(frame)
        # A palette of 256 colours for a face.
        assert np.abs(np.asarray(saved.convert("RGB"))[::4, ::4].astype(int) - way.smooth_faces[frame]).mean() < 6
    scrubber = page.get_by_label("From A to B", exact=True)
    for at in (0, 9, 23):
        scrubber.fill(f"{at}")
        wait_for_faces(page, MORPHED, way.smooth_faces[at : at + 1])
    expect(scrubber).to_have_attribute("aria-valuetext", "100 % of the way to B")
    page.locator("#tab-interpolate .morph > .faces input").nth(2).check(force=True)
    wait_for_faces(page, MORPHED, way.faces[2:3])
    expect(scrubber).to_have_value(f"{round(23 / 3)}")
    unfold(page, "Model and way")
    expect(page.get_by_text("Switches on the way")).to_be_hidden()  # The autoencoder has none.
    page.get_by_label("Way", exact=True).select_option("arc")
    wait_for_faces(page, STRIP, walk("Plain autoencoder", "4", "5", 7, "spherical").faces)
    button(page, "Another face A").click()
    expect(page.get_by_label("A: seed / face")).not_to_have_value("4")
    seed = page.get_by_label("A: seed / face").input_value()
    wait_for_faces(page, STRIP, walk("Plain autoencoder", seed, "5", 7, "spherical").faces)


def test_the_pin_wanders_over_the_map(visit):
    model = "Plain autoencoder"
    page = visit(f"?tab=interpolate&model={model}&a=4&b=5&c=6")
    a, b, c = (Recipe(seed).latent(load(model)) for seed in (4, 5, 6))
    assert_is_the_map(page, model, a, b, c, 1)
    face = ".found > canvas"
    plane = page.locator(".map")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    wait_for_faces(page, face, decode(model, ((b + c) / 2)[None]))
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    page.mouse.up()
    wait_for_faces(page, face, decode(model, b[None]))  # A corner, half a face from the edge.
    expect(plane).to_have_attribute("aria-valuetext", "100 % from A to B, 0 % from A to C")
    pin, corner = (page.locator(selector).bounding_box() for selector in (".pin", ".corner >> nth=1"))
    assert abs(pin["x"] - corner["x"]) < 60 and abs(pin["y"] - corner["y"]) < 60
    plane.focus()
    page.keyboard.press("Home")
    wait_for_faces(page, face, decode(model, a[None]))
    for _ in range(20):
        page.keyboard.press("ArrowUp")
    wait_for_faces(page, face, decode(model, c[None]))
    expect(plane).to_have_attribute("aria-valuetext", "0 % from A to B, 100 % from A to C")
    # A finger that scrolls the page does not end here.
    assert "pan-y" in plane.evaluate("one => getComputedStyle(one).touchAction")
    # On the map that came along, too.
    page = visit("?tab=interpolate")
    plane.focus()
    page.keyboard.press("End")
    model, (a, b, c) = MORPH[0], (Recipe.parse(recipe).latent(load(MORPH[0])) for recipe in MORPH[1])
    v = int(re.search(r", (-?\d+) %", plane.get_attribute("aria-valuetext"))[1]) / 100
    wait_for_faces(page, face, decode(model, (b + v * (c - a))[None]))


# Out of distribution.


def test_a_dragged_slider_ends_on_its_last_position_and_asks_the_server_for_no_face(visit, url):
    page = visit("?tab=out-of-distribution&mean=1")
    page.asked.clear()
    box = page.locator(".hero input[type=range]").bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for step in range(30):
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.45 * step / 30), y)
    page.mouse.up()
    mean = float(page.get_by_label("Mean of the numbers, exactly").input_value())
    assert mean > 30
    wait_for_faces(page, f"[data-mean='{mean:g}'] {APART}", everywhere(mean))
    wait_for_address(page, f"mean={mean:g}$")
    assert all(address.startswith((f"{url}front/", "blob:")) for address in page.asked)  # The scripts of more workers.
    expect(page.locator(".status")).to_have_text("Drawn in your browser")


def test_the_mean_jumps_by_buttons_and_moves_by_keys(visit):
    page = visit("?models=Shifted autoencoder")
    for name, mean in {"100": 100, "−100": -100, "Back to normal": -3}.items():
        button(page, name).click()
        expect(page.locator(f"[data-mean='{mean}']")).to_be_visible()
    page.locator(".hero input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-mean='-2.9']")).to_be_visible()
    expect(page.locator(".model .numbers")).to_contain_text("The shifted autoencoder is near what training saw")
    button(page, "Compare all 6").click()
    wait_for_faces(page, APART, everywhere(-2.9))
    button(page, "Only the shifted autoencoder").click()
    wait_for_faces(page, APART, drawn("Shifted autoencoder", -2.9))


def test_a_network_that_hangs_is_given_up_and_keeps_no_other_waiting(arrive):
    page = arrive("?tab=generate&seed=1", prepare=stop_the_clock)
    wait_for_faces(page, CROWD, drawing.generate("GAN", 1, 16, 1.0))
    asked = []
    page.route("**/weights/matched-autoencoder/**", lambda route: asked.append(route))  # It is never answered.
    unfold(page, "Model, seed, how many")
    model = page.get_by_label("Model").locator("visible=true")
    model.select_option("Matched autoencoder")
    model.select_option("Plain autoencoder")
    wait_for_faces(page, CROWD, drawing.generate("Plain autoencoder", 1, 16, 1.0))
    model.select_option("Matched autoencoder")
    for tries in (1, 2, 3):
        wait_until(page, partial(lambda tries: len(asked) == tries, tries))
        page.clock.run_for(20_000)
    sentence = "The weights of the Matched autoencoder cannot be loaded: the server does not answer."
    expect(page.get_by_role("alert")).to_have_text(sentence)


def test_on_a_phone_the_slider_and_the_chosen_face_stay_in_sight(visit):
    page = visit("?mean=2")
    page.set_viewport_size({"width": 390, "height": 700})
    page.evaluate("window.scrollTo(0, document.querySelector('.model:last-child').offsetTop)")
    page.wait_for_function("scrollY > 400")
    box = page.locator(".hero input[type=range]").bounding_box()
    assert 0 <= box["y"] < 200
    # Nothing lies above it.
    on_top = "([x, y]) => document.elementFromPoint(x, y).matches('.hero input[type=range]')"
    assert page.evaluate(on_top, [box["x"] + box["width"] / 2, box["y"] + box["height"] / 2])
    page = visit()
    unfold(page, "More attributes")
    button(page, "Young: with").scroll_into_view_if_needed()
    page.mouse.wheel(0, 300)
    page.wait_for_function("scrollY > 250")
    box = page.locator(LARGE).bounding_box()
    assert 0 <= box["y"] and box["y"] + box["height"] < 350 and box["width"] > 150


@pytest.mark.parametrize("model, mean", [(LONELY, 100), (LONELY, 30), ("GAN", 4), ("GAN", -100)])
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
    expect(numbers).to_contain_text(verdict)
    page.evaluate("latentFaces.opened.set({ faces: 1 })")  # One face does not vary.
    expect(numbers).to_have_text(re.compile(r"is far from what training saw\.[^v]*$"))


def points(page, selector: str) -> tuple[np.ndarray, np.ndarray]:
    """Of a line in a chart, how far each point lies to the right along the axis, and above it, in pixels on screen."""
    return np.array(
        page.locator(selector).first.evaluate(
            """line => {
                const axis = line.ownerSVGElement.querySelector(".axis").getBoundingClientRect();
                const screen = line.getScreenCTM();
                return [...line.points].map((point) => point.matrixTransform(screen))
                    .map(({x, y}) => [x - axis.x, axis.y - y]);
            }"""
        )
    ).T


def assert_is_as_high_as(line: np.ndarray, values: list[float]) -> None:
    """That points lie as high above the axis as these values are large."""
    assert len(line) == len(values) and line.min() >= 0
    assert np.abs(line / line.max() - np.array(values) / max(values)).max() < 0.05


def test_the_curves_are_those_that_were_measured(visit):
    page = visit(f"?mean=0&models={LONELY}")
    measured = records.measured(LONELY)
    places, blue = points(page, ".model .chart .blue")
    assert_is_as_high_as(blue, [point["pixel_diversity"] for point in measured])
    assert_is_as_high_as(points(page, ".model .chart .red")[1], [point["face_share"] for point in measured])
    # The mark lies where its mean was measured.
    place = dict(zip((point["mean"] for point in measured), places, strict=True))
    for mean in (-100, 0, 100):
        slide(page, "Mean of the numbers", mean)
        expect(page.locator(f"[data-mean='{mean}']")).to_be_visible()
        mark = page.locator(".model .chart .mark").evaluate(
            "mark => mark.getBoundingClientRect().x - mark.ownerSVGElement.querySelector('.axis').getBoundingClientRect().x"
        )
        assert mark == pytest.approx(place[mean], abs=2)


# Training.


def test_the_epochs_of_training_are_leafed_through(visit):
    page = visit("?tab=training&model=GAN&epoch=1")
    for epoch in (1, 2):
        expect(page.get_by_text(f"After epoch {epoch} of {records.history('GAN').epochs}.")).to_be_visible()
        wait_for_faces(page, EPOCH, records.training("GAN", epoch), came=True)
        page.locator("#tab-training input[type=range]").focus()
        page.keyboard.press("ArrowRight")
    assert np.abs(records.training("GAN", 1).astype(int) - records.training("GAN", 2)).mean() > 8
    losses = json.loads((WEIGHTS / "gan/training.json").read_text())["losses"]
    names = [name for name in losses if name != "step"]
    most = np.quantile([value for name in names for value in losses[name]], 0.99)
    for colour, name in zip(("blue", "red"), names):
        line = points(page, f".training .chart .{colour}")[1]
        assert np.corrcoef(line, np.minimum(losses[name], most))[0, 1] > 0.99
    unfold(page, "How it was trained")
    expect(page.locator("#tab-training .code")).to_contain_text("python -m train.gan")
    page.get_by_label("Model").locator("visible=true").select_option("Plain autoencoder")
    expect(page.get_by_text("After epoch 1 of")).to_be_visible()
    expect(button(page, "Play")).to_be_visible()  # Whoever wants less motion starts it.


def test_training_plays_once_from_its_beginning_and_to_the_end_of_the_model_that_is_shown(arrive):
    page = arrive(reduced_motion="no-preference", prepare=stop_the_clock)
    epochs = {name: records.history(name).epochs for name in MODELS}
    name, most = max(epochs.items(), key=lambda item: item[1])
    assert most > epochs["GAN"]

    def plays_to_the_end(last: int) -> None:
        page.wait_for_function("latentFaces.opened.settings.epoch >= 3")
        page.clock.run_for(200 * last)
        expect(page.get_by_text(f"After epoch {last} of {last}.")).to_be_visible()
        expect(button(page, "Play")).to_be_visible()

    open_tab(page, "Training")
    plays_to_the_end(epochs["GAN"])
    button(page, "Play").click()
    page.get_by_label("Model").locator("visible=true").select_option(name)
    plays_to_the_end(most)
    page.clock.run_for(1000)
    page = arrive("?tab=training&epoch=9999", reduced_motion="no-preference", prepare=stop_the_clock)
    page.wait_for_function("latentFaces.opened.settings.epoch >= 3")  # What was said of the link stays meanwhile.
    expect(page.get_by_role("alert")).to_contain_text("epoch cannot be 9,999")
    page.evaluate("latentFaces.opened.set({ epoch: 2 })")  # Whoever takes the slider stops it.
    expect(button(page, "Play")).to_be_visible()


# Everybody.


def test_every_tab_fits_a_small_screen_and_axe_finds_nothing(visit):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe-playwright-python is not installed")
    page = visit()
    # Red, of 255.
    ground = "Number(getComputedStyle(document.querySelector('.latent-faces')).backgroundColor.match(/\\d+/)[0])"
    for tab in TABS:
        open_tab(page, tab)
        unfold_all(page)
        for width in (360, 768):
            page.set_viewport_size({"width": width, "height": 844})
            expect(page.locator("canvas:visible").first).to_be_visible()
            page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
        for scheme, is_so in (("light", "> 200"), ("dark", "< 60")):
            page.emulate_media(color_scheme=scheme)
            page.wait_for_function(f"{ground} {is_so}")
            violations = axe.Axe().run(page).response["violations"]
            assert [(one["id"], one["nodes"][0]["html"][:200]) for one in violations] == [], (tab, scheme)
    page.emulate_media(color_scheme="light")


def test_tabs_and_bits_are_one_stop_of_the_tab_key_and_turned_by_others(visit):
    stops = """() => [...document.querySelectorAll("a, button, input, select, summary, [tabindex]")]
        .filter((one) => one.checkVisibility() && one.tabIndex >= 0 && (one.type !== "radio" || one.checked)).length"""
    page = visit("?tab=generate&model=GAN&seed=1")
    bits = page.locator(".bits button")
    assert bits.count() == 50 and page.evaluate(stops) < 25
    bits.first.focus()
    for key, index in (("ArrowRight", 1), ("End", 49), ("ArrowRight", 0), ("ArrowLeft", 49), ("Home", 0)):
        page.keyboard.press(key)
        expect(bits.nth(index)).to_be_focused()
    page = visit()
    assert page.evaluate(stops) < 25
    page.get_by_role("tab", name=TABS[0]).focus()
    for after, key in [*((tab, "ArrowRight") for tab in [*TABS[1:], TABS[0]]), (TABS[-1], "End"), (TABS[0], "Home")]:
        page.keyboard.press(key)
        expect(page.get_by_role("tab", name=after)).to_be_focused()
        expect(page.locator("[role=tab][aria-selected=true]")).to_have_text(after)
        expect(page.locator("[role=tabpanel]:visible")).to_have_count(1)


def test_the_head_has_pictures_and_the_foot_says_where_the_page_is_from(visit, url):
    page = visit()
    for selector, attribute in (("meta[property='og:image']", "content"), ("link[rel=icon]", "href")):
        address = page.locator(selector).get_attribute(attribute)
        assert page.request.get(url + address.removeprefix(url)).headers["content-type"].startswith("image/")
    unfold(page, "About")
    foot = page.locator("footer")
    for caveat in ("Nobody in these pictures exists", "Attributes are opinions"):
        expect(foot.get_by_text(caveat)).to_be_visible()
    for name in MODELS:
        expect(foot.locator("#origins")).to_contain_text(name)


def test_after_a_moment_offline_the_page_draws_again_by_itself(arrive):
    page = arrive("?tab=generate&model=GAN&seed=0", service_workers="block")
    wait_for_faces(page, CROWD, drawing.generate("GAN", 0, 16, 1.0))
    page.context.set_offline(True)
    unfold(page, "Model, seed, how many")
    page.get_by_label("Model").locator("visible=true").select_option("Plain autoencoder")
    expect(page.get_by_role("alert")).to_be_visible(timeout=120_000)
    assert saved_picture(page)[1].info[recipe.MODEL_KEY] == "GAN"  # What is still on screen.
    page.context.set_offline(False)
    wait_for_faces(page, CROWD, drawing.generate("Plain autoencoder", 0, 16, 1.0))
    expect(page.get_by_role("alert")).to_have_count(0)


# Strangers.


def assert_is_only_text(page) -> None:
    """That no planted tag is on the page, no planted script has run, and nothing foreign was asked for."""
    assert page.locator(".planted").count() == 0
    assert page.evaluate("window.planted") is None
    assert not [complaint for complaint in page.complaints if "elsewhere" in complaint or "template" in complaint]


def test_what_a_stranger_says_is_shown_as_text(arrive, forget, monkeypatch, tmp_path):
    """On a page whose models came with markup in all that is told of them, on a small screen."""
    models = models_with_markup(tmp_path)
    models[LONELY] = replace(models[LONELY], origin=f"bundled (nobody/gan: {MARKUP})")
    monkeypatch.setattr(catalog, "load_all", lambda: models)
    forget()
    with static_page(tmp_path / "page") as url:
        page = arrive(at=url, viewport={"width": 360, "height": 800})
        for tab in TABS:
            open_tab(page, tab)
            unfold_all(page)
            assert_is_only_text(page)
        expect(page.locator("#tab-training .code")).to_contain_text("<img class=planted")
        foot = page.locator("#origins")
        expect(foot).to_contain_text("GAN (<img class=planted")
        expect(foot).to_contain_text(f"{LONELY} (bundled), ")
        expect(page.locator(".about .fold")).to_contain_text("nobody/gan: <img class=planted")
        assert len(foot.inner_text()) < 300 * len(MODELS)

        page.evaluate(FOLLOW, "?tab=generate&model=Attribute GAN")
        unfold(page, "More attributes")
        assert page.locator(".attribute").count() > 30
        plus = page.locator(".attribute button:last-child")
        pressed = page.locator(".attribute button:last-child[aria-pressed=true]")
        for number in range(8):
            plus.nth(number).click()
            expect(pressed).to_have_count(number + 1)
        wait_for_address(page, "attributes=")
        wait_until_drawn(page)
        assert page.get_by_role("alert").count() == 0
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.wait_for_timeout(300)
        page.evaluate(FOLLOW, page.evaluate("location.search"))
        expect(pressed).to_have_count(8)
        assert_is_only_text(page)


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
