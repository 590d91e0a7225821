"""Chromium without a window, steered over two pipes by its DevTools protocol."""

import json
import os
import select
import shutil
import subprocess
import time

PROGRAM = shutil.which("chromium") or shutil.which("google-chrome")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage",
)  # fmt: skip


class Browser:
    """One tab; `call` is a DevTools method, `events` is what the browser reported of itself."""

    def __init__(self, profile, *options):
        theirs, self._out = os.pipe()
        self._in, answers = os.pipe()
        command = f'exec "$0" "$@" 3<&{theirs} 4>&{answers}'
        steering = (f"--user-data-dir={profile}", "--remote-debugging-pipe", "about:blank")
        arguments = [PROGRAM, *OPTIONS, *options, *steering]
        self._process = subprocess.Popen(
            ["bash", "-c", command, *arguments], pass_fds=(theirs, answers), stderr=subprocess.DEVNULL
        )
        os.close(theirs)
        os.close(answers)
        self._buffer, self._count, self._session, self.events = b"", 0, {}, []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self._session = {"sessionId": session}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self._count += 1
        message = {"id": self._count, "method": method, "params": params, **self._session}
        os.write(self._out, json.dumps(message).encode() + b"\0")
        return self._wait(lambda answer: answer.get("id") == self._count)["result"]

    def show(self, path, width, scheme):
        """Load a file at a width in CSS pixels, light or dark."""
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=True)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.events.clear()
        self.call("Page.navigate", url=path.as_uri())
        if not self.seen("Page.loadEventFired"):
            self._wait(lambda answer: answer.get("method") == "Page.loadEventFired")

    def evaluate(self, expression):
        return self.call("Runtime.evaluate", expression=expression, returnByValue=True)["result"]["value"]

    def seen(self, *methods):
        return [event["params"] for event in self.events if event.get("method") in methods]

    def close(self):
        self._process.terminate()
        self._process.wait(20)
        os.close(self._in)
        os.close(self._out)

    def _wait(self, is_wanted, seconds=60):
        deadline = time.monotonic() + seconds
        while True:
            while b"\0" not in self._buffer:
                if not select.select([self._in], [], [], max(deadline - time.monotonic(), 0))[0]:
                    raise TimeoutError("the browser does not answer")
                if not (data := os.read(self._in, 1 << 20)):
                    raise ConnectionError("the browser ended")
                self._buffer += data
            message, _, self._buffer = self._buffer.partition(b"\0")
            answer = json.loads(message)
            self.events.append(answer)
            if is_wanted(answer):
                return answer
