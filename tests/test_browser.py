"""The page as a visitor has it: in a real browser, by mouse, keyboard and link."""

import base64
import io
import itertools
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pytest
import torch
from PIL import Image

import app
from page import labels, pictures, site, story, zoo
from page.recipe import Recipe
from page.zoo import MODELS
from tests.conftest import draw_face
from tests.markup import EPOCHS, FOREIGN, MARKUP, models_with_markup

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect = playwright.expect
# As long as playwright itself waits, for machines that have much else to do.
expect.set_options(timeout=10_000)

TABS = ["Out of distribution", "Generate", "Interpolate", "Reconstruct", "Training"]


@pytest.fixture
def visit(chromium, url):
    """A function that opens the page in a browser of its own, at the address that `link` leads to.

    Args:
        local: whether the browser gets the networks; otherwise it has the server draw.
    """
    contexts = []

    def open_page(link: str = "", at: str = url, local: bool = False, **options):
        context = chromium.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.complaints = []
        page.on("console", lambda message: message.type == "error" and page.complaints.append(message.text))
        page.on("pageerror", lambda error: page.complaints.append(str(error)))
        page.on(
            "request",
            lambda request: request.url.startswith((at, "data:", "blob:")) or page.complaints.append(request.url),
        )
        if not local:
            page.add_init_script("Object.defineProperty(navigator, 'connection', {value: {saveData: true}})")
        page.goto(at + link)
        page.wait_for_function("window.latentFaces?.opened")
        return page

    yield open_page
    for context in contexts:
        context.close()


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


def wait_for_faces(page, selector: str, wanted: np.ndarray) -> None:
    """Until the pictures are these, (n, height, width, 3), but for the rounding of the server and of the browser."""
    for _ in range(200):
        now = shown(page, selector)
        if now.shape == wanted.shape and np.abs(now - wanted).max() <= 2:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{selector} never showed what it should")


def everywhere(mean: float, seed: int = 0, count: int = 6) -> np.ndarray:
    """Every model's faces at a mean."""
    return np.concatenate([story.out_of_distribution(name, mean, seed, count).faces for name in MODELS])


def slide(page, label: str, value: float) -> None:
    """Write a value into the box of a slider."""
    box = page.get_by_label(f"{label}, exactly").locator("visible=true")
    box.fill(f"{value:g}")
    box.press("Enter")


GRID = "#tab-generate .faces label canvas"


# Arriving.


def test_faces_are_there_on_arrival_and_nothing_comes_from_elsewhere(visit):
    page = visit()
    wait_until_drawn(page)
    assert np.abs(shown(page, ".model canvas") - everywhere(0)).mean() < 4  # As they came with the page.
    for tab in TABS:
        open_tab(page, tab)
        wait_until_drawn(page)
        expect(page.locator("canvas:visible").first).to_be_visible()
        assert page.get_by_role("alert").count() == 0
    assert page.complaints == []


def test_the_first_faces_come_with_the_page_before_any_script(chromium, url):
    context = chromium.new_context(java_script_enabled=True)
    page = context.new_page()
    page.route("**/front/main.js*", lambda route: None)  # Never answered.
    page.goto(url)
    strips = page.locator("img[data-model]")
    expect(strips).to_have_count(len(MODELS))
    for name, source in strips.evaluate_all("all => all.map(one => [one.dataset.model, one.src])"):
        strip = np.asarray(Image.open(io.BytesIO(base64.b64decode(source.partition(",")[2]))).convert("RGB")).astype(
            int
        )
        wanted = pictures.side_by_side(story.out_of_distribution(name, 0, 0, 6).faces)
        assert np.abs(strip - wanted).mean() < 4  # Slightly compressed.
    context.close()


def test_the_browser_draws_by_itself_and_asks_the_server_for_nothing_more(visit):
    page = visit(local=True)
    page.wait_for_function("latentFaces.decoder.status.state === 'local'", timeout=60_000)
    slide(page, "Mean of the latents", 5)
    wait_until_drawn(page)
    page.wait_for_function("latentFaces.decoder.status.state === 'local'", timeout=60_000)
    asked = []
    page.on("request", lambda request: request.url.startswith("blob:") or asked.append(request.url))
    slide(page, "Mean of the latents", -50)
    # By PyTorch in float32, which the server's rounding does not touch.
    wanted = []
    for name in MODELS:
        model = zoo.load(name)
        with torch.inference_mode():
            wanted.append(zoo._to_bytes(model.decode(model.sample_latent(6, seed=0, mean=-50))))
    wait_for_faces(page, ".model canvas", np.concatenate(wanted))
    assert np.abs(shown(page, ".model canvas") - np.concatenate(wanted)).max() <= 1
    assert asked == [] and page.complaints == []
    expect(page.locator(".status")).to_have_text("Drawn in your browser")


def test_files_alone_are_a_page_too(visit, tmp_path):
    site.write(tmp_path)
    # As `python -m http.server` does, which knows no parts of files.
    handler = partial(SimpleHTTPRequestHandler, directory=tmp_path)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        page = visit("?mean=2", at=f"http://127.0.0.1:{server.server_port}/", local=True)
        wait_for_faces(page, ".model canvas", everywhere(2))
        for tab in TABS:
            if tab != "Reconstruct":
                open_tab(page, tab)
                wait_until_drawn(page)
                expect(page.locator("canvas:visible").first).to_be_visible()
        open_tab(page, "Generate")
        wait_for_faces(page, GRID, story.generate("GAN", 0, 16, 1.0))
        expect(page.get_by_role("tab", name="Reconstruct")).to_have_count(0)
        expect(page.get_by_text("takes no photographs")).to_be_visible()
        assert page.get_by_role("alert").count() == 0 and page.complaints == []
        server.shutdown()


# Links.


def test_rolling_draws_other_faces_and_the_address_leads_back_to_them(visit):
    page = visit("?tab=generate")
    wait_until_drawn(page)
    before = shown(page, GRID)
    page.locator("#tab-generate").get_by_role("button", name="Roll").click()
    wait_for_change(page, GRID, before)
    wait_for_address(page, "seed=")
    wait_until_drawn(page)
    faces = shown(page, GRID)
    again = visit(page.evaluate("location.search"))
    wait_for_faces(again, GRID, faces)
    expect(again.locator("#tab-generate").get_by_label("Seed")).to_have_value(query(page)["seed"])


def test_a_link_shows_what_it_says(visit):
    page = visit("?tab=generate&model=Matched autoencoder&seed=5&faces=4&temperature=0.5")
    wait_for_faces(page, GRID, story.generate("Matched autoencoder", 5, 4, 0.5, ""))
    expect(page.get_by_text("The discrete half")).to_be_hidden()

    page = visit("?tab=out-of-distribution&mean=-40&models=GAN&faces=5")
    wait_for_faces(page, ".model canvas", story.out_of_distribution("GAN", -40, 0, 5).faces)
    assert query(page)["mean"] == "-40"

    page = visit("?tab=interpolate&a=3/2&b=4&steps=5&way=spherical")
    walk = story.interpolate("GAN", ("3/2", "4"), (None, None), 5, "spherical", "relaxed")
    wait_for_faces(page, "#tab-interpolate .faces canvas", walk.faces)

    # What was a tab of its own once.
    page = visit("?tab=experiment&seed=3")
    wait_for_faces(page, ".model canvas", everywhere(-3, seed=3))


@pytest.mark.parametrize(
    "link",
    ["?tab=nowhere", "?seed=-1", "?mean=1e9", "?tab=generate&faces=many", "?tab=generate&model=VAE", "?faces=0"],
)
def test_what_a_link_asks_for_in_vain_is_left(visit, link):
    page = visit(link)
    if "nowhere" not in link:
        expect(page.get_by_text("The link’s".replace("’", "'"))).to_be_visible()
    open_tab(page, "Out of distribution")
    wait_until_drawn(page)
    assert np.abs(shown(page, ".model canvas") - everywhere(0)).mean() < 4


# Generate.


def test_a_face_is_chosen_by_keyboard_and_its_bits_are_shown(visit):
    page = visit("?tab=generate")
    wait_until_drawn(page)
    page.locator("#tab-generate .faces input").first.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(page.locator("#tab-generate .faces input").nth(2)).to_be_checked()
    wait_for_address(page, "face=3")
    page.wait_for_function(
        "bits => [...document.querySelectorAll('[data-bit]')].every("
        "(button, i) => (button.getAttribute('aria-pressed') === 'true') === (bits[i] === '+'))",
        arg=["-+"[bit > 0] for bit in Recipe(0, 3).latent(zoo.load("GAN"))[50:]],
    )
    wait_for_faces(page, ".chosen > canvas", story.generate("GAN", 0, 16, 1.0)[2:3])


def test_a_bit_is_flipped_held_and_let_go(visit):
    page = visit("?tab=generate")
    first = story.generate("GAN", 0, 16, 1.0)
    wait_for_faces(page, GRID, first)
    bit = page.locator("[data-bit='3']")
    was = bit.get_attribute("aria-pressed") == "true"
    for held in ("+-"[was], "-+"[was]):  # The other way, then as it was drawn.
        bit.click()
        expect(bit).to_have_attribute("aria-label", f"Bit 3: {'+1' if held == '+' else '−1'}, held")
        bits = f"..{held}{'.' * 47}"
        wait_for_faces(page, GRID, story.generate("GAN", 0, 16, 1.0, bits))
        wait_for_address(page, "bits=")
        page.wait_for_function("bits => new URLSearchParams(location.search).get('bits') === bits", arg=bits)
    off, on = (faces[:6] for faces in story.flip_bit("GAN", 0, 16, 1.0, "", 3))
    effect = shown(page, ".effect canvas")
    assert np.abs(effect[:12] - np.concatenate([off, on])).max() <= 2
    assert np.abs(effect[12:] - (3 * np.abs(on.astype(int) - off)).clip(0, 255)).max() <= 9
    bit.click()
    wait_for_faces(page, GRID, first)
    page.wait_for_function("!location.search.includes('bits')")


def test_an_attribute_is_given_taken_and_let_go(visit):
    page = visit("?tab=generate&model=Attribute GAN")
    drawn = story.generate("Attribute GAN", 0, 16, 1.0)
    wait_for_faces(page, GRID, drawn)
    page.get_by_text("More (").first.click()
    on, off = (page.get_by_role("button", name=f"Smiling: {side}", exact=True) for side in ("with", "without"))
    young = page.get_by_role("button", name="Young: with", exact=True)
    on.click()
    young.click()
    wait_for_faces(page, GRID, story.generate("Attribute GAN", 0, 16, 1.0, "", "Smiling, Young"))
    expect(on).to_have_attribute("aria-pressed", "true")
    expect(on, "what was opened stays open").to_be_visible()
    expect(page.locator(".code")).to_contain_text('attributes={"Smiling": True, "Young": True}')
    expect(page.get_by_text("Smiling: off", exact=True).or_(page.get_by_text("Young: off", exact=True))).to_be_visible()
    off.focus()
    page.keyboard.press("Enter")
    wait_for_faces(page, GRID, story.generate("Attribute GAN", 0, 16, 1.0, "", "Young, no Smiling"))
    expect(on).to_have_attribute("aria-pressed", "false")
    expect(off).to_be_focused()
    wait_for_address(page, r"no\+Smiling")
    again = visit(page.evaluate("location.search"))
    wait_for_faces(again, GRID, story.generate("Attribute GAN", 0, 16, 1.0, "", "Young, no Smiling"))
    off.click()
    young.click()
    wait_for_faces(page, GRID, drawn)
    page.wait_for_function("!location.search.includes('attributes')")


def test_the_line_of_attributes_is_read_as_programs_write_it(visit):
    link = {
        "tab": "generate",
        "model": "Attribute GAN",
        "attributes": 'no  mouth slightly OPEN, "Young=0.5",Beard of bees',
    }
    page = visit("?" + urlencode(link))
    values = {"Mouth_Slightly_Open": -1.0, "Young": 0.5}
    wait_for_faces(page, GRID, story.generate("Attribute GAN", 0, 16, 1.0, "", labels.write(values)))
    expect(page.get_by_role("alert")).to_contain_text("knows no Beard of bees")


def test_the_code_that_is_shown_draws_the_faces_that_are_shown(visit):
    for link in (
        "?tab=generate&model=Attribute GAN&seed=4&faces=3&temperature=0.7&attributes=Smiling, no Young",
        "?tab=generate&seed=2&faces=2",
    ):
        page = visit(link)
        wait_until_drawn(page)
        page.get_by_text("The same faces in Python").click()
        faces = eval(page.locator(".code").inner_text(), {"model": zoo.load(query(page).get("model", "GAN"))})
        wait_for_faces(page, GRID, np.stack([np.asarray(face) for face in faces]))


def test_the_bits_of_a_face_are_held_with_and_without_names(visit):
    page = visit("?tab=generate&model=Attribute GAN&attributes=Smiling")
    wait_until_drawn(page)
    page.get_by_role("button", name="Hold all bits").click()
    count = len(zoo.load("Attribute GAN").attributes)
    expect(page.locator(".attribute [aria-pressed=true]")).to_have_count(count)
    expect(page.locator(".bits .held")).to_have_count(50 - count)
    page.locator(".attribute [aria-pressed=true]").first.click()
    expect(page.locator(".attribute [aria-pressed=true]")).to_have_count(count - 1)
    page.get_by_role("button", name="Let all go").click()
    expect(page.locator(".attribute [aria-pressed=true]")).to_have_count(0)
    expect(page.locator(".bits .held")).to_have_count(0)


def test_a_face_is_sent_to_interpolate(visit):
    page = visit("?tab=generate&seed=7&temperature=0.8")
    page.locator("#tab-generate .faces input").nth(4).check(force=True)
    wait_for_address(page, "face=5")
    wait_until_drawn(page)
    face = shown(page, GRID)[4]
    page.get_by_role("button", name="As B").click()
    expect(page.get_by_role("tab", name="Interpolate")).to_have_attribute("aria-selected", "true")
    expect(page.get_by_label("B: seed")).to_have_value("7/5 temperature=0.8")
    path = story.interpolate("GAN", ("0", "7/5 temperature=0.8"), (None, None), 11, "straight", "relaxed").faces
    wait_for_faces(page, "#tab-interpolate .faces canvas", path)
    assert np.abs(path[-1] - face).max() <= 2


def downloaded_face(page) -> Image.Image:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download (PNG)").click()
    return Image.open(download.value.path())


def test_the_face_that_is_downloaded_is_the_chosen_one(visit, tmp_path):
    page = visit("?tab=generate&seed=7")
    faces = story.generate("GAN", 7, 16, 1.0, "")
    wait_for_faces(page, GRID, faces)

    def assert_downloads(number: int) -> None:
        image = downloaded_face(page)
        assert image.format == "PNG" and image.size == (64, 64)
        assert (image.info[story.MODEL_KEY], image.info[story.RECIPE_KEY]) == ("GAN", f"7/{number}")
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - faces[number - 1]).max() <= 2

    assert_downloads(1)
    page.locator("#tab-generate .faces input").nth(6).check(force=True)
    assert_downloads(7)
    # Where fewer are left than its number, the last is the chosen one, until there are as many again.
    for faces_left, number in ((4, 4), (16, 7)):
        slide(page, "Faces", faces_left)
        wait_for_faces(page, GRID, faces[:faces_left])
        assert_downloads(number)
        expect(page.locator("#tab-generate .faces input").nth(number - 1)).to_be_checked()


# Interpolate.


def test_a_walk_is_downloaded(visit):
    page = visit("?tab=interpolate")
    wait_until_drawn(page)
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the walk").click()
    assert download.value.suggested_filename == "walk.gif"
    walk = Image.open(download.value.path())
    smooth = story.interpolate("GAN", ("0", "1"), (None, None), 2, "straight", "relaxed").smooth_faces
    assert walk.n_frames == 2 * len(smooth) - 2 and walk.size == (256, 256) and walk.info["loop"] == 0
    for frame in (0, 12, len(smooth) - 1):
        walk.seek(frame)
        # A palette of 256 colours for a face.
        assert np.abs(np.asarray(walk.convert("RGB"))[::4, ::4].astype(int) - smooth[frame]).mean() < 6


def test_the_pin_wanders_over_the_map(visit):
    page = visit("?tab=interpolate&model=Plain autoencoder&a=4&b=5&c=6")
    wait_until_drawn(page)
    a, b, c = (Recipe(seed).latent(zoo.load("Plain autoencoder")) for seed in (4, 5, 6))
    face = ".wander > canvas"
    wait_for_faces(page, face, zoo.decode("Plain autoencoder", (a + (b - a) / 2 + (c - a) / 2)[None]))
    plane = page.locator(".map")
    plane.scroll_into_view_if_needed()
    box = plane.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] * 0.9, box["y"] + box["height"] * 0.9)
    page.mouse.up()
    wait_for_faces(page, face, zoo.decode("Plain autoencoder", b[None]))  # A corner, half a face from the edge.
    plane.focus()
    for _ in range(20):
        page.keyboard.press("ArrowLeft")
    wait_for_faces(page, face, zoo.decode("Plain autoencoder", a[None]))


def test_a_walk_begins_at_a_photograph(visit, tmp_path):
    page = visit("?tab=interpolate&model=Plain autoencoder")
    draw_face(1, (300, 400)).save(tmp_path / "face.png")
    page.locator("#tab-interpolate input[type=file]").first.set_input_files(tmp_path / "face.png")
    walk = story.interpolate(
        "Plain autoencoder", ("0", "1"), (str(tmp_path / "face.png"), None), 11, "straight", "relaxed"
    )
    wait_for_faces(page, "#tab-interpolate .faces canvas", walk.faces)
    expect(page.get_by_text(walk.notes[0])).to_be_visible()
    page.get_by_label("A: seed").fill("3")
    page.get_by_label("A: seed").press("Enter")
    walk = story.interpolate("Plain autoencoder", ("3", "1"), (None, None), 11, "straight", "relaxed")
    wait_for_faces(page, "#tab-interpolate .faces canvas", walk.faces)


def test_a_photograph_on_its_way_gives_way_to_a_recipe_alone(visit, tmp_path):
    page = visit("?tab=interpolate&model=Plain autoencoder")
    wait_until_drawn(page)
    draw_face(1, (300, 400)).save(tmp_path / "face.png")
    end = page.locator("#tab-interpolate .photograph").first
    faces, held = "#tab-interpolate .faces canvas", []
    page.route("**/upload*", lambda route: held.append(route))

    def let_go():
        while not held:
            page.wait_for_timeout(10)
        held.pop().continue_()

    end.locator("input[type=file]").set_input_files(tmp_path / "face.png")
    end.evaluate("end => end.dispatchEvent(new ClipboardEvent('paste', {clipboardData: new DataTransfer()}))")
    expect(end).to_have_attribute("aria-busy", "true")
    let_go()
    photograph = str(tmp_path / "face.png")
    walk = story.interpolate("Plain autoencoder", ("0", "1"), (photograph, None), 11, "straight", "relaxed")
    wait_for_faces(page, faces, walk.faces)
    expect(end).not_to_have_attribute("aria-busy", "true")

    end.locator("input[type=file]").set_input_files(tmp_path / "face.png")
    expect(end).to_have_attribute("aria-busy", "true")
    page.get_by_label("A: seed").fill("3")
    page.get_by_label("A: seed").press("Enter")
    expect(end).not_to_have_attribute("aria-busy", "true")
    with page.expect_response("**/upload*"):
        let_go()
    page.wait_for_load_state("networkidle")
    walk = story.interpolate("Plain autoencoder", ("3", "1"), (None, None), 11, "straight", "relaxed")
    wait_for_faces(page, faces, walk.faces)


# Out of distribution.


def test_a_dragged_slider_ends_on_its_last_position(visit):
    page = visit()
    slider = page.locator(".hero input[type=range]")
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for step in range(30):
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.45 * step / 30), y)
    page.mouse.up()
    mean = float(page.get_by_label("Mean of the latents, exactly").input_value())
    assert mean > 30
    wait_for_faces(page, f"[data-mean='{mean:g}'] .model canvas", everywhere(mean))
    wait_for_address(page, f"mean={mean:g}$")


def test_the_mean_jumps_by_buttons_and_moves_by_keys(visit):
    page = visit("?models=Shifted autoencoder")
    for button, mean in {"100": 100, "−100": -100, "−3": -3, "0": None, "To the prior": -3}.items():
        if mean is None:
            slide(page, "Mean of the latents", 0)
            continue
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.locator(f"[data-mean='{mean}']")).to_be_visible()
    page.locator(".hero input[type=range]").focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.querySelector('[data-mean]').dataset.mean > -3")
    expect(page.locator(".sentence:visible")).to_contain_text("At mean −2.9")


def test_the_numbers_beside_the_faces_are_those_of_the_model(visit):
    page = visit("?mean=40&models=Matched autoencoder&seed=2&faces=4")
    drawn = story.out_of_distribution("Matched autoencoder", 40, 2, 4)
    numbers = page.locator(".model .numbers")
    expect(numbers).to_contain_text(f"{40 / 2**0.5:.1f} standard deviations from the prior’s mean")
    expect(numbers).to_contain_text(f"differ by {drawn.diversity:.1f} grey levels")
    at_prior = story.out_of_distribution("Matched autoencoder", 0, 2, 4).diversity
    verdict = "has collapsed" if drawn.diversity / at_prior < 0.25 else "still differ"
    expect(page.locator(".sentence:visible")).to_contain_text(verdict)


# Reconstruct.


def test_a_photograph_is_reconstructed_and_a_bad_one_is_told(visit, tmp_path):
    page = visit("?tab=reconstruct")
    expect(page.get_by_text("dB")).to_have_count(len(zoo.autoencoders()))
    before = shown(page, "aside .faces canvas")
    draw_face(1, (300, 400)).save(tmp_path / "face.png")
    page.locator("#tab-reconstruct input[type=file]").set_input_files(tmp_path / "face.png")
    wait_for_change(page, "aside .faces canvas", before)
    wait_until_drawn(page)
    photograph = story.see(str(tmp_path / "face.png"))
    expect(page.get_by_text(photograph.aligned.note)).to_be_visible()
    results = story.reconstruct(photograph)
    faces = shown(page, "aside .faces canvas")
    assert np.abs(faces[::2] - np.stack([result.face for result in results.values()])).max() <= 2
    difference = 2 * np.abs(faces[::2] - story.pixels_of(photograph.aligned.image))
    assert np.abs(faces[1::2] - difference.clip(0, 255)).max() <= 4
    for name, result in results.items():
        shown_psnr = page.locator("figcaption").filter(has_text=f"{name}: ").inner_text().split(": ")[1].split()[0]
        assert float(shown_psnr) == pytest.approx(result.psnr, abs=0.1)

    (tmp_path / "face.jpg").write_bytes(b"no image")
    page.locator("#tab-reconstruct input[type=file]").set_input_files(tmp_path / "face.jpg")
    expect(page.get_by_role("alert")).to_contain_text("not an image")


def test_a_photograph_follows_its_sliders_and_a_link_keeps_them(visit):
    page = visit("?tab=reconstruct")
    wait_until_drawn(page)
    name = zoo.directions()[0]
    slider = page.locator(".directions input[type=range]").first
    slider.fill("2.3")
    example = story.see(str(next(iter(site.examples().values()))))
    still, moved = (next(iter(story.with_attributes(example.latents, {name: by}).values())) for by in (0.0, 2.3))
    seen = story.pixels_of(example.aligned.image)
    wanted = np.stack([seen, moved])
    wait_for_faces(page, ".moved canvas", wanted)
    wait_for_address(page, "=2.3$")
    assert query(page) == {"tab": "reconstruct", f"attribute.{name}": "2.3"}
    again = visit(page.evaluate("location.search"))
    wait_for_faces(again, ".moved canvas", wanted)
    expect(again.locator(".directions input[type=range]").first).to_have_value("2.3")
    page.get_by_role("button", name="All back").click()
    wait_for_faces(page, ".moved canvas", np.stack([seen, still]))


# Training.


def test_the_epochs_of_training_are_leafed_through(visit):
    page = visit("?tab=training&epoch=1")
    epochs = story.history("GAN").epochs
    for epoch in (1, 2):
        expect(page.get_by_text(f"After epoch {epoch} of {epochs}")).to_be_visible()
        wait_until_drawn(page)
        # Sent as a picture that is compressed once more.
        assert np.abs(shown(page, "#tab-training .faces canvas") - story.training("GAN", epoch)).mean() < 4
        page.locator("#tab-training input[type=range]").focus()
        page.keyboard.press("ArrowRight")
    assert np.abs(story.training("GAN", 1).astype(int) - story.training("GAN", 2)).mean() > 8
    expect(page.locator(".training .chart .mark")).to_have_count(1)
    page.get_by_role("button", name="Play").click()
    expect(page.get_by_text(f"After epoch {epochs} of {epochs}")).to_be_visible()


# Everybody.


def test_two_visitors_see_their_own(visit):
    one, two = visit("?tab=generate&seed=1"), visit("?tab=generate&seed=2")
    slide(one, "Temperature", 0.5)
    wait_for_address(one, "temperature=0.5")
    wait_for_faces(two, GRID, story.generate("GAN", 2, 16, 1.0, ""))
    wait_for_faces(one, GRID, story.generate("GAN", 1, 16, 0.5, ""))


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


def test_everything_has_a_name_that_can_be_read_aloud(visit):
    page = visit()
    for tab in TABS:
        open_tab(page, tab)
        wait_until_drawn(page)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input, img, select, canvas[role=img], svg[role=img]")]
                .filter(e => e.checkVisibility() && !e.closest("[aria-hidden=true]") && e.type !== "file")
                .filter(e => !(e.alt || e.ariaLabel || e.title || e.innerText?.trim() || e.labels?.length
                    || e.getAttribute("aria-labelledby")))
                .map(e => e.outerHTML.slice(0, 150))"""
        )
        assert nameless == [], tab


def test_tabs_are_turned_by_keys(visit):
    page = visit()
    page.get_by_role("tab", name=TABS[0]).focus()
    for before, after in itertools.pairwise([*TABS, TABS[0]]):
        page.keyboard.press("ArrowRight")
        expect(page.get_by_role("tab", name=after)).to_be_focused()
        expect(page.get_by_role("tab", name=before)).to_have_attribute("aria-selected", "false")


def test_who_wants_less_motion_sees_a_still_walk(visit):
    page = visit("?tab=interpolate", reduced_motion="reduce")
    wait_until_drawn(page)
    still = shown(page, ".walk canvas")
    page.wait_for_timeout(500)
    assert (shown(page, ".walk canvas") == still).all()
    page.locator(".walk").get_by_role("button", name="Play").click()
    wait_for_change(page, ".walk canvas", still)


# Strangers.


@pytest.fixture(scope="module")
def url_of_strangers_models(tmp_path_factory):
    """The address of a page whose models came with markup in all that is told of them."""
    models = models_with_markup(tmp_path_factory.mktemp("history"))
    remembered = (site.page, site.tabs, site.sheet)
    with pytest.MonkeyPatch.context() as patch:
        for function in remembered:
            function.cache_clear()
        for module in (zoo, story, site, app):
            if hasattr(module, "load_all"):
                patch.setattr(module, "load_all", lambda: models)
        page = app.build()
        _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, **app.server.limits("127.0.0.1"))
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
    page = visit("?tab=training&epoch=3", at=url_of_strangers_models)
    expect(page.get_by_text(f"After epoch 3 of {EPOCHS}. <img class=planted")).to_be_visible()
    expect(page.locator(".key.blue:visible")).to_contain_text("0<img class=planted")
    foot = page.locator("#origins")
    expect(foot).to_contain_text("GAN: <img class=planted")
    assert len(foot.inner_text()) < 300 * len(MODELS)
    for tab in TABS:
        open_tab(page, tab)
        wait_until_drawn(page)
        assert_is_only_text(page)


def test_what_a_strangers_attributes_are_called_is_shown_as_text(visit, url_of_strangers_models):
    phone = {"width": 360, "height": 800}
    page = visit("?tab=generate&model=Attribute GAN", at=url_of_strangers_models, viewport=phone)
    wait_until_drawn(page)
    page.get_by_text("More (").first.click()
    assert page.locator(".attribute").count() > 30
    plus = page.locator(".attribute button:last-child")
    for number in range(6):
        plus.nth(number).click()
        expect(page.locator(".attribute button:last-child[aria-pressed=true]")).to_have_count(number + 1)
    wait_until_drawn(page)
    assert page.get_by_role("alert").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert_is_only_text(page)
    wait_for_address(page, "attributes=")
    page.wait_for_timeout(300)
    again = visit(page.evaluate("location.search"), at=url_of_strangers_models, viewport=phone)
    expect(again.locator(".attribute button:last-child[aria-pressed=true]")).to_have_count(6)
    page = visit("?tab=reconstruct", at=url_of_strangers_models, viewport=phone)
    wait_until_drawn(page)
    page.locator(".directions input[type=range]").nth(4).fill("2")
    wait_for_address(page, "attribute.*=2")
    wait_until_drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert_is_only_text(page)


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
    expect(page.get_by_role("alert").filter(has_text="is no face")).to_contain_text("<img class=planted")
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
    page.locator("#tab-generate").get_by_role("button", name="Roll").click()
    wait_for_address(page, r"seed=(?!5(&|$))\d")
    assert query(page)["theirs"] == "1"
    assert not page.evaluate("heard.some((data) => data.queryString)")


def test_a_server_that_is_away_is_told_and_asked_again(visit):
    page = visit("?tab=generate")
    wait_until_drawn(page)
    page.context.set_offline(True)
    slide(page, "Temperature", 0.5)
    expect(page.get_by_role("alert")).to_contain_text("does not answer")
    page.context.set_offline(False)
    slide(page, "Temperature", 0.6)
    wait_for_faces(page, GRID, story.generate("GAN", 0, 16, 0.6, ""))
    expect(page.get_by_role("alert")).to_have_count(0)
