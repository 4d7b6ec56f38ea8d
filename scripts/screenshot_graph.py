"""Take the pictures of the graph that README and documentation show.

Needs Chromium, and the results of `kedro run` and `make viz-build`, so that there is something to preview.

Usage: python scripts/screenshot_graph.py [BUILD_FOLDER [PICTURE_FOLDER]]
"""

from __future__ import annotations

import functools
import io
import json
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PROJECT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        """Stay quiet."""


class Graph:
    """The graph in a browser.

    Parameters
    ----------
    page : Page
        The browser's page; for all that this class has no method for.
    url : str
        Address of the graph.
    """

    def __init__(self, page: Page, url: str):
        self.page = page
        self.url = url
        self.errors: list[str] = []
        page.on("pageerror", lambda error: self.errors.append(str(error)))

    def arrange(self, *, width: int, height: int, sidebar: bool = True) -> None:
        """Set up the window for what is shown from now on.

        Parameters
        ----------
        width, height : int
            Its size [px].
        sidebar : bool
            Whether the list of pipelines and nodes is shown.
        """
        self.page.set_viewport_size({"width": width, "height": height})
        settings = {  # what kedro-viz keeps in the browser
            "showFeatureHints": False,
            "theme": "light",
            "visible": {"sidebar": sidebar, "miniMap": False, "code": False, "graph": True},
        }
        self.page.add_init_script(f"localStorage.setItem('KedroViz', JSON.stringify({json.dumps(settings)}))")

    def show(self, pipeline: str = "__default__", node: str | None = None, *, expanded: bool = False) -> None:
        """Open a pipeline, and a node's side panel, and wait until both are drawn.

        Parameters
        ----------
        pipeline : str
            Name of the pipeline.
        node : str, optional
            Name of the node or data set whose side panel is opened.
        expanded : bool
            Whether each pipeline shows its nodes instead of one box.
        """
        query = {"pid": pipeline, "expandAllPipelines": str(expanded).lower()}
        if node:
            listed = self.page.request.get(f"{self.url}/api/pipelines/{pipeline}").body()
            query["sid"] = next(entry["id"] for entry in json.loads(listed)["nodes"] if entry["name"] == node)
        self.page.goto(f"{self.url}/?{urlencode(query)}")
        self.page.locator(".pipeline-node").first.wait_for()
        if node:
            self.page.locator(".pipeline-metadata").get_by_text(node, exact=True).first.wait_for()
        self.page.wait_for_timeout(1500)  # the graph and the panel glide to their places

    def save(self, path: Path) -> None:
        """Take a picture of the graph and the side panel, without the tool bars.

        Parameters
        ----------
        path : Path
            PNG file.
        """
        edge = self.page.locator(".pipeline-primary-toolbar").evaluate("bar => bar.getBoundingClientRect().right") + 1
        window = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        window.crop((round(edge), 0, *window.size)).save(path, optimize=True)


@contextmanager
def open_graph(build: Path) -> Iterator[Graph]:
    """Serve a folder made by `kedro viz build` on loopback and open it in headless Chromium.

    Parameters
    ----------
    build : Path
        The folder.

    Yields
    ------
    Graph
        With requests to anything but the folder refused: kedro-viz asks for a web font.
    """
    handler = functools.partial(_Quiet, directory=str(build))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as playwright:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        browser = playwright.chromium.launch(executable_path=CHROMIUM)
        try:
            page = browser.new_page()
            page.route(lambda asked: not asked.startswith(url), lambda route: route.abort())
            graph = Graph(page, url)
            graph.arrange(width=1500, height=900)
            yield graph
        finally:
            browser.close()
            server.shutdown()


def take_pictures(graph: Graph, folder: Path) -> None:
    """Write the pictures.

    Parameters
    ----------
    graph : Graph
        The open graph.
    folder : Path
        Where to write them.
    """
    graph.arrange(width=1100, height=1500, sidebar=False)
    graph.show()
    graph.save(folder / "pipeline.png")
    graph.arrange(width=1280, height=760, sidebar=False)
    graph.show(node="test_labels_pred", expanded=True)
    graph.save(folder / "pipeline_preview.png")


def main(arguments: list[str]) -> None:
    """Open the graph and take the pictures.

    Parameters
    ----------
    arguments : list of str
        Build folder and picture folder, both optional.
    """
    build = Path(arguments[0]) if arguments else PROJECT / "build"
    folder = Path(arguments[1]) if arguments[1:] else PROJECT / "docs" / "images"
    with open_graph(build) as graph:
        take_pictures(graph, folder)


if __name__ == "__main__":
    main(sys.argv[1:])
