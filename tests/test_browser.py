"""The page as a visitor has it: in a real browser, by mouse, keyboard and link."""

import base64
import io
from contextlib import suppress
from urllib.parse import parse_qsl, urlencode

import numpy as np
import pytest
from PIL import Image

import app
from page import drawings, story, zoo
from page.recipe import Recipe
from page.zoo import MODELS
from tests.conftest import draw_face
from tests.markup import EPOCHS, FOREIGN, MARKUP, models_with_markup

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
expect, Error = playwright.expect, playwright.Error
# As long as playwright itself waits, for machines that have much else to do.
expect.set_options(timeout=30_000)

TABS = ["Generate", "Interpolate", "Reconstruct", "Out of distribution", "Experiment", "Training"]


@pytest.fixture
def visit(chromium, url):
    """A function that opens the page in a browser of its own, at the address that `link` leads to."""
    contexts = []

    def open_page(link: str = "", at: str = url, **options):
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
        page.goto(at + link)
        page.wait_for_function("window.latentFaces?.tab")
        return page

    yield open_page
    for context in contexts:
        context.close()


def shown(page, selector: str) -> np.ndarray:
    """The pixels of the visible pictures that a selector finds, (n, height, width, 3)."""
    sources = page.locator(f"{selector} >> visible=true").evaluate_all("pictures => pictures.map(p => p.src)")
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
    page.wait_for_function("Object.values(latentFaces.waiting).every((waiting) => !waiting.drawn)")


def wait_for_change(page, selector: str, before: np.ndarray) -> np.ndarray:
    for _ in range(600):
        now = shown(page, selector)
        if now.shape != before.shape or (now != before).any():
            return now
        page.wait_for_timeout(50)
    raise AssertionError(f"{selector} never changed")


def wait_for_faces(page, selector: str, wanted: np.ndarray) -> None:
    """Until the pictures are these, (n, height, width, 3)."""
    for _ in range(600):
        now = shown(page, selector)
        if now.shape == wanted.shape and np.abs(now - wanted).max() <= 1:
            return
        page.wait_for_timeout(50)
    raise AssertionError(f"{selector} never showed what it should")


def test_faces_are_there_on_arrival_and_nothing_comes_from_elsewhere(visit):
    page = visit()
    faces = shown(page, ".faces img")
    assert faces.shape == (16, 64, 64, 3)
    assert np.abs(faces - story.generate("GAN", 0, 16, 1.0, "")).max() <= 1
    for tab in TABS:
        open_tab(page, tab)
        expect(page.locator("img[alt]:visible").first).to_be_visible()
    assert page.complaints == []


def test_rolling_draws_other_faces_and_the_address_leads_back_to_them(visit):
    page = visit()
    before = shown(page, ".faces img")
    page.get_by_role("button", name="Roll").first.click()
    faces = wait_for_change(page, ".faces img", before)
    wait_for_address(page, "seed=")
    again = visit(page.evaluate("location.search"))
    wait_for_faces(again, ".faces img", faces)
    expect(again.get_by_label("Seed").first).to_have_value(query(page)["seed"])


def test_a_link_shows_what_it_says(visit):
    page = visit("?tab=generate&model=Matched autoencoder&seed=5&faces=4&temperature=0.5")
    wanted = story.generate("Matched autoencoder", 5, 4, 0.5, "")
    wait_for_faces(page, ".faces img", wanted)
    expect(page.get_by_text("The discrete half")).to_be_hidden()

    page = visit("?tab=out-of-distribution&mean=-40&models=GAN&faces=5")
    wanted = story.out_of_distribution("GAN", -40, 0, 5).faces
    wait_for_faces(page, "[data-mean='-40'] .strip img", np.concatenate(list(wanted), axis=1)[None])
    assert query(page)["mean"] == "-40"

    page = visit("?tab=interpolate&a=3/2&b=4&steps=5&way=spherical")
    wait_for_faces(
        page, ".faces figure img", story.interpolate("GAN", ("3/2", "4"), (None, None), 5, "spherical", "relaxed").faces
    )


@pytest.mark.parametrize(
    "link", ["?tab=nowhere", "?seed=-1", "?tab=out-of-distribution&mean=1e9", "?faces=many", "?model=VAE", "?face=0"]
)
def test_what_a_link_asks_for_in_vain_is_left(visit, link):
    page = visit(link)
    if "nowhere" not in link:
        expect(page.get_by_text("The link's")).to_be_visible()
    expect(page.locator("img:visible").first).to_be_visible()
    open_tab(page, "Generate")
    wait_for_faces(page, ".faces img", story.generate("GAN", 0, 16, 1.0, ""))


def test_a_face_is_chosen_by_keyboard_and_its_bits_are_shown(visit):
    page = visit()
    page.locator(".faces input").first.focus()
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect(page.locator(".faces input").nth(2)).to_be_checked()
    wait_for_address(page, "face=3")
    page.wait_for_function(
        "bits => [...document.querySelectorAll('[data-action=flip]')].every("
        "(button, i) => (button.getAttribute('aria-pressed') === 'true') === (bits[i] === '+'))",
        arg=story.bits_of("GAN", Recipe(0, 3)),
    )


def test_a_bit_is_flipped_held_and_let_go(visit):
    page = visit()
    first = shown(page, ".faces img")
    switch = page.get_by_role("button", name="Bit 3", exact=True)
    was = switch.get_attribute("aria-pressed") == "true"
    switch.click()
    flipped = wait_for_change(page, ".faces img", first)
    expect(switch).to_have_attribute("aria-pressed", str(not was).lower())
    bits = ".." + "+-"[was] + "." * 47
    assert np.abs(flipped - story.generate("GAN", 0, 16, 1.0, bits)).max() <= 1
    wait_for_address(page, "bits=")
    assert query(page)["bits"] == bits

    lock = page.get_by_role("button", name="Hold bit 3 for all faces", exact=True)
    expect(lock).to_have_attribute("aria-pressed", "true")
    lock.click()
    expect(lock).to_have_attribute("aria-pressed", "false")
    assert np.abs(wait_for_change(page, ".faces img", flipped) - first).max() <= 1


def test_an_attribute_is_given_taken_and_let_go(visit):
    page = visit("?model=Attribute GAN")
    drawn = story.generate("Attribute GAN", 0, 16, 1.0)
    wait_for_faces(page, ".faces img", drawn)
    page.get_by_text("More attributes").first.click()
    on, off = (page.get_by_role("button", name=f"Smiling: {side}", exact=True) for side in ("on", "off"))
    young = page.get_by_role("button", name="Young: on", exact=True)
    # Faster than the page answers.
    on.click()
    young.click()
    wait_for_faces(page, ".faces img", story.generate("Attribute GAN", 0, 16, 1.0, "", "Smiling, Young"))
    expect(on).to_have_attribute("aria-pressed", "true")
    expect(on, "what was opened stays open").to_be_visible()
    expect(page.locator(".code")).to_contain_text('attributes={"Smiling": True, "Young": True}')
    expect(page.get_by_text("Smiling: off", exact=True).or_(page.get_by_text("Young: off", exact=True))).to_be_visible()
    off.focus()
    page.keyboard.press("Enter")
    wait_for_faces(page, ".faces img", story.generate("Attribute GAN", 0, 16, 1.0, "", "Young, no Smiling"))
    expect(on).to_have_attribute("aria-pressed", "false")
    wait_for_address(page, r"no\+Smiling")
    assert query(page)["attributes"] == "Young, no Smiling"
    again = visit(page.evaluate("location.search"))
    wait_for_faces(again, ".faces img", story.generate("Attribute GAN", 0, 16, 1.0, "", "Young, no Smiling"))
    off.click()
    young.click()
    wait_for_faces(page, ".faces img", drawn)
    page.wait_for_function("!location.search.includes('attributes')")


def test_the_bits_of_a_face_are_held_with_and_without_names(visit):
    page = visit("?model=Attribute GAN&attributes=Smiling")
    wait_until_drawn(page)
    page.get_by_role("button", name="Hold all bits").click()
    count = len(zoo.load("Attribute GAN").attributes)
    expect(page.locator(".attribute [aria-pressed=true]")).to_have_count(count)
    expect(page.locator("[data-action=hold][aria-pressed=true]")).to_have_count(50 - count)
    pressed = page.locator(".attribute [aria-pressed=true]").first
    pressed.click()
    expect(page.locator(".attribute [aria-pressed=true]")).to_have_count(count - 1)
    page.get_by_role("button", name="Let all go").click()
    expect(page.locator(".attribute [aria-pressed=true]")).to_have_count(0)
    expect(page.locator("[data-action=hold][aria-pressed=true]")).to_have_count(0)


def test_a_photograph_follows_its_sliders_and_a_link_keeps_them(visit):
    page = visit("?tab=reconstruct")
    wait_until_drawn(page)
    still, name = shown(page, ".seen img"), zoo.directions()[0]
    slider = page.locator(".directions input[type=range]").first
    box = slider.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for step in range(20):
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.4 * step / 20), box["y"] + box["height"] / 2)
    page.mouse.up()
    value = float(slider.input_value())
    assert 1.5 < value < 3
    _, results = story.reconstruct(next(iter(drawings.EXAMPLES.values())))
    (moved,) = story.with_attributes(results, {name: value}).values()
    wait_for_faces(page, ".seen img", np.stack([still[0], moved.astype(int)]))
    wait_for_address(page, f"={value:g}$")
    assert query(page) == {"tab": "reconstruct", f"attribute.{name}": f"{value:g}"}
    again = visit(page.evaluate("location.search"))
    wait_for_faces(again, ".seen img", np.stack([still[0], moved.astype(int)]))
    expect(again.locator(".directions input[type=range]").first).to_have_value(f"{value:g}")
    page.get_by_role("button", name="All back").click()
    wait_for_faces(page, ".seen img", still)


def test_held_bits_make_all_faces_share_the_discrete_half(visit):
    page = visit()
    page.get_by_role("button", name="Hold all bits").click()
    expect(page.locator("[data-action=hold][aria-pressed=true]")).to_have_count(50)
    page.get_by_role("button", name="Let all go").click()
    expect(page.locator("[data-action=hold][aria-pressed=true]")).to_have_count(0)


def test_a_face_is_sent_to_interpolate(visit):
    page = visit("?seed=7&temperature=0.8")
    page.locator(".faces input").nth(4).check(force=True)
    wait_for_address(page, "face=5")
    face = shown(page, ".faces img")[4]
    page.get_by_role("button", name="→ B of Interpolate").click()
    open_tab(page, "Interpolate")
    expect(page.get_by_label("B: seed")).to_have_value("7/5 temperature=0.8")
    path = story.interpolate("GAN", ("0", "7/5 temperature=0.8"), (None, None), 11, "straight", "relaxed").faces
    wait_for_faces(page, ".faces figure img", path)
    assert np.abs(path[-1] - face).max() <= 1


def downloaded_face(page) -> Image.Image:
    with page.expect_download() as download:
        page.get_by_role("button", name="Download chosen face").click()
    return Image.open(download.value.path())


def test_the_face_that_is_downloaded_is_the_chosen_one(visit):
    page = visit("?seed=7")
    faces = story.generate("GAN", 7, 16, 1.0, "")
    wait_for_faces(page, ".faces img", faces)

    def assert_downloads(number: int) -> None:
        image = downloaded_face(page)
        assert image.format == "PNG" and image.size == (64, 64)
        assert (image.info[story.MODEL_KEY], image.info[story.RECIPE_KEY]) == ("GAN", f"7/{number}")
        assert (np.asarray(image.convert("RGB")) == shown(page, ".faces img")[number - 1]).all()
        assert np.abs(np.asarray(image.convert("RGB")).astype(int) - faces[number - 1]).max() <= 1

    assert_downloads(1)
    page.locator(".faces input").nth(4).check(force=True)
    assert_downloads(5)
    page.locator(".faces input").nth(4).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert_downloads(7)
    # Where fewer are left than its number, the last is the chosen one, until there are as many again.
    count = page.get_by_label("number input for Faces").first
    for faces_left, number in ((4, 4), (16, 7)):
        count.fill(str(faces_left))
        count.press("Enter")
        wait_for_faces(page, ".faces img", faces[:faces_left])
        assert_downloads(number)
        expect(page.locator(".faces input").nth(number - 1)).to_be_checked()


def test_a_walk_is_downloaded(visit):
    page = visit()
    open_tab(page, "Interpolate")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the walk").click()
    assert download.value.suggested_filename.endswith(".gif")
    assert Image.open(download.value.path()).n_frames > 11


def test_a_dragged_slider_ends_on_its_last_position(visit):
    page = visit("?tab=out-of-distribution")
    slider = page.locator("input[type=range][max='100']")
    box = slider.bounding_box()
    y = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] / 2, y)
    page.mouse.down()
    for step in range(30):
        page.mouse.move(box["x"] + box["width"] * (0.5 + 0.45 * step / 30), y)
    page.mouse.up()
    mean = float(slider.input_value())
    assert mean > 80
    rows = [np.concatenate(list(story.out_of_distribution(name, mean, 0, 6).faces), axis=1) for name in MODELS]
    wait_for_faces(page, f"[data-mean='{mean:g}'] .strip img", np.stack(rows))


def test_the_mean_jumps_by_buttons_and_moves_by_keys(visit):
    page = visit("?tab=out-of-distribution&models=Shifted autoencoder")
    for button, mean in {"100": 100, "-100": -100, "-3": -3, "To the prior": -3}.items():
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.locator(f"[data-mean='{mean}']")).to_be_visible()
    slider = page.locator("input[type=range][max='100']")
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-mean='-2.5']")).to_be_visible()
    expect(page.locator(".sentence:visible")).to_contain_text("At mean -2.5")


def test_what_a_button_does_undoes_nothing_that_the_visitor_did_since(visit):
    page = visit("?tab=out-of-distribution&models=GAN&mean=40")
    expect(page.locator("[data-mean='40']")).to_be_visible()
    # A server that answers when the visitor has long gone on.
    page.route("**/queue/join*", lambda route: (page.wait_for_timeout(1000), route.continue_()))
    slider = page.locator("input[type=range][max='100']")
    page.get_by_role("button", name="To the prior").click()
    slider.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator("[data-mean='0.5']")).to_be_visible()
    page.wait_for_timeout(1500)
    expect(page.locator("[data-mean='0.5']")).to_be_visible()


def test_a_photograph_is_reconstructed_and_a_bad_one_is_told(visit, tmp_path):
    page = visit("?tab=reconstruct")
    expect(page.get_by_text("dB")).to_have_count(len(zoo.autoencoders()))
    before = shown(page, ".reconstructions img")
    draw_face(1, (300, 400)).save(tmp_path / "face.png")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "face.png")
    after = wait_for_change(page, ".reconstructions img", before)
    wait_until_drawn(page)
    after, (seen, _) = shown(page, ".reconstructions img"), shown(page, ".seen img")
    assert after.shape == (2 * len(zoo.autoencoders()), 64, 64, 3)
    for reconstruction, difference in zip(after[::2], after[1::2], strict=True):
        gain = story.Reconstruction.GAIN
        assert np.abs((gain * np.abs(reconstruction - seen)).clip(0, 255) - difference).max() <= gain

    page.get_by_role("button", name="Remove Image").first.click()
    (tmp_path / "face.jpg").write_bytes(b"no image")
    page.locator("input[type=file]").first.set_input_files(tmp_path / "face.jpg")
    expect(page.get_by_role("alert")).to_contain_text("not an image")


def test_the_epochs_of_training_are_leafed_through(visit):
    page = visit("?tab=training&epoch=1")
    wait_for_faces(page, ".faces img", story.training("GAN", 1))
    slider = page.locator("input[type=range]:visible")
    slider.focus()
    page.keyboard.press("ArrowRight")
    wait_for_faces(page, ".faces img", story.training("GAN", 2))
    expect(page.get_by_text(f"After epoch 2 of {story.history('GAN').epochs}")).to_be_visible()
    expect(page.locator(".training .chart .mark")).to_have_count(1)


def test_two_visitors_see_their_own(visit):
    one, two = visit("?seed=1"), visit("?seed=2")
    one.get_by_label("Temperature").first.fill("0.5")
    one.keyboard.press("Enter")
    wait_for_address(one, "temperature=0.5")
    wait_for_faces(two, ".faces img", story.generate("GAN", 2, 16, 1.0, ""))
    wait_for_faces(one, ".faces img", story.generate("GAN", 1, 16, 0.5, ""))


def test_the_visitor_chooses_how_faces_are_enlarged(visit):
    page = visit()
    rendering = "getComputedStyle(document.querySelector('.faces img')).imageRendering"
    assert page.evaluate(rendering) == "pixelated"
    page.get_by_label("Enlarge smoothly").check()
    page.wait_for_function(f"{rendering} === 'auto'")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_every_tab_without_scrolling_sideways(visit, scheme):
    page = visit(viewport={"width": 390, "height": 844}, color_scheme=scheme, has_touch=True, is_mobile=True)
    for tab in TABS:
        # Gradio gathers the tabs that do not fit under a button, some time after the page has arrived.
        direct, gathered = page.get_by_role("tab", name=tab), page.locator(".overflow-dropdown").get_by_text(tab)
        for _ in range(20):
            with suppress(Error):
                if not direct.is_visible():
                    page.locator(".overflow-menu button").first.click(timeout=1000)
                (direct if direct.is_visible() else gathered).click(timeout=1000)
                break
        expect(page.locator("img[alt]:visible").first).to_be_visible()
        wait_until_drawn(page)
        page.wait_for_function("document.documentElement.scrollWidth <= window.innerWidth")
    page.wait_for_function(f"document.body.classList.contains('dark') === {str(scheme == 'dark').lower()}")


def test_everything_has_a_name_that_can_be_read_aloud(visit):
    page = visit()
    for tab in TABS:
        open_tab(page, tab)
        wait_until_drawn(page)
        nameless = page.evaluate(
            """() => [...document.querySelectorAll("button, input, img, select, textarea, svg[role=img]")]
                .filter(e => e.checkVisibility() && !e.closest("footer, [aria-hidden=true]"))
                .filter(e => !(e.alt || e.ariaLabel || e.title || e.innerText?.trim() || e.labels?.length
                    || e.getAttribute("aria-labelledby")))
                .map(e => e.outerHTML.slice(0, 150))"""
        )
        assert nameless == [], tab


@pytest.fixture(scope="module")
def url_of_strangers_models(tmp_path_factory):
    """The address of a page whose models came with markup in all that is told of them."""
    models = models_with_markup(tmp_path_factory.mktemp("history"))
    with pytest.MonkeyPatch.context() as patch:
        for module in (zoo, story, app):
            patch.setattr(module, "load_all", lambda: models)
        page = app.build()
        _, url, _ = page.launch(prevent_thread_lock=True, quiet=True, server_name="127.0.0.1")
        yield url
        page.close()


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
    page = visit("?model=Attribute GAN", at=url_of_strangers_models, viewport=phone)
    page.get_by_text("More attributes").first.click()
    count = page.locator(".attribute").count()
    assert count > 30
    for number in range(6):
        page.locator('.attribute [data-sign="+"]').nth(number).click()
        expect(page.locator('.attribute [data-sign="+"][aria-pressed="true"]')).to_have_count(number + 1)
    wait_until_drawn(page)
    assert page.get_by_role("alert").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert_is_only_text(page)
    wait_for_address(page, r"%2C\+7$")
    again = visit(page.evaluate("location.search"), at=url_of_strangers_models, viewport=phone)
    expect(again.locator('.attribute [data-sign="+"][aria-pressed="true"]')).to_have_count(6)
    page = visit("?tab=reconstruct", at=url_of_strangers_models, viewport=phone)
    wait_until_drawn(page)
    slider = page.locator(".directions input[type=range]").nth(4)
    slider.fill("2")
    wait_for_address(page, "attribute.*=2")
    wait_until_drawn(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert_is_only_text(page)


def test_what_a_link_says_is_shown_as_text(visit):
    text = MARKUP.replace("\ud800", "")
    names = ("tab", "model", "seed", "faces", "bits", "face")
    page = visit("?" + urlencode(dict.fromkeys(names, text)))
    for name in ("model", "seed", "faces", "face"):
        expect(page.get_by_text(f"The link's {name} cannot be")).to_contain_text("<img class=planted")
    wait_until_drawn(page)
    assert_is_only_text(page)
    link = f"<img class=planted src={FOREIGN} onerror=planted=1>"
    page = visit(
        "?" + urlencode({"tab": "interpolate", "a": link, "b": f"![a]({FOREIGN}/c.png)", "steps": "${planted=1}"})
    )
    expect(page.get_by_role("alert").filter(has_text="is no face")).to_contain_text("<img class=planted")
    # What gradio shows in a box of its own; nothing is downloaded then.
    downloads = []
    page.on("download", lambda download: downloads.append(download))
    page.get_by_role("button", name="Download the walk").click()
    expect(page.get_by_test_id("toast-body")).to_contain_text("<img class=planted")
    assert_is_only_text(page)
    page.get_by_label("A: seed").fill("7")
    page.get_by_label("B: seed").fill("8")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download the walk").click()
    assert downloads == [download.value] and Image.open(download.value.path()).format == "GIF"


# Where Spaces are shown.
HUB = "https://huggingface.co"

FRAME = """<script>onmessage = (event) => (window.heard ??= []).push([event.origin, event.data]);</script>
<iframe src="{}" width="1000" height="800"></iframe>"""


def test_on_a_space_the_outer_address_follows(chromium, url):
    context = chromium.new_context(permissions=["local-network-access"])
    page = context.new_page()
    inner = f"{url}?logs=build&seed=5&__theme=dark&__sign=secret#part"
    page.route(f"{HUB}/**", lambda route: route.fulfill(body=FRAME.format(inner), content_type="text/html"))
    page.goto(f"{HUB}/spaces/somebody/latent-faces")
    frame = next(frame for frame in page.frames if frame.url.startswith(url))
    frame.wait_for_function("window.latentFaces?.tab")
    frame.get_by_label("Temperature").first.fill("0.5")
    frame.get_by_label("Temperature").first.press("Enter")
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
    page = visit("?theirs=1&seed=5")
    page.evaluate("window.heard = []; addEventListener('message', (event) => heard.push(event.data))")
    shown(page, ".faces img")  # Before the page stands, nobody listens to its buttons.
    wait_until_drawn(page)
    page.get_by_role("button", name="Roll").first.click()
    wait_for_address(page, r"seed=(?!5(&|$))\d")
    assert query(page)["theirs"] == "1"
    assert not page.evaluate("heard.some((data) => data.queryString)")
