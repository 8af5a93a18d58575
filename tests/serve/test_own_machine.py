"""Five machines that HDX does not ship, walked through REST by a stranger: the service says what the page shows."""

import pytest

from tests.serve.own_machine import PAGE, STORIES, sections, told
from tests.serve.service import Service
from tests.serve.walk import alike

# Source: what GitHub shows of a block of text without a scroll bar.
LONGEST = 125


@pytest.mark.parametrize("name", STORIES)
def test_the_service_says_what_the_page_shows(service: Service, name: str) -> None:
    """Requests, states, alarms and causes are those of the page; numbers may lie a few percent from them."""
    with service.client() as client:
        said = told(STORIES[name], client)
    page = sections()[list(STORIES).index(name)]
    assert alike(page, said), said


def test_the_page_has_every_machine() -> None:
    """Each walk stands on the page, one after the other, in lines that can be read without scrolling."""
    assert len(sections()) == len(STORIES)
    assert max(map(len, PAGE.read_text(encoding="utf-8").splitlines())) < LONGEST


def test_numbers_may_differ_a_little_and_words_may_not() -> None:
    """Another library may add up in another order; another component, unit or state is another answer."""
    page = '{"anomaly_score": 0.94, "text": "pressure 12 % below normal"}'
    assert alike(page, page.replace("0.94", "0.97"))
    assert not alike(page, page.replace("0.94", "0.14"))
    assert not alike(page, page.replace("pressure", "flow"))
    assert not alike(page, page.replace("12 %", "25 %"))
