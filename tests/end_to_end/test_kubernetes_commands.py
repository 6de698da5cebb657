"""What the pods of the laptop's overlay run, on one machine: nodes by role, and `dvd serve`.

Kubernetes itself is not here. Its part, names and paths in a pod, is played by the shell.
"""

import pytest

from deploy.manifests.check import OVERLAYS, ROOT
from deploy.manifests.rendered import Rendered, can_render
from tests.sandbox import run_isolated

FOLDER = ROOT / "build/kubernetes"
PATHS = {
    "/etc/dvd/dvd.yaml": "build/kubernetes/dvd.yaml",
    "/run/secrets/dvd/api-key": "build/kubernetes/api-key",
}
# As KubeRay would start each group: its labels, the CPUs of its limits.
NODES = """
export PATH=$PWD/.venv/bin:$PATH RAY_AUTH_MODE=token RAY_AUTH_TOKEN=0123456789abcdef
export DVD_API_KEY=$(cat build/kubernetes/api-key)
cp /etc/hosts /tmp/hosts
echo '127.0.0.1 dvd-head-svc' >> /tmp/hosts
mount --bind /tmp/hosts /etc/hosts
local='--node-ip-address=127.0.0.1 --disable-usage-stats'
ray start --head --num-cpus=0 --include-dashboard=false $local
for role in vision language; do
    ray start --address=127.0.0.1:6379 --num-cpus=1 --labels dvd.role=$role $local
done
"""
ASKED = """
until wget --quiet --output-document=/dev/null http://127.0.0.1:8000/health; do
    kill -0 $serve
    sleep 1
done
dvd status
dvd ask examples/pictures/signpost.png 'What does the yellow sign say?'
wget --quiet --output-document=- http://127.0.0.1:9400/sd
kill -TERM $serve
wait $serve
echo ended
"""


def commands(rendered: Rendered) -> tuple[str, str]:
    """The scripts of the init container and of the container of `dvd serve`."""
    (pod,) = (each for each in rendered.pods() if not each.is_ray)
    wait, serve = (container["command"][-1] for container in pod.containers)
    return wait, serve


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(1200)
@pytest.mark.skipif(not can_render(), reason="there is no kubectl to render overlays")
def test_the_pods_of_the_laptop_serve() -> None:
    rendered = Rendered.of_overlay(ROOT / OVERLAYS / "laptop")
    FOLDER.mkdir(parents=True, exist_ok=True)
    config = rendered.configuration().replace("/models/", f"{ROOT}/models/")
    (FOLDER / "dvd.yaml").write_text(config)
    (FOLDER / "api-key").write_text("a-key-of-this-test\n")
    wait, serve = commands(rendered)
    for inside, outside in PATHS.items():
        serve = serve.replace(inside, outside)
    ran = run_isolated(f"{NODES}\n{wait}\n({serve}) &\nserve=$!\n{ASKED}", ROOT)
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert "\nTOWN\n" in ran.stdout
    assert ran.stdout.endswith("ended\n")
