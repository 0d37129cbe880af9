from __future__ import annotations
from collections.abc import Callable
import docker
def ensure_image(client: docker.DockerClient, say: Callable[[str], None]) -> str:
    return "squall-node:hand"
