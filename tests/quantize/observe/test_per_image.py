from threading import Event

from edgefer.quantize.observe.per_image import run


def test_once_closed_no_more_are_run():
    started, closed = [], Event()

    class Session:
        inputs = ("x",)

        def run(self, outputs, feed):
            started.append(feed["x"])
            if feed["x"] > 0:
                closed.wait(10)
            return [feed["x"]]

    rows = run([Session()], range(100), list)
    assert next(rows) == [0]
    rows.close()
    closed.set()
    assert list(run([Session()], [100], list)) == [[100]]
    assert len(started) < 10
