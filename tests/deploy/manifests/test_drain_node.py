"""The hook of a worker pod ends the replicas on its node, waits for them, and leaves the rest."""

from deploy.manifests.check import ROOT
from tests.sandbox import run_isolated

# Processes that are called as Ray calls those of actors; a replica says when it has drained.
SCRIPT = """
cat > /tmp/replica <<'END'
trap 'kill $!; echo $NAME drained; exit' TERM
tail -f /dev/null &
echo > "/tmp/$NAME"
wait
END
named() {
    mkfifo "/tmp/$1" # one each: another's writer may not have closed it yet
    NAME=$1 bash -c 'exec -a "$NAME" bash /tmp/replica' &
    read -r < "/tmp/$1"
}
named ray::VisionActor
named ray::LanguageActor
named ray::IDLE
idle=$!
deploy/docker/drain-node
echo hook ended
kill -0 $idle
"""


def test_replicas_drain_before_the_hook_ends() -> None:
    ran = run_isolated(SCRIPT, ROOT)
    assert ran.returncode == 0, ran.stderr
    *drained, last = ran.stdout.splitlines()
    assert sorted(drained) == ["ray::LanguageActor drained", "ray::VisionActor drained"]
    assert last == "hook ended"


def test_a_node_without_replicas_ends_at_once() -> None:
    ran = run_isolated("deploy/docker/drain-node\necho ended\n", ROOT)
    assert (ran.returncode, ran.stdout) == (0, "ended\n")
