"""KServe's own client against the gateway. It cannot be installed beside BentoML (they disagree on python-dateutil)."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.platform import Platform

KSERVE = "kserve==0.21.0"
SCRIPT = """
import asyncio, json, sys
from kserve import InferInput, InferRequest, InferenceRESTClient, RESTConfig

async def main(url):
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    points = InferInput(name="input", shape=[2, 2], datatype="FP32", data=[[0.1, 0.2], [3.0, -2.0]])
    request = InferRequest(model_name="drift", infer_inputs=[points], request_id="mine")
    answer = await client.infer(url, request, model_name="drift")
    print(json.dumps({
        "live": await client.is_server_live(url),
        "ready": await client.is_server_ready(url),
        "model": await client.is_model_ready(url, "drift"),
        "id": answer.id,
        "outputs": {output.name: [output.shape, output.data] for output in answer.outputs},
    }))

asyncio.run(main(sys.argv[1]))
"""


def test_the_kserve_client_works_as_it_is(platform: Platform) -> None:
    command = [str(Path(sys.prefix) / "bin" / "uv"), "run", "--no-project", "--isolated", "--with", KSERVE]
    done = subprocess.run(
        [*command, "--python", sys.executable, "python", "-c", SCRIPT, str(platform.client.base_url)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert (answer["live"], answer["ready"], answer["model"], answer["id"]) == (True, True, True, "mine")
    shape, scores = answer["outputs"]["scores"]
    assert shape == [2, 2]
    assert abs(scores[0] + scores[1] - 1) < 1e-4
    assert answer["outputs"]["label"][1][1] == "below"
