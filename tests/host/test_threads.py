from threading import Event

import pytest

from edgefer.host.threads import ahead, aside, in_order


def test_results_come_in_order_whichever_is_done_first():
    second = Event()

    def work(item):
        if item == 0:
            second.wait(1)
        if item == 1:
            second.set()
        return item * 10

    assert list(in_order(work, range(5))) == [0, 10, 20, 30, 40]


def test_all_items_can_be_begun_before_the_first_is_asked_for():
    asked_for = []

    def items():
        for item in range(10):
            asked_for.append(item)
            yield item

    results = in_order(str, items(), begun_at_most=10)
    assert next(results) == "0"
    assert asked_for == list(range(10))
    assert list(results) == [str(item) for item in range(1, 10)]


def test_items_that_ask_for_further_items_do_not_wait_for_each_other():
    def rows(item):
        return list(in_order(lambda other: 10 * item + other, range(3)))

    assert list(in_order(rows, range(40))) == [[10 * item + other for other in range(3)] for item in range(40)]


def test_what_is_done_aside_is_there_when_it_is_asked_for():
    begun, goes_on = Event(), Event()

    def work():
        begun.set()
        return goes_on.wait(10)

    result = aside(work)
    assert begun.wait(10)
    assert not result.done()
    goes_on.set()
    assert result.result()


def test_the_next_item_is_made_while_one_is_used():
    made = [Event() for _ in range(3)]

    def items():
        for index, event in enumerate(made):
            event.set()
            yield index

    for index in ahead(items()):
        assert index == 2 or made[index + 1].wait(10)


def test_what_an_item_raises_reaches_its_user():
    def items():
        yield 1
        raise ValueError("no more")

    made = ahead(items())
    assert next(made) == 1
    with pytest.raises(ValueError, match="no more"):
        next(made)
