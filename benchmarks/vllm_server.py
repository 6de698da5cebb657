"""vLLM's OpenAI server on CPU, as a process of its own environment."""

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from common.errors import DvdError, StartupError
from deploy.bench.openai_door import OpenAiDoor

HOST = "127.0.0.1"
START_SECONDS = 300.0
STOP_SECONDS = 30.0
LOOK_SECONDS = 0.5
STEP_TOKENS = 512
VIDEO_PROCESSOR = "video_preprocessor_config.json"


def is_installed(environment: Path) -> bool:
    """Whether an environment has vLLM."""
    return any(environment.glob("lib/python*/site-packages/vllm/version.py"))


def add_video_processor(model_dir: Path) -> None:
    """Write the one file that vLLM asks for and our checkpoints lack; nothing else reads it."""
    document = json.loads((model_dir / "preprocessor_config.json").read_text(encoding="utf-8"))
    kept = (
        *("do_convert_rgb", "do_normalize", "do_rescale", "do_resize", "image_mean", "image_std"),
        *("processor_class", "resample", "rescale_factor", "size"),
    )
    video = {key: document[key] for key in kept}
    video["video_processor_type"] = "InternVLVideoProcessor"
    (model_dir / VIDEO_PROCESSOR).write_text(json.dumps(video), encoding="utf-8")


@asynccontextmanager
async def vllm_serving(
    environment: Path, model_dir: Path, num_threads: int, log: Path
) -> AsyncIterator[OpenAiDoor]:
    """Run vLLM for the length of the context; a door to it.

    Args:
        environment: Where it is installed.
        model_dir: In the layout of transformers.
        num_threads: That compute.
        log: What it says goes there.

    Raises:
        StartupError: It does not start.
    """
    port = _free_port()
    with log.open("wb") as written:
        process = await asyncio.create_subprocess_exec(
            *_command(environment, model_dir, port),
            env=os.environ | _variables(num_threads),
            stdout=written,
            stderr=written,
        )
        door = OpenAiDoor(f"{HOST}:{port}")
        try:
            await _wait_until_it_answers(door, process, log)
            yield door
        finally:
            await door.close()
            if process.returncode is None:
                process.terminate()
            try:
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()


def _command(environment: Path, model_dir: Path, port: int) -> list[str]:
    """Float32, as we compute on a CPU; steps about as short as pictures of 13 tiles allow."""
    return [
        str(environment / "bin/python"),
        *("-m", "vllm.entrypoints.openai.api_server", "--model", str(model_dir)),
        *("--host", HOST, "--port", str(port), "--dtype", "float32", "--enforce-eager"),
        *("--max-num-batched-tokens", str(STEP_TOKENS), "--max-num-seqs", "32"),
        *("--limit-mm-per-prompt", '{"image": 1, "video": 0}', "--api-server-count", "1"),
    ]


def _variables(num_threads: int) -> dict[str, str]:
    return {
        "OMP_NUM_THREADS": str(num_threads),
        # Threads that spin while they wait would take the processors from all others.
        "OMP_WAIT_POLICY": "passive",
        "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "VLLM_CPU_KVCACHE_SPACE": "1",
        "HF_HUB_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }


async def _wait_until_it_answers(
    door: OpenAiDoor, process: asyncio.subprocess.Process, log: Path
) -> None:
    latest = asyncio.get_running_loop().time() + START_SECONDS
    while asyncio.get_running_loop().time() < latest:
        if process.returncode is not None:
            raise StartupError(f"vLLM ended with status {process.returncode}; {log} says why.")
        try:
            await door.model_name()
        except DvdError:
            await asyncio.sleep(LOOK_SECONDS)
        else:
            return
    raise StartupError(f"vLLM did not start within {START_SECONDS:g} seconds; see {log}.")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind((HOST, 0))
        port: int = free.getsockname()[1]
        return port
