import pytest

from canari.errors import CanariError
from canari.launch.cluster_config import BentoPods, ClusterConfig, FeedbackRef, GatewayRef
from canari.objects import DEPLOYMENT, HPA, HTTP_ROUTE, LEASE, MODEL, PDB, POD, SECRET, SERVICE
from services.jobs.asking import Patience
from services.jobs.leave import leave
from tests.unit.jobs.kit import Clock, FakeKube

CONFIG = ClusterConfig(
    instance="canari",
    namespace="ours",
    gateway=GatewayRef(name="canari", namespace="ours"),
    feedback=FeedbackRef(service="canari-feedback"),
    bento=BentoPods(image="canari/runtime:0.2.0"),
)
CONTROLLER = {"app.kubernetes.io/instance": "canari", "app.kubernetes.io/component": "controller"}


@pytest.fixture
def kube() -> FakeKube:
    """Two releases, with a version each; the first has a sample Model and a person's own."""
    found = FakeKube()
    found.put(DEPLOYMENT, "canari-controller", CONTROLLER)
    found.put(POD, "canari-controller-1", CONTROLLER)
    found.put(LEASE, "canari-controller")
    found.put(MODEL, "drift", {"canari.dev/sample": "true"})
    found.put(MODEL, "mine")
    made = CONFIG.labels("drift", 1)
    for kind in (DEPLOYMENT, SERVICE, PDB, HPA, POD):
        found.put(kind, "drift-v1", made)
    found.put(SECRET, "drift-v1", made)
    found.put(SECRET, "canari-secrets")
    found.put(HTTP_ROUTE, "drift", CONFIG.labels("drift"))
    found.put(DEPLOYMENT, "other-v1", CONFIG.model_copy(update={"instance": "other"}).labels("other", 1))
    return found


def pods_end(kube: FakeKube) -> None:
    for name in kube.names(POD):
        kube.delete(POD, name)


def patience(kube: FakeKube, seconds: float = 60) -> Patience:
    clock = Clock(lambda: pods_end(kube) if clock.now >= 3 else None)
    return Patience(seconds, lambda _: None, clock, clock.sleep)


def test_what_the_controller_made_goes_and_what_people_made_stays(kube: FakeKube) -> None:
    leave(kube, "canari", patience(kube))
    assert set(kube.objects) == {
        (DEPLOYMENT, "canari-controller"),
        (MODEL, "mine"),
        (SECRET, "canari-secrets"),
        (DEPLOYMENT, "other-v1"),
    }
    assert kube.objects[DEPLOYMENT, "canari-controller"]["spec"] == {"replicas": 0}


def test_nothing_is_deleted_before_the_controller_has_ended_and_each_deployment_goes_last(kube: FakeKube) -> None:
    leave(kube, "canari", patience(kube))
    acts = [act for act in kube.acts if "Pod " not in act]
    assert acts[0] == "apply Deployment canari-controller"
    assert kube.acts.index("delete Pod canari-controller-1") < kube.acts.index("delete Model drift")
    assert acts.index("delete HTTPRoute drift") < acts.index("delete Service drift-v1")
    assert acts.index("delete Secret drift-v1") < acts.index("delete Deployment drift-v1")


def test_leaving_again_after_having_been_killed_is_the_same(kube: FakeKube) -> None:
    for _ in range(2):
        leave(kube, "canari", patience(kube))
    assert kube.names(DEPLOYMENT) == ["canari-controller", "other-v1"]


def test_a_pod_that_stays_is_named(kube: FakeKube) -> None:
    clock = Clock()
    with pytest.raises(CanariError, match="the controller to end: there are still Pod canari-controller-1"):
        leave(kube, "canari", Patience(30, lambda _: None, clock, clock.sleep))
    assert (MODEL, "drift") in kube.objects
