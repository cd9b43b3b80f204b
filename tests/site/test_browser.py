"""The built site in a real browser: what a reader does, in Chromium without a screen.

The site is served on this machine; a request that leaves it, an error in the console or
an error of a script fails whichever test meets it. Pictures of what was looked at stay in
``.reports/screens``.
"""

from __future__ import annotations

import gzip
import http.server
import shutil
import threading
from functools import partial

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

import catalog

SITE = catalog.ROOT / "docs" / "_build" / "site"
SCREENS = catalog.ROOT / ".reports" / "screens"
PAGES = {page.name: page for page in catalog.find_pages(catalog.read_vocabulary())[0]}
MOST_LANDING_BYTES, MOST_SECONDS = 1_000_000, 1.0
CARDS = ".finder-card a"
# What a reader might ask, and the page that must be among the first three.
QUESTIONS = {
    "how do I pad a batch": "batch_sequences_of_unequal_length",
    "per sample gradients": "survive_wrong_labels_by_per_sample_gradients",
    "which optimizer should I use": "compare_optimizers_fairly",
    "learning rate warmup": "schedule_the_learning_rate",
    "resume training from a checkpoint": "stop_a_training_and_resume_it",
    "is torch.load safe": "save_load_and_export_safely",
    "why is my DataLoader slow": "dataloader_four_gifts",
    "imbalanced classes loss": "choose_a_loss_for_rare_classes",
    "train on two GPUs with DDP": "train_on_two_processes_with_torchrun",
    "F1 score over batches": "add_up_a_score_over_batches",
    "vmap an ensemble of models": "train_an_ensemble_with_vmap",
    "replace torchtext vocabulary": "torchtext_and_plain_torch",
    "fit an ODE to data": "fit_an_ode_to_drug_levels",
    "scatter softmax over groups": "reduce_groups_with_torch_scatter",
    "nearest neighbours of points": "find_neighbours_with_torch_cluster",
    "augment bounding boxes": "transform_image_boxes_and_masks_together",
    "resample audio without aliasing": "resample_without_aliasing",
    "link prediction on a graph": "predict_missing_air_routes",
    "attention from scratch": "attention_from_scratch_character_model",
    "transfer learning few shots": "reuse_features_for_new_classes",
    "hessian vector product": "measure_uncertainty_with_hessians",
    "classify MNIST digits": "classify_handwritten_digits",
    "save tensorboard logs in lightning": "watch_a_lightning_run",
    "graph classification": "classify_molecules_mutag_gin",
}
LOOKED_AT = {
    "landing": "index.html",
    "folder": "gallery/audio/index.html",
    "core": "gallery/core/compare_optimizers_fairly.html",
    "audio": "gallery/audio/see_sound_waveforms_and_spectrograms.html",
    "health": "health.html",
    "api": "api.html",
    "replaced": "replaced.html",
}


class Handler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def base():
    """Address of the site, served for as long as these tests run."""
    if not (SITE / "index.html").exists():
        pytest.fail("there is no site: run `nox -s docs` first", pytrace=False)
    handler = partial(Handler, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture(scope="module")
def chromium():
    """A running browser; says what to install if there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    path = next(filter(None, map(shutil.which, names)), None)
    if path is None:
        advice = "install Chromium (Debian: `apt-get install chromium`) for this session"
        pytest.fail(advice, pytrace=False)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium, base):
    """``tab(path, **options)`` opens a page; errors and strays fail the test."""
    wrong, contexts = [], []

    def open_page(path="index.html", **options):
        contexts.append(context := chromium.new_context(**options))
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        page = context.new_page()
        page.on("console", lambda m: m.type == "error" and wrong.append(m.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "request",
            lambda r: (
                r.url.startswith(("http", "ws"))
                and not r.url.startswith(base)
                and wrong.append(r.url)
            ),
        )
        page.goto(path if "://" in path else base + path)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert wrong == []


def names(page, most=3):
    """File names of the first cards that are shown."""
    links = page.eval_on_selector_all(CARDS, "all => all.map(a => a.href)")
    return [link.split("/")[-1].removesuffix(".html") for link in links[:most]]


def show_all_pictures(page):
    """Make the cards' pictures load, which else wait to be seen; returns their widths."""
    pictures = page.locator(".finder-card img")
    pictures.evaluate_all("all => all.forEach(i => (i.loading = 'eager'))")
    page.wait_for_load_state("networkidle")
    return pictures.evaluate_all("all => all.map(i => i.naturalWidth)")


def test_landing_is_light_and_quick(tab):
    """Bytes as hosts send them: text compressed; and all pictures, though most are late."""
    page, sizes = tab(), {}
    page.on("response", lambda r: sizes.update({r.url: len(gzip.compress(r.body()))}))
    timing = "performance.getEntriesByType('navigation')[0].domInteractive"
    seconds = []
    for _ in range(3):
        page.reload()
        seconds.append(page.evaluate(timing) / 1000)
    show_all_pictures(page)
    print(f"interactive after {sorted(seconds)[1]:.2f} s, {sum(sizes.values()):,} bytes")
    assert sorted(seconds)[1] < MOST_SECONDS
    assert len(PAGES) < len(sizes)
    assert sum(sizes.values()) < MOST_LANDING_BYTES


def test_every_page_has_a_card_with_a_picture(tab):
    page = tab()
    assert set(names(page, None)) == set(PAGES)
    widths = show_all_pictures(page)
    assert len(widths) == len(PAGES)
    assert min(widths) > 0


def test_dense_screen_gets_sharper_pictures(tab):
    for density, sharp in ((1, False), (2, True)):
        page = tab(device_scale_factor=density)
        show_all_pictures(page)
        pictures = page.locator(".finder-card img")
        used = pictures.evaluate_all("all => all.map(i => i.currentSrc)")
        assert [source.endswith("-2x.webp") for source in used] == [sharp] * len(PAGES)


@pytest.mark.parametrize("question", QUESTIONS)
def test_question_finds_its_page(tab, question):
    page = tab()
    page.fill("#finder input", question)
    assert QUESTIONS[question] in names(page)


def test_filters_combine_and_the_address_keeps_them(tab):
    page = tab()
    page.select_option("#finder [name=domain]", "graphs")
    page.select_option("#finder [name=module]", "torch_geometric")
    page.select_option("#finder [name=level]", "intermediate")
    page.select_option("#finder [name=task]", "classification")
    expected = {
        name
        for name, p in PAGES.items()
        if p.folder.startswith("graphs")
        and "torch_geometric" in p.modules
        and p.level == "intermediate"
        and p.task == "classification"
    }
    assert set(names(page, None)) == expected
    assert expected
    said = page.inner_text("#finder output")
    again = tab(page.url)
    assert set(names(again, None)) == expected
    assert again.inner_text("#finder output") == said
    again.click("#finder button")
    again.wait_for_function(f"document.querySelectorAll('{CARDS}').length == {len(PAGES)}")
    assert "#" not in again.url


def test_finding_nothing_says_what_to_do(tab):
    page = tab("index.html#q=zzzzzz")
    assert names(page) == []
    assert "fewer words" in page.inner_text("#finder output")


def test_keyboard_alone_reaches_a_page(tab):
    page = tab()
    page.focus("#finder input")
    page.keyboard.type("pad a batch")
    for _ in range(7):  # five lists, the button, the first card
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/batch_sequences_of_unequal_length.html")


def test_without_javascript_all_pages_are_there(tab):
    page = tab(java_script_enabled=False)
    assert page.locator(".finder-card").count() == len(PAGES)
    assert "needs JavaScript" in page.inner_text("#finder")
    assert not page.is_visible("#finder form")


def test_without_a_server(tab):
    page = tab(SITE.joinpath("index.html").as_uri() + "#q=pad+a+batch")
    assert names(page)[0] == "batch_sequences_of_unequal_length"


def test_copy_button_copies_the_script(tab):
    page = tab(LOOKED_AT["core"])
    page.click(".gallery-copy")
    page.wait_for_function("document.querySelector('.gallery-copy').innerText == 'Copied'")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == PAGES["compare_optimizers_fairly"].path.read_text()


def test_audio_plays(tab):
    page = tab(LOOKED_AT["audio"])
    page.evaluate("document.querySelector('audio').play()")
    page.wait_for_function("document.querySelector('audio').currentTime > 0.05")


def test_animation_waits_for_the_reader(tab):
    page = tab(LOOKED_AT["core"])
    slider = ".anim-slider"
    before = page.locator(slider).first.input_value()
    page.wait_for_timeout(1000)
    assert page.locator(slider).first.input_value() == before
    page.click("[aria-label=Play]")
    page.wait_for_function(f"document.querySelector('.anim-slider').value != '{before}'")


def test_search_finds_a_word_of_the_text(tab):
    page = tab("search.html?q=gradcheck")
    page.wait_for_selector("#search-results li a[href*='autograd_fit_the_co2_curve']")


@pytest.mark.parametrize("mode", ["light", "dark"])
@pytest.mark.parametrize("name", LOOKED_AT)
def test_accessible_in_light_and_dark(tab, name, mode):
    page = tab(LOOKED_AT[name], color_scheme=mode)
    assert page.get_attribute("html", "data-theme") == mode
    SCREENS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENS / f"{name}-{mode}.png")
    found = Axe().run(page, options={"preload": False}).response["violations"]
    serious = [v for v in found if v["impact"] in ("serious", "critical")]
    told = [(v["id"], [n["html"][:200] for n in v["nodes"]][:3]) for v in serious]
    assert told == []


@pytest.mark.parametrize("name", LOOKED_AT)
def test_fits_a_phone(tab, name):
    page = tab(LOOKED_AT[name], viewport={"width": 375, "height": 800})
    page.screenshot(path=SCREENS / f"{name}-phone.png")
    assert page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
