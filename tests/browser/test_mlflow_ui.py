"""Rules of promotion by hand: a person moves the alias in MLflow's own pages, and the service follows."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.expected_conditions import element_to_be_clickable
from selenium.webdriver.support.ui import WebDriverWait

from tests.serve.promotions import live_bundle, register, settled
from tests.serve.service import Service
from tests.serve.test_service import HEALTHY, detect, eventually

DETECTOR = "adaptive"
NAME = f"hdx-generic-{DETECTOR}"
WAIT_S = 60
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
# Before any fixture, so that a machine without them starts no service for it.
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium and its driver: apt install chromium chromium-driver"
)
# As MLflow 3 marks the parts of its pages.
EDIT = (By.CSS_SELECTOR, "[data-component-id*='modelversionviewaliaseditor']")
WRITE = (By.CSS_SELECTOR, "[role=dialog] input[role=combobox]")
SAVE = (By.CSS_SELECTOR, "[data-component-id='mlflow.edit-aliases-modal.save-button']")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1500,1100",
)


@pytest.fixture
def browser(service: Service, tmp_path: Path) -> Iterator[webdriver.Chrome]:
    """A Chromium without a window; the last page is kept as a picture."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(flag)
    opened = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=DRIVER))
    log_in(opened, service)
    yield opened
    opened.save_screenshot(str(tmp_path / "last.png"))
    opened.quit()


def log_in(browser: webdriver.Chrome, service: Service) -> None:
    """Log in by the address, for no driver can type into the browser's own window; it is kept for the pages after."""
    settings = service.settings
    login = f"{settings.mlflow_username}:{settings.mlflow_password.get_secret_value()}"
    browser.get(settings.tracking_url.replace("//", f"//{login}@"))


def on_page(browser: webdriver.Chrome, place: tuple[str, str]) -> WebElement:
    """Wait for a part of the page that can be clicked."""
    try:
        found: WebElement = WebDriverWait(browser, WAIT_S).until(element_to_be_clickable(place))
    except WebDriverException:
        pytest.fail(f"{place[1]} is not on the page: {browser.find_element(By.TAG_NAME, 'body').text[:2000]}")
    return found


def move_champion(browser: webdriver.Chrome, service: Service, version: str) -> None:
    """Open a version's page, add the alias to it and save, with mouse and keyboard."""
    browser.get("about:blank")
    browser.get(f"http://127.0.0.1:{service.environment['HDX_MLFLOW_PORT']}/#/models/{NAME}/versions/{version}")
    on_page(browser, EDIT).click()
    on_page(browser, WRITE).send_keys("champion", Keys.ENTER)
    on_page(browser, SAVE).click()
    WebDriverWait(browser, WAIT_S).until(lambda page: not page.find_elements(*SAVE))


def voted(client: httpx.Client) -> Any:
    """Return the version that judges for the detector."""
    votes = detect(client, 1, HEALTHY)["ml_predictions"]
    return next(vote["version"] for vote in votes if vote["ml_model"] == DETECTOR)


def test_the_fleet_follows_a_click(service: Service, browser: webdriver.Chrome) -> None:
    """`champion` moved by clicking changes the version in the answers, on all replicas; moved back, it returns."""
    version = register(service, live_bundle(service, DETECTOR), "by a click")
    with service.client() as client:
        before = voted(client)
        assert before != version
        for wanted in (version, before):
            move_champion(browser, service, wanted)
            assert eventually(settled(client, DETECTOR, wanted))
            assert eventually(lambda wanted=wanted: voted(client) == wanted)  # type: ignore[misc]
            browser.refresh()
            on_page(browser, EDIT)
            page = browser.find_element(By.TAG_NAME, "body").text
            assert "live" in page
            assert "champion" in page
