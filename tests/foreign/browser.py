"""Opens a page in headless Chromium, at several widths and in both colour schemes, and says what is there.

browser.py PAGE DIRECTORY: writes a screenshot of each into DIRECTORY and prints one JSON object.
"""

import base64
import json
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.request

import websocket

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-port=0", "--remote-allow-origins=*",
)
WIDTHS = (1280, 390)
SCHEMES = ("light", "dark")
# A browser that says nothing for so long is broken.
PATIENCE = 120

LOOK = r"""
(() => {
  const box = element => element.getBoundingClientRect();
  const all = selector => [...document.querySelectorAll(selector)];
  const text = selector => all(selector).map(element => element.textContent.trim());
  const svg = name => {
    const element = document.getElementById(name);
    if (!element) return null;
    const {width, height} = box(element);
    const named = element.getAttribute('aria-labelledby').split(' ').map(id => document.getElementById(id).textContent);
    return {width, height, named,
      cells: element.querySelectorAll('.cells rect').length,
      exits: [...element.querySelectorAll('.cells title')]
        .reduce((sum, title) => sum + Number(title.textContent.split(': ')[1].replace(/\D/g, '')), 0),
      curves: element.querySelectorAll('.curve').length,
      lines: element.querySelectorAll('polyline').length};
  };
  const luminance = colour => {
    const [r, g, b] = colour.match(/[\d.]+/g).map(Number)
      .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const background = element => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (!/^rgba\(.*, 0\)$/.test(colour)) return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  const contrast = element => {
    const [a, b] = [luminance(getComputedStyle(element).color), luminance(background(element))]
      .sort((a, b) => a - b);
    return (b + 0.05) / (a + 0.05);
  };
  const words = all('p, h1, h2, th, td, .label, .number, .more, .item, .rows span, .columns span, .bar span, summary')
    .filter(element => element.textContent.trim() && box(element).width > 0);
  const faint = words.map(element => [contrast(element), element.textContent.trim().slice(0, 40)])
    .filter(([ratio]) => ratio < 4.5);
  return {
    title: document.title,
    paper: getComputedStyle(document.body).backgroundColor,
    headings: text('h2'),
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    exits: text('[data-id=exits]')[0],
    lost: text('[data-id=lost]')[0],
    heat: svg('heat'), heat_before: svg('heat-before'), curves: svg('curves'),
    bars: all('.bar').map(bar => ({
      label: bar.getAttribute('aria-label'), width: box(bar).width,
      filled: [...bar.children].reduce((sum, piece) => sum + box(piece).width, 0)})),
    rows: all('#rows tbody tr:not(.rule)').map(row => [...row.children].map(cell => cell.innerText.trim())),
    losses: all('#losses tbody tr').map(row => row.children[0].textContent.trim()),
    scripts: all('script, iframe, object, embed, link, img, base, form').length,
    handlers: all('*').filter(e => [...e.attributes].some(a => /^on/i.test(a.name))).length,
    vms: text('.vm > .name'),
    words: document.body.innerText,
    faint,
  };
})()
"""


class Browser:
    """One tab, spoken to by the DevTools protocol."""

    def __init__(self, profile):
        self.process = subprocess.Popen(
            ["chromium", *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            # It writes the port into its profile when it listens, and has a tab some time later.
            port = self.until("listens", lambda: self.port(profile))
            tab = self.until("has a tab", lambda: self.tab(port))
            self.socket = websocket.create_connection(tab["webSocketDebuggerUrl"], timeout=PATIENCE)
        except BaseException:
            self.process.kill()
            raise
        self.number, self.events = 0, []

    def until(self, what, ask):
        end = time.monotonic() + PATIENCE
        while not (answer := ask()):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"waited in vain until chromium {what}; its status: {self.process.poll()}")
            time.sleep(0.05)
        return answer

    @staticmethod
    def port(profile):
        file = pathlib.Path(profile, "DevToolsActivePort")
        lines = file.read_text().splitlines() if file.exists() else []
        return lines[0] if len(lines) > 1 else None

    @staticmethod
    def tab(port):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json/list", timeout=PATIENCE) as answer:
            return next((tab for tab in json.load(answer) if tab["type"] == "page"), None)

    def call(self, method, **parameters):
        self.number += 1
        self.socket.send(json.dumps({"id": self.number, "method": method, "params": parameters}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                if "error" in message:
                    raise RuntimeError(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def value(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(json.dumps(answer["exceptionDetails"]))
        return answer["result"]["value"]

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(PATIENCE)


def complaint(event):
    """What the browser has to say against the page, if anything."""
    method, parameters = event.get("method"), event.get("params", {})
    if method == "Log.entryAdded":
        return parameters["entry"]["text"]
    if method in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Network.loadingFailed"):
        return json.dumps(parameters)
    return None


def main(page, directory):
    address = pathlib.Path(page).resolve().as_uri()
    answer = {"views": {}}
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(profile)
        try:
            for domain in ("Page", "Log", "Runtime", "Network"):
                browser.call(f"{domain}.enable")
            browser.call("Page.navigate", url=address)
            # Not any load event: that of the empty page may come late.
            browser.until("has the page", lambda: browser.value("[location.href, document.readyState]")
                          == [address, "complete"])
            for width in WIDTHS:
                for scheme in SCHEMES:
                    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=900,
                                 deviceScaleFactor=1, mobile=width < 600)
                    browser.call("Emulation.setEmulatedMedia",
                                 features=[{"name": "prefers-color-scheme", "value": scheme}])
                    name = f"{width}-{scheme}"
                    answer["views"][name] = browser.value(LOOK)
                    shot = browser.call("Page.captureScreenshot", captureBeyondViewport=True)
                    pathlib.Path(directory, f"{name}.png").write_bytes(base64.b64decode(shot["data"]))
            answer["complaints"] = [c for c in map(complaint, browser.events) if c]
            requests = (e for e in browser.events if e.get("method") == "Network.requestWillBeSent")
            answer["requests"] = [r["params"]["request"]["url"] for r in requests]
        finally:
            browser.close()
    assert answer["requests"] == [address], answer["requests"]
    print(json.dumps(answer))


main(*sys.argv[1:])
