"""Mistakes that people make in Kubernetes manifests.

By file: what is right, what is written instead, and words of what must be found. Those against a
schema and those against rules stand apart, because rules are asked only of what has the right
fields.
"""

BASE = "deploy/kubernetes/base"
MONITORING = "deploy/kubernetes/components/monitoring"
FAULT_TOLERANCE = "deploy/kubernetes/components/gcs-fault-tolerance"
CLUSTER = "deploy/kubernetes/overlays/cluster"

Mistakes = dict[str, list[tuple[str, str, str]]]

AGAINST_SCHEMAS: Mistakes = {
    f"{BASE}/namespace.yaml": [("  labels:", "  label:", "'label' was unexpected")],
    f"{BASE}/models.yaml": [("accessModes:", "accessMode:", "'accessMode' was unexpected")],
    f"{BASE}/serve.yaml": [
        ("runAsUser: 10001", "runAsUser: root", "'root' is not of type 'integer'"),
        ("livenessProbe:", "liveProbe:", "'liveProbe' was unexpected"),
    ],
    f"{BASE}/services.yaml": [("targetPort: http,", "targetport: http,", "'targetport' was unex")],
    f"{BASE}/network-policies.yaml": [("policyTypes: [In", "policyType: [In", "'policyType' was")],
    f"{BASE}/disruption-budgets.yaml": [("minAvailable", "minAvail", "'minAvail' was unexpected")],
    f"{MONITORING}/pod-monitor.yaml": [("podMetricsEndpoints", "endpoints", "'endpoints' was")],
    f"{MONITORING}/scrape-config.yaml": [("httpSDConfigs", "httpSdConfigs", "'httpSdConfigs' was")],
    f"{MONITORING}/prometheus-rule.yaml": [
        ("for: 15s", "for: 15", "15 is not of type 'string'"),
        ("- record: dvd:images:rate1m", "- name: dvd:images:rate1m", "'name' was unexpected"),
        ("labels: {severity: info}", "label: {severity: info}", "'label' was unexpected"),
    ],
}
AGAINST_KUBERAY: Mistakes = {
    f"{BASE}/ray-cluster.yaml": [
        ("mode: token", "mode: tokens", "'tokens' is not one of"),
        ("groupName: vision", "group: vision", "'group' was unexpected"),
        ('num-cpus: "0"', "num-cpus: 0", "0 is not of type 'string'"),
    ],
    f"{FAULT_TOLERANCE}/ray-cluster.yaml": [
        ("redisAddress", "redisAddr", "'redisAddr' was unexpected")
    ],
}
AGAINST_RULES: Mistakes = {
    f"{BASE}/serve.yaml": [
        ("runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
        ("port: http}", "port: https}", "readinessProbe asks port https"),
        ("--config /etc", "--conf /etc", "No such option: --conf"),
        ("ray health-check --address", "ray health-check --adress", "No such option '--adress'"),
        ("ray start --address", "ray start --adress", "No such option"),
        ("containerPort: 50051", "containerPort: 50052", "where dvd.yaml has 50051"),
        ("Seconds: 150", "Seconds: 60", "is killed after 60 s, but drains for 120"),
        ("{name: config, m", "{name: conf, m", "there is no volume conf"),
        (
            "valueFrom:\n                secretKeyRef: {name: dvd-ray-token, key: auth_token}",
            "value: abc",
            "RAY_AUTH_TOKEN is a secret in plain",
        ),
    ],
    f"{BASE}/services.yaml": [
        ("targetPort: grpc", "targetPort: rpc", "there is no port rpc"),
        (
            "component: serve\n  publish",
            "component: server\n  publish",
            "Service/dvd-supervisor: its selector chooses no pod",
        ),
    ],
    f"{BASE}/network-policies.yaml": [
        ("port: http,", "port: web,", "there is no port web"),
        ("part-of: dvd", "part-of: dvdd", "dvd-observers: its selector chooses no pod"),
    ],
    f"{BASE}/kustomization.yaml": [
        (
            "kind: RayCluster, path: spec/head",
            "kind: RayJob, path: spec/head",
            "RayCluster/dvd head: no network policy keeps others out",
        ),
        (
            'kind: RayCluster, path: "spec/worker',
            'kind: RayJob, path: "spec/worker',
            "RayCluster/dvd vision: no network policy keeps others out",
        ),
    ],
    f"{BASE}/disruption-budgets.yaml": [("component: vision", "component: v", "chooses no pod")],
    f"{BASE}/ray-cluster.yaml": [
        ("dvd.role: vision", "dvd.rol: vision", "no node has the labels"),
        ("{name: metrics, c", "{name: ray-metrics, c", "port 8080 is not called metrics"),
        ("groupName: language", "groupName: tongue", "there is no worker group language"),
        ("Escalation: false", "Escalation: true", "may gain privileges"),
        ("drop: [ALL]", "drop: [KILL]", "keeps capabilities of root"),
        ("type: RuntimeDefault", "type: Unconfined", "is not confined"),
        ("{name: models, mount", "{name: model, mount", "there is no volume model"),
    ],
    f"{CLUSTER}/dvd.yaml": [
        ("host: 0.0.0.0", "host: 127.0.0.1", "no other pod reaches them"),
        ("metrics_port: 9401", "metrics_port: 9402", "where dvd.yaml has 9402"),
        ("replicas: 8", "replicas: 10", "asks for 10 replicas, room is for 9"),
        ("labels: {dvd.role: vision}", "labels: {}", "on nodes of the other role"),
    ],
    f"{CLUSTER}/budgets.yaml": [
        ("minAvailable: 4", "minAvailable: 1", "minAvailable of 5 pods must be 4"),
        ("minAvailable: 8", "minAvailable: 9", "minAvailable of 9 pods must be 8"),
    ],
    f"{CLUSTER}/gpus.yaml": [('nvidia.com/gpu: "1"', 'nvidia.com/gpu: "0"', "room is for 0")],
    f"{CLUSTER}/kustomization.yaml": [
        ("newTag: 0.1.0-cuda", "newTag: latest", "image registry.example.com/dvd:latest is not")
    ],
    f"{MONITORING}/pod-monitor.yaml": [
        ("port: metrics", "port: metric", "there is no port metric")
    ],
    f"{FAULT_TOLERANCE}/redis-egress.yaml": [("ray-head", "head", "chooses no pod")],
}
